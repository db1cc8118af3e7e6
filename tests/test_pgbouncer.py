"""Behind a real PgBouncer in transaction mode, where each transaction may be on another server."""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.database import SYSTEM, execute
from taskapi.embedded import programs
from taskapi.extensions import db
from tests.people import assert_problem, json_of, register
from tests.service import free_port, make_settings

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="pgbouncer is not installed"
)


@pytest.fixture
def pooled(new_database, tmp_path):
    """The URL of a migrated database by way of PgBouncer, with two servers for all."""
    direct = new_database("pooled")
    app = create_app(make_settings(database_url=direct))
    assert app.test_client().get("/health").status_code == 200
    with app.app_context():
        db.engine.dispose()
    url = make_url(direct)
    port = free_port()
    host = url.query.get("host") or url.host
    (tmp_path / "pgbouncer.ini").write_text(
        f"""
        [databases]
        tasks = host={host} port={url.port or 5432} dbname={url.database} user={url.username}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        """.replace("\n        ", "\n")
    )
    # It refuses root, as PostgreSQL does, and reaches its file and the socket in the same way.
    command = [*programs._without_root(), "pgbouncer", "-q", str(tmp_path / "pgbouncer.ini")]
    process = subprocess.Popen(command)
    url = url.set(host="127.0.0.1", port=port, database="tasks", query={})
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    for _ in range(100):
        try:
            psycopg2.connect(dsn, connect_timeout=2).close()
            break
        except psycopg2.OperationalError:
            time.sleep(0.02)
    yield dsn, url.render_as_string(hide_password=False)
    process.terminate()
    process.wait()


@pytest.fixture
def pooled_app(pooled):
    app = create_app(make_settings(database_url=pooled[1], prepare_statements=False))
    yield app
    with app.app_context():
        db.engine.dispose()


def test_many_at_once_on_two_servers_keep_what_is_theirs(pooled_app):
    people = [register(pooled_app, f"p{number}@example.com") for number in range(6)]

    def work(person):
        for number in range(15):
            task = person.creates(f"{person.id} {number}")
            assert person.patch(f"/tasks/{task['id']}", {"order": number}).status_code == 200
            done = person.post(f"/tasks/{task['id']}/move", {"after": None})
            assert done.status_code == 200
        return person.get("/tasks?limit=200").json["tasks"]

    with ThreadPoolExecutor(6) as pool:
        lists = list(pool.map(work, people))

    for person, tasks in zip(people, lists, strict=True):
        assert len(tasks) == 15
        assert {task["title"].partition(" ")[0] for task in tasks} == {person.id}


def test_the_limits_hold_for_each_statement_and_stay_with_nobody(pooled, pooled_app):
    with pooled_app.app_context():
        shown = text("SELECT current_setting('statement_timeout') AS it")
        assert execute(shown, acting_as=SYSTEM) == [{"it": "5s"}]

    for _ in range(4):
        other = psycopg2.connect(pooled[0])
        with other.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchall() == [("0",)]
            cursor.execute("SHOW role")
            assert cursor.fetchall() == [("none",)]
            cursor.execute("SELECT current_setting('taskapi.user_id', true)")
            assert cursor.fetchall() in ([("",)], [(None,)])
        other.close()


def test_what_takes_too_long_is_a_503(pooled):
    app = create_app(
        make_settings(database_url=pooled[1], prepare_statements=False, lock_timeout=0.2)
    )
    alice = register(app, "alice@example.com")
    task = alice.creates()
    other = psycopg2.connect(pooled[0])
    with other.cursor() as cursor:
        cursor.execute("SELECT * FROM users FOR UPDATE")

        response = alice.patch(f"/tasks/{task['id']}", {"title": "b"})

    assert_problem(response, 503, "database_unavailable")
    other.close()
    assert alice.get(f"/tasks/{task['id']}").json == task
    with app.app_context():
        db.engine.dispose()


def test_a_request_with_a_key_is_done_once(pooled_app):
    alice = register(pooled_app, "alice@example.com")

    answers = [
        alice.post("/tasks", {"title": "a"}, headers={"Idempotency-Key": "k"}) for _ in range(3)
    ]

    assert len({json_of(answer)["id"] for answer in answers}) == 1
    assert len(json_of(alice.get("/tasks"))["tasks"]) == 1
