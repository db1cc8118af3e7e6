"""What a request costs the database, in exact numbers: messages, and pages of memory."""

import re
from typing import Any

import psycopg2
import pytest
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, execute
from taskapi.db.prepared import PREPARE_THRESHOLD
from taskapi.http import cursors
from taskapi.tasks.list_statements import SORTS
from tests.support.people import register
from tests.support.service import make_settings
from tests.support.wire import PREPARATION, tapped


@pytest.fixture(scope="module")
def wire(new_database):
    with tapped(new_database("wire")) as wire:
        yield wire


@pytest.fixture(scope="module")
def wired_app(wire):
    app = create_app(make_settings(database_url=wire.url, threads=1))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def wired_alice(wired_app):
    return register(wired_app, "alice@example.com")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/tasks/{id}", None),
        ("GET", "/tasks", None),
        ("GET", "/api/{user_id}/tasks", None),
        ("POST", "/tasks", {"title": "a"}),
        ("PUT", "/tasks/{id}", {"title": "a"}),
        ("PATCH", "/tasks/{id}", {"title": "a"}),
        ("PATCH", "/tasks/{id}/complete", None),
        ("PATCH", "/tasks/{id}/complete", {"completed": True}),
        ("DELETE", "/tasks/{id}", None),
        ("GET", "/tasks?sort=-completed_at&q=milk&completed=false", None),
        ("GET", "/tasks/changes", None),
        ("POST", "/tasks/batch", {"operations": [{"op": "create", "data": {"title": "a"}}] * 100}),
        ("GET", "/tasks/export", None),
        ("GET", "/trash", None),
        ("GET", "/auth/me", None),
        ("GET", "/auth/sessions", None),
        ("POST", "/auth/logout", None),
    ],
)
def test_a_request_is_one_round_trip_to_the_database(wired_app, wire, method, path, body):
    alice = register(wired_app, f"{method}{path}{bool(body)}@example.com".replace("/", "."))
    task = alice.creates()
    wire.messages.clear()

    response = alice.call(method, path.format(id=task["id"], user_id=alice.id), body)

    assert response.status_code < 300
    [message] = wire.messages
    assert re.match(
        rf"({PREPARATION})?SELECT taskapi_check_session\([^;]*\); "
        r"SET LOCAL ROLE taskapi_user; SET LOCAL taskapi.user_id = '[^';]*'; "
        rf"{'SET LOCAL statement_timeout = 1000; ' if 'q=' in path else ''}[^;]*$",
        message,
    )


@pytest.mark.parametrize("path", ["/health/live", "/", "/openapi.json", "/docs", "/nowhere"])
def test_what_needs_no_data_asks_for_none(wired_app, wired_alice, wire, path):
    wire.messages.clear()

    wired_alice.get(path).close()

    assert wire.messages == []


def test_a_request_with_a_wrong_token_does_not_reach_the_database(wired_app, wire):
    wire.messages.clear()

    assert wired_app.test_client().get("/tasks").status_code == 401

    assert wire.messages == []


def test_a_request_that_is_refused_for_itself_asks_only_for_its_session(wired_alice, wire):
    for method, path, body, status in (
        ("POST", "/tasks", {"title": ""}, 422),
        ("GET", "/tasks/not-an-id", None, 404),
    ):
        wire.messages.clear()
        assert wired_alice.call(method, path, body).status_code == status
        [message] = wire.messages
        assert message.endswith("SELECT 1")


