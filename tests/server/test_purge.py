"""`flask tasks purge`: what nobody needs any more goes, and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskapi import create_app
from taskapi.cli import purge
from tests.support.people import PASSWORD, assert_problem, json_of, register
from tests.support.service import make_settings


@pytest.fixture
def run(app):
    return lambda: app.test_cli_runner().invoke(args=["tasks", "purge"])


def said(trash=0, tombstones=0, keys=0):
    return (
        f"{trash} tasks out of the trash, {tombstones} records of deletions, {keys} kept answers.\n"
    )


def age(sql, table, days, column="deleted_at", **which):
    """Let these rows, or all, be of so many days ago."""
    where = " AND ".join(["TRUE", *(f"{name}::text = :{name}" for name in which)])
    sql(
        f"UPDATE {table} SET {column} = now() - :days * interval '1 day' WHERE {where}",
        days=days,
        **which,
    )


def throw_away(person, count):
    made = [person.creates(f"Task {number}") for number in range(count)]
    operations = [{"op": "delete", "id": task["id"]} for task in made]
    assert person.post("/tasks/batch", {"operations": operations}).status_code == 207
    return made


def trash_of(person):
    return {task["id"] for task in json_of(person.get("/trash?limit=200"))["tasks"]}


def floor_of(sql, person):
    [row] = sql("SELECT feed_floor FROM users WHERE id = :id", id=person.id)
    return row["feed_floor"]


def count(sql, table):
    return sql(f"SELECT count(*) AS count FROM {table}")[0]["count"]


def in_threads(*functions):
    with ThreadPoolExecutor(len(functions)) as pool:
        return [done.result(60) for done in [pool.submit(one) for one in functions]]


def test_what_is_old_goes_and_what_is_younger_stays(alice, run, sql):
    old, younger, new = throw_away(alice, 3)
    kept = alice.creates("Kept")
    age(sql, "trash", 30.01, id=old["id"])
    age(sql, "trash", 29.99, id=younger["id"])

    purged = run()

    assert (purged.exit_code, purged.stdout) == (0, said(trash=1))
    assert trash_of(alice) == {younger["id"], new["id"]}
    assert_problem(alice.post(f"/trash/{old['id']}/restore"), 404, "task_not_found")
    assert alice.post(f"/trash/{younger['id']}/restore").status_code == 200
    assert alice.get(f"/tasks/{kept['id']}").json == kept


def test_however_old_a_task_is_that_nobody_deleted_it_stays(alice, run, sql):
    task = alice.creates()
    for column in ("created_at", "updated_at"):
        age(sql, "tasks", 4000, column)

    assert run().stdout == said()

    assert alice.get(f"/tasks/{task['id']}").status_code == 200


def test_what_is_purged_is_that_of_everybody(alice, bob, run, sql):
    for person in (alice, bob):
        throw_away(person, 2)
    age(sql, "trash", 31)
    age(sql, "tombstones", 91)

    assert run().stdout == said(trash=4, tombstones=4)

    for person in (alice, bob):
        assert trash_of(person) == set()
        assert floor_of(sql, person) == 4


def test_the_record_of_a_deletion_stays_when_the_task_leaves_the_trash(alice, run, sql):
    cursor = alice.get("/tasks/changes").json["next"]
    throw_away(alice, 1)
    age(sql, "trash", 31)

    assert run().stdout == said(trash=1)

    [change] = alice.get(f"/tasks/changes?since={cursor}").json["changes"]
    assert change["op"] == "delete"
    assert floor_of(sql, alice) == 0


def test_records_of_deletions_go_after_90_days_and_the_feed_begins_behind_them(alice, run, sql):
    first, second, third = (throw_away(alice, 1)[0] for _ in range(3))  # Changes 2, 4 and 6.
    age(sql, "tombstones", 90.01, id=first["id"])
    age(sql, "tombstones", 90.01, id=second["id"])
    age(sql, "tombstones", 89.99, id=third["id"])

    purged = run()

    assert (purged.exit_code, purged.stdout) == (0, said(tombstones=2))
    assert [row["version"] for row in sql("SELECT version FROM tombstones")] == [6]
    assert floor_of(sql, alice) == 4


def test_the_feed_never_begins_earlier_than_before(alice, run, sql):
    throw_away(alice, 1)
    sql("UPDATE users SET feed_floor = 100, change_seq = 200")
    age(sql, "tombstones", 91)

    assert run().stdout == said(tombstones=1)

    assert floor_of(sql, alice) == 100


def test_answers_are_kept_for_a_day(alice, run, sql):
    for key in ("old", "young"):
        response = alice.post("/tasks", {"title": key}, headers={"Idempotency-Key": key})
        assert response.status_code == 201
    age(sql, "idempotency_keys", 1.01, "created_at", key="old")
    age(sql, "idempotency_keys", 0.99, "created_at", key="young")

    purged = run()

    assert (purged.exit_code, purged.stdout) == (0, said(keys=1))
    assert [row["key"] for row in sql("SELECT key FROM idempotency_keys")] == ["young"]
    again = alice.post("/tasks", {"title": "young"}, headers={"Idempotency-Key": "young"})
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_second_run_finds_nothing(alice, run, sql):
    throw_away(alice, 3)
    alice.post("/tasks", {"title": "a"}, headers={"Idempotency-Key": "k"})
    age(sql, "trash", 31)
    age(sql, "tombstones", 91)
    age(sql, "idempotency_keys", 2, "created_at")

    first, second = run(), run()

    assert (first.exit_code, first.stdout) == (0, said(3, 3, 1))
    assert (second.exit_code, second.stdout) == (0, said())


def test_where_there_is_nobody_there_is_nothing_to_do(run):
    purged = run()

    assert (purged.exit_code, purged.stdout) == (0, said())


@pytest.mark.parametrize("people", [1, 4], ids=["one owner", "four owners"])
def test_it_goes_on_until_all_is_done_however_many_batches_it_takes(
    app, run, sql, monkeypatch, people
):
    monkeypatch.setattr(purge, "_BATCH_ROWS", 3)
    owners = [register(app, f"p{number}@example.com") for number in range(people)]
    for owner in owners:
        throw_away(owner, 10)
        for key in range(10):
            owner.post("/tasks", {"title": "a"}, headers={"Idempotency-Key": str(key)})
    age(sql, "trash", 31)
    age(sql, "tombstones", 91)
    age(sql, "idempotency_keys", 2, "created_at")
    young = [throw_away(owner, 1)[0]["id"] for owner in owners]

    purged = run()

    assert purged.exit_code == 0
    assert purged.stdout == said(10 * people, 10 * people, 10 * people)
    for owner, task_id in zip(owners, young, strict=True):
        assert trash_of(owner) == {task_id}
        assert floor_of(sql, owner) == 20
    assert count(sql, "tombstones") == people
    assert count(sql, "idempotency_keys") == 0
    assert run().stdout == said()


@pytest.mark.parametrize("days", [0, 7], ids=["none", "seven"])
def test_the_days_are_those_of_the_settings(variant, alice, sql, days):
    old, new = throw_away(alice, 2)
    age(sql, "trash", 7.01, id=old["id"])

    purged = variant(trash_days=days).test_cli_runner().invoke(args=["tasks", "purge"])

    # Without days in the trash nothing waits for the next run.
    left = {new["id"]} if days else set()
    assert (purged.exit_code, purged.stdout) == (0, said(trash=2 - len(left)))
    assert trash_of(alice) == left


def test_what_is_deleted_while_it_runs_stays(app, alice, sql, monkeypatch):
    monkeypatch.setattr(purge, "_BATCH_ROWS", 2)
    throw_away(alice, 6)
    age(sql, "trash", 31)

    with app.app_context():
        running = purge._purge(30)
        assert next(running) == ("trash", 2)
        new = throw_away(alice, 1)[0]["id"]
        gone = 2 + sum(number for _, number in running)

    assert gone == 6
    assert trash_of(alice) == {new}


def test_a_run_that_was_stopped_has_done_what_it_did(app, alice, run, sql, monkeypatch):
    monkeypatch.setattr(purge, "_BATCH_ROWS", 4)
    throw_away(alice, 10)
    age(sql, "trash", 31)
    age(sql, "tombstones", 91)

    with app.app_context():
        assert next(iter(purge._purge(30))) == ("trash", 4)

    assert len(trash_of(alice)) == 6
    assert run().stdout == said(trash=6, tombstones=10)


def test_two_at_once_beside_traffic_do_no_harm(app, sql, monkeypatch):
    monkeypatch.setattr(purge, "_BATCH_ROWS", 7)
    owners = [register(app, f"p{number}@example.com") for number in range(3)]
    for owner in owners:
        for _ in range(2):
            throw_away(owner, 60)
    age(sql, "trash", 31)
    age(sql, "tombstones", 91)
    old = {owner.id: sorted(trash_of(owner)) for owner in owners}
    statuses: list[int] = []
    kept: dict[str, set[str]] = {}
    is_over = threading.Event()

    def clean():
        with app.app_context():
            done = {"trash": 0, "tombstones": 0, "keys": 0}
            for name, number in purge._purge(30):
                done[name] += number
            return done

    def write(owner):
        mine = kept[owner.id] = set()
        waiting = list(old[owner.id])
        while waiting and not is_over.is_set():
            task = owner.creates("new")
            statuses.append(owner.delete(f"/tasks/{task['id']}").status_code)
            mine.add(task["id"])
            restored = owner.post(f"/trash/{waiting.pop()}/restore")
            statuses.append(restored.status_code)
            statuses.append(owner.delete(f"/trash/{waiting.pop(0)}").status_code)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, owner) for owner in owners]
        first, second = in_threads(clean, clean)
        is_over.set()
        for writer in writers:
            writer.result(60)

    assert set(statuses) <= {200, 204, 404}
    assert first["tombstones"] + second["tombstones"] <= 360
    assert first["trash"] + second["trash"] <= 360
    for owner in owners:
        restored = {task["id"] for task in json_of(owner.get("/tasks?limit=200"))["tasks"]}
        assert restored <= set(old[owner.id])
        assert trash_of(owner) == kept[owner.id]
    assert count(sql, "tombstones") == sum(map(len, kept.values()))


@pytest.fixture
def slowly(sql):
    """Let each row take its time to be deleted, so that who deletes meets who deletes."""
    sql(
        """
        CREATE FUNCTION test_dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN PERFORM pg_sleep(0.0002); RETURN OLD; END $$
        """
    )
    sql(
        """
        CREATE TRIGGER test_dawdle BEFORE DELETE ON trash
          FOR EACH ROW EXECUTE FUNCTION test_dawdle()
        """
    )
    yield
    sql("DROP FUNCTION test_dawdle CASCADE")


@pytest.fixture
def slow_trash(app, bob, sql, slowly, monkeypatch):
    """Two people with much that is old, among so much that it is looked up one by one."""
    monkeypatch.setattr(purge, "_BATCH_ROWS", 200)
    owners = [register(app, f"p{number}@example.com") for number in range(2)]
    sql(
        """
        INSERT INTO trash (user_id, id, title, version, deleted_at)
        SELECT :owner, gen_random_uuid(), 'young', n, now() FROM generate_series(1, 10000) AS n
        """,
        owner=bob.id,
    )
    sql(
        """
        INSERT INTO trash (user_id, id, title, version, deleted_at)
        SELECT id, gen_random_uuid(), 'old', n, now() - interval '40 days' + n * interval '1 s'
          FROM users, generate_series(1, 400) AS n WHERE id <> :bob
        """,
        bob=bob.id,
    )
    sql("ANALYZE trash")
    return owners


@pytest.mark.parametrize(
    "write",
    [
        lambda owner: owner.delete("/trash"),
        lambda owner: owner.delete("/auth/me", json={"password": PASSWORD}),
    ],
    ids=["empties the trash", "deletes the account"],
)
def test_it_waits_in_no_circle_with_who_deletes_the_same(app, sql, slow_trash, write):
    def clean():
        with app.app_context():
            return sum(number for _, number in purge._purge(30))

    with ThreadPoolExecutor(3) as pool:
        cleaning = pool.submit(clean)
        statuses = [response.status_code for response in pool.map(write, slow_trash)]
        assert cleaning.result(60) <= 800

    assert statuses == [204, 204]
    assert count(sql, "trash") == 10_000


def test_two_at_once_wait_in_no_circle(app, sql, slow_trash):
    def clean():
        with app.app_context():
            return sum(number for _, number in purge._purge(30))

    assert sum(in_threads(clean, clean)) == 800
    assert count(sql, "trash") == 10_000


@pytest.mark.parametrize("arguments", [["tasks", "--help"], ["tasks", "purge", "--help"]])
def test_it_explains_itself(app, arguments):
    shown = app.test_cli_runner().invoke(args=arguments)

    assert shown.exit_code == 0
    words = " ".join(shown.stdout.split())
    assert "purge" in words
    assert "Delete tasks permanently after TRASH_DAYS in the trash." in words


def test_it_says_what_else_goes_and_that_it_may_be_stopped(app):
    shown = app.test_cli_runner().invoke(args=["tasks", "purge", "--help"])

    words = " ".join(shown.stdout.split())
    for said_of in ("90 days", "Idempotency-Key after a day", "stopped", "once a day"):
        assert said_of in words


def test_where_there_is_no_database_it_says_so_and_fails():
    away = create_app(make_settings(database_url="postgresql+psycopg2://x@127.0.0.1:1/x"))

    purged = away.test_cli_runner().invoke(args=["tasks", "purge"])

    assert purged.exit_code == 1
    assert purged.stdout == ""
    assert "Error: " in purged.stderr and "127.0.0.1" in purged.stderr
    assert "Traceback" not in purged.stderr


def test_of_an_owner_the_newest_records_of_deletions_are_kept(app, alice, bob, sql, monkeypatch):
    monkeypatch.setattr(purge, "MAX_TOMBSTONES", 5)
    monkeypatch.setattr(purge, "_BATCH_ROWS", 2)
    for person, count in ((alice, 8), (bob, 5)):
        ids = [person.creates(str(number))["id"] for number in range(count)]
        for task_id in ids:
            assert person.delete(f"/tasks/{task_id}").status_code == 204
    of_alice = sql("SELECT id FROM tombstones WHERE user_id = :id ORDER BY version", id=alice.id)

    result = app.test_cli_runner().invoke(args=["tasks", "purge"])

    assert result.exit_code == 0, result.output
    left = sql("SELECT id FROM tombstones WHERE user_id = :id ORDER BY version", id=alice.id)
    assert left == of_alice[3:]
    [deleted] = sql("SELECT version FROM trash WHERE id = :id", id=str(of_alice[2]["id"]))
    assert floor_of(sql, alice) == deleted["version"]
    assert len(sql("SELECT id FROM tombstones WHERE user_id = :id", id=bob.id)) == 5