@pytest.fixture
def pages_of(wired_app, wire):
    """Count the pages (8 KiB) that a request's statement touches once its plan is kept."""

    def count(person, method, url, is_kept=True, **kwargs):
        # PostgreSQL looks at the values five times before it keeps a plan for all of them.
        for _ in range(PREPARE_THRESHOLD + 6):
            person.call(method, url, **kwargs)
        statement = wire.messages[-1].rpartition("; ")[2]
        assert statement.startswith("EXECUTE " if is_kept else "SELECT ")
        explained = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        with wired_app.app_context():
            [[row]] = [execute(explained, acting_as=person.actor)]
        [result] = row["QUERY PLAN"]
        plan = result["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    return count


def fill(wire, user_id, count):
    url = make_url(wire.url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks (user_id, id, title, title_words, description, version,
                               completed_at, "order", created_at)
            SELECT %s, lpad(to_hex(n), 32, '0')::uuid, 'Task ' || n, 'task ' || n, 'Something',
                   1000000 + n, CASE WHEN n %% 2 = 0 THEN now() - n * interval '1 second' END,
                   n / 2, now() + n * interval '1 ms'
              FROM generate_series(1, %s) AS n
            """,
            (user_id, count),
        )
        # As autovacuum would: the planner knows the sizes, and pages know what all may see.
        cursor.execute("VACUUM ANALYZE tasks, users, sessions")
    connection.close()


def test_a_request_touches_as_many_pages_however_many_tasks_and_users_there_are(
    wired_app, wired_alice, wire, pages_of
):
    task = wired_alice.creates()
    path = f"/tasks/{task['id']}"

    def measure():
        counts = {}
        for name, method, url in [
            ("get one", "GET", path),
            ("list", "GET", "/tasks?limit=20"),
            ("complete", "PATCH", f"{path}/complete"),
        ]:
            # Now and then a write splits a page of an index, or looks for one with room.
            counts[name] = min(pages_of(wired_alice, method, url) for _ in range(3))
        return counts

    fill(wire, wired_alice.id, 100)
    of_few = measure()
    others = [register(wired_app, f"other{n}@example.com") for n in range(3)]
    for other in others:
        fill(wire, other.id, 20_000)
    fill_more = register(wired_app, "big@example.com")
    fill(wire, fill_more.id, 50_000)
    of_many = measure()

    assert of_few["get one"] <= 5
    assert of_few["list"] <= 10
    assert of_few["complete"] <= 50
    # A tree of a thousand times as many rows is one or two levels higher: one tree is read
    # for one task or a list, and a change writes to all six and may look for a page with room.
    for name, higher in (("get one", 4), ("list", 4), ("complete", 16)):
        assert of_many[name] <= of_few[name] + higher, (name, of_few, of_many)


def test_the_last_page_of_a_long_list_costs_what_the_first_does(wired_app, wire, pages_of):
    alice = register(wired_app, "reader@example.com")
    fill(wire, alice.id, 10_000)

    pages = []
    count = 0
    url = "/tasks?limit=200"
    while url:
        page: Any = alice.get(url).json
        count += len(page["tasks"])
        if count in (200, 400, 10_000):
            pages.append(pages_of(alice, "GET", url))
        cursor = page["next_cursor"]
        url = f"/tasks?limit=200&cursor={cursor}" if cursor else ""

    assert count == 10_000
    first, second, last = pages
    assert max(second, last) <= first + 4


@pytest.fixture(scope="module")
def hoarder(wired_app, wire):
    """Somebody with a hundred thousand tasks, half of them completed."""
    person = register(wired_app, "hoarder@example.com")
    fill(wire, person.id, 100_000)
    return person


KEYS = {"title": "title_key", "order": '"order"', "updated_at": "version"}


@pytest.mark.parametrize("sort", SORTS)
def test_the_last_page_of_every_order_costs_what_the_first_does(wired_app, hoarder, pages_of, sort):
    name = sort.removeprefix("-")
    key = KEYS.get(name, name)
    turn = "DESC" if sort.startswith("-") else "ASC"
    statement = f"""
        SELECT {key} AS key, id FROM tasks WHERE user_id = :owner
         ORDER BY {key} {turn} NULLS LAST, id {turn} OFFSET 99940 LIMIT 1
    """
    with wired_app.app_context():
        [row] = execute(text(statement), {"owner": hoarder.id}, acting_as=SYSTEM)
        cursor = cursors.write([row["key"], row["id"]], "tasks", hoarder.id, sort, {})
    last_page = f"/tasks?sort={sort}&limit=50&cursor={cursor}"
    assert len(hoarder.get(last_page).json["tasks"]) == 50

    first = pages_of(hoarder, "GET", f"/tasks?sort={sort}&limit=50")

    assert first <= 30
    assert pages_of(hoarder, "GET", last_page) <= first + 8


def test_a_search_looks_at_nobody_elses_tasks(wired_app, wired_alice, hoarder, pages_of):
    wired_alice.creates("Unusual")

    assert pages_of(wired_alice, "GET", "/tasks?q=unusual&limit=200", is_kept=False) <= 40


def test_what_a_client_has_already_is_not_read_again(wired_app, hoarder, pages_of):
    etag = hoarder.get("/tasks?limit=200").headers["ETag"]

    headers = {"If-None-Match": etag}
    assert hoarder.get("/tasks?limit=200", headers=headers).status_code == 304

    assert pages_of(hoarder, "GET", "/tasks?limit=200", headers=headers) <= 8


def test_a_change_feed_reads_what_is_new(wired_app, hoarder, pages_of):
    since = hoarder.get("/tasks/changes?limit=1000").json["next"]
    with wired_app.app_context():
        [row] = execute(
            text("UPDATE users SET change_seq = 1100000 WHERE id = :owner RETURNING change_seq"),
            {"owner": hoarder.id},
            acting_as=SYSTEM,
        )
        since = cursors.write([row["change_seq"], 0], "changes", hoarder.id)

    assert pages_of(hoarder, "GET", f"/tasks/changes?since={since}") <= 12


def test_a_statement_is_prepared_once_for_a_connection(wired_app, wire):
    alice = register(wired_app, "often@example.com")
    task = alice.creates()
    wire.messages.clear()

    for _ in range(20):
        alice.patch(f"/tasks/{task['id']}", {"title": "a", "order": 1})

    names = re.findall(r"PREPARE (\w+)", " ".join(wire.messages))
    assert len(names) == 1
    assert f"EXECUTE {names[0]}(" in wire.messages[-1]
    assert "UPDATE tasks" not in wire.messages[-1]


def test_what_was_prepared_for_an_ended_session_serves_the_next(new_database):
    app = create_app(make_settings(database_url=new_database("ended"), threads=1))
    alice, bob = register(app, "alice@example.com"), register(app, "bob@example.com")
    paths = [f"/tasks/{person.creates()['id']}" for person in (alice, bob)]
    for _ in range(PREPARE_THRESHOLD):
        assert alice.get(paths[0]).status_code == 200
    assert alice.post("/auth/logout").status_code == 204
    with app.app_context():
        db.engine.dispose()  # The next connection has nothing prepared yet.

    assert alice.get(paths[0]).status_code == 401
    assert bob.get(paths[1]).status_code == 200
    with app.app_context():
        db.engine.dispose()


def test_what_a_migration_has_made_stale_is_prepared_anew(new_database):
    app = create_app(make_settings(database_url=new_database("stale"), threads=1))
    alice = register(app, "alice@example.com")
    task = alice.creates()
    path = f"/tasks/{task['id']}"
    for _ in range(PREPARE_THRESHOLD + 1):
        assert alice.get(path).status_code == 200

    with app.app_context():
        execute(text("ALTER TABLE tasks ALTER title TYPE text"), acting_as=SYSTEM)
    assert alice.get(path).status_code == 503

    assert alice.get(path).json == task
    with app.app_context():
        db.engine.dispose()


def test_where_preparing_is_not_wanted_nothing_is_prepared(new_database):
    url = new_database("plain")
    with tapped(url) as wire:
        app = create_app(make_settings(database_url=wire.url, prepare_statements=False))
        alice = register(app, "alice@example.com")
        for _ in range(PREPARE_THRESHOLD + 5):
            assert alice.get("/tasks").status_code == 200
        with app.app_context():
            db.engine.dispose()

    assert "PREPARE" not in " ".join(wire.messages)


def test_of_filters_that_are_seldom_together_no_plan_is_kept(wired_app, wire):
    alice = register(wired_app, "filters@example.com")
    wire.messages.clear()

    for _ in range(PREPARE_THRESHOLD + 2):
        assert alice.get("/tasks?q=milk&updated_after=2026-01-01T00:00:00Z").status_code == 200

    assert "PREPARE" not in " ".join(wire.messages)
