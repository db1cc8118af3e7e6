import http.client
import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
import requests

from taskapi.db.execute import execute
from taskapi.exceptions import DatabaseUnavailable
from tests.support.people import (
    PASSWORD,
    Person,
    assert_problem,
    assert_refused_field,
    json_of,
    outsider,
    register,
)
from tests.support.service import Caller, running_service

SECRET = "a secret that the issuer and we share"


def feed(person, since=None, **query):
    query = {**query, **({"since": since} if since else {})}
    response = person.call("GET", "/tasks/changes", query_string=query)
    assert response.status_code == 200, response.text
    return json_of(response)


def ask(person, **query):
    return person.call("GET", "/tasks/changes", query_string=query)


def now(person):
    """Where somebody is who has seen all."""
    place = feed(person, limit=1000)
    assert place["has_more"] is False
    return place["next"]


def upsert(task):
    return {"op": "upsert", "task": task}


def upserts(changes):
    return [change["task"] for change in changes if change["op"] == "upsert"]


def deletes(changes):
    return [change["id"] for change in changes if change["op"] == "delete"]


def follow(person, since=None, **query):
    """All pages up to the last change, each run in the order of its versions."""
    pages = []
    while True:
        page = feed(person, since, **query)
        pages.append(page["changes"])
        since = page["next"]
        if not page["has_more"]:
            return pages, since


def apply(copy, changes):
    for change in changes:
        if change["op"] == "upsert":
            copy[change["task"]["id"]] = change["task"]
        else:
            copy.pop(change["id"], None)


def all_tasks(person):
    tasks: dict[str, object] = {}
    query = "limit=200"
    while query:
        page = json_of(person.get(f"/tasks?{query}"))
        tasks |= {task["id"]: task for task in page["tasks"]}
        query = page["next_cursor"] and f"limit=200&cursor={page['next_cursor']}"
    return tasks


def test_to_begin_with_all_tasks_come_in_the_order_of_their_changes(alice):
    first, second, third = (alice.creates(title) for title in ("a", "b", "c"))
    deleted = alice.creates("d")
    alice.delete(f"/tasks/{deleted['id']}")
    first = alice.patch(f"/tasks/{first['id']}", {"order": 1}).json

    response = alice.get("/tasks/changes")

    assert response.status_code == 200
    assert response.json == {
        "changes": [upsert(second), upsert(third), upsert(first)],
        "next": response.json["next"],
        "has_more": False,
    }
    assert feed(alice, response.json["next"])["changes"] == []


def test_where_nothing_is_there_is_a_place_to_go_on_from(alice):
    start = feed(alice)
    assert start["changes"] == []
    assert start["has_more"] is False

    task = alice.creates()

    assert feed(alice, start["next"])["changes"] == [upsert(task)]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_the_pages_are_all_changes_cut_up(alice, limit):
    tasks = [alice.creates(str(number)) for number in range(7)]

    pages, end = follow(alice, limit=limit)

    assert [change for page in pages for change in page] == [upsert(task) for task in tasks]
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert pages[-1]
    assert feed(alice, end) == {"changes": [], "next": feed(alice, end)["next"], "has_more": False}


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_the_pages_of_changes_and_deletions_are_cut_up_as_well(alice, limit):
    tasks = [alice.creates(str(number)) for number in range(6)]
    since = now(alice)
    for task in tasks[::2]:
        alice.delete(f"/tasks/{task['id']}")
    for task in tasks[1::2]:
        alice.patch(f"/tasks/{task['id']}", {"order": 1})

    whole = feed(alice, since)["changes"]
    pages, _ = follow(alice, since, limit=limit)

    assert [change["op"] for change in whole] == ["delete"] * 3 + ["upsert"] * 3
    assert [change for page in pages for change in page] == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_500_come_at_once_unless_asked_otherwise(alice, sql):
    sql(
        """
        INSERT INTO tasks (user_id, id, title, version)
        SELECT :owner, gen_random_uuid(), 'task ' || n, n FROM generate_series(1, 1001) AS n
        """,
        owner=alice.id,
    )
    sql("UPDATE users SET change_seq = 1001 WHERE id = :owner", owner=alice.id)

    assert (len(feed(alice)["changes"]), feed(alice)["has_more"]) == (500, True)
    page = feed(alice, limit=1000)
    assert (len(page["changes"]), page["has_more"]) == (1000, True)
    page = feed(alice, page["next"])
    assert ([task["version"] for task in upserts(page["changes"])], page["has_more"]) == (
        [1001],
        False,
    )


def test_what_happens_next_comes_in_the_order_in_which_it_happened(alice):
    patched, completed, moved, deleted, restored, untouched = (
        alice.creates(title, order=number) for number, title in enumerate("abcdef")
    )
    alice.delete(f"/tasks/{restored['id']}")
    since = now(alice)

    created = alice.creates("g")
    patched = alice.patch(f"/tasks/{patched['id']}", {"title": "A"}).json
    completed = alice.patch(f"/tasks/{completed['id']}/complete").json
    answer = alice.post(f"/tasks/{moved['id']}/move", {"before": untouched["id"]}).json
    moved, stepped_aside = answer["task"], answer["renumbered"]
    alice.delete(f"/tasks/{deleted['id']}")
    trashed = alice.get("/trash").json["tasks"][0]
    restored = alice.post(f"/trash/{restored['id']}/restore").json

    page = feed(alice, since)

    # Who stepped aside for the moved task has a newer version than before.
    latest = {one["id"]: one for one in (created, patched, completed, *stepped_aside)}
    others = sorted(
        [one for one in latest.values() if one["id"] != deleted["id"]] + [moved],
        key=lambda task: task["version"],
    )
    assert page["changes"] == [
        *map(upsert, others),
        {"op": "delete", "id": deleted["id"], "deleted_at": trashed["deleted_at"]},
        upsert(restored),
    ]
    assert page["has_more"] is False
    assert feed(alice, page["next"])["changes"] == []


def test_a_task_that_was_changed_twice_comes_once_as_it_is_now(alice):
    task, other = alice.creates("a"), alice.creates("b")
    since = now(alice)

    alice.patch(f"/tasks/{task['id']}", {"title": "c"})
    other = alice.patch(f"/tasks/{other['id']}", {"title": "d"}).json
    task = alice.patch(f"/tasks/{task['id']}", {"order": 1}).json

    assert feed(alice, since)["changes"] == [upsert(other), upsert(task)]


def test_of_a_task_that_was_made_and_deleted_meanwhile_only_its_deletion_comes(alice):
    since = now(alice)
    task = alice.creates()
    alice.patch(f"/tasks/{task['id']}", {"order": 1})
    alice.delete(f"/tasks/{task['id']}")

    [change] = feed(alice, since)["changes"]

    assert (change["op"], change["id"]) == ("delete", task["id"])


def test_a_task_that_was_deleted_and_restored_is_there_at_last(alice):
    task = alice.creates()
    since = now(alice)
    alice.delete(f"/tasks/{task['id']}")
    restored = alice.post(f"/trash/{task['id']}/restore").json
    copy = {task["id"]: task}

    for page in follow(alice, since, limit=1)[0]:
        apply(copy, page)

    assert copy == {task["id"]: restored}
    assert upserts(feed(alice, since)["changes"]) == [restored]


def test_a_task_that_was_restored_and_deleted_again_is_gone_at_last(alice):
    task = alice.creates()
    alice.delete(f"/tasks/{task['id']}")
    since = now(alice)
    alice.post(f"/trash/{task['id']}/restore")
    alice.delete(f"/tasks/{task['id']}")

    [change] = feed(alice, since)["changes"]

    assert (change["op"], change["id"]) == ("delete", task["id"])


@pytest.mark.parametrize(
    "delete",
    [
        lambda alice, path: alice.delete(f"/tasks{path}?permanent=true"),
        lambda alice, path: alice.delete(f"{alice.path}{path}"),
        lambda alice, path: alice.post(
            "/tasks/batch", {"operations": [{"op": "delete", "id": path[1:]}]}
        ),
    ],
    ids=["for good", "by path", "in a batch"],
)
def test_however_a_task_is_deleted_its_deletion_comes(alice, delete):
    task = alice.creates()
    since = now(alice)

    assert delete(alice, f"/{task['id']}").status_code in (204, 207)

    [change] = feed(alice, since)["changes"]
    assert set(change) == {"op", "id", "deleted_at"}
    assert (change["op"], change["id"]) == ("delete", task["id"])
    assert change["deleted_at"] > task["created_at"]


def test_what_leaves_the_trash_for_good_is_no_news(alice):
    task = alice.creates()
    alice.delete(f"/tasks/{task['id']}")
    since = now(alice)

    alice.delete(f"/trash/{task['id']}")
    alice.delete("/trash")

    assert feed(alice, since)["changes"] == []


def test_an_id_that_is_used_again_is_the_new_task(alice):
    task = alice.creates("old")
    since = now(alice)
    alice.delete(f"/tasks/{task['id']}?permanent=true")
    new = alice.put(f"/tasks/{task['id']}", {"title": "new"}, headers={"If-None-Match": "*"}).json
    copy = {task["id"]: task}

    for page in follow(alice, since, limit=1)[0]:
        apply(copy, page)

    assert copy == {task["id"]: new}


def test_where_nothing_is_new_there_is_a_place_to_go_on_from(alice):
    alice.creates()
    since = now(alice)

    for _ in range(3):
        page = feed(alice, since)
        assert (page["changes"], page["has_more"]) == ([], False)
        since = page["next"]

    task = alice.creates()
    assert feed(alice, since)["changes"] == [upsert(task)]


def test_a_place_can_be_gone_on_from_many_times(alice):
    since = now(alice)
    task = alice.creates()

    assert feed(alice, since) == feed(alice, since)
    assert feed(alice, since)["changes"] == [upsert(task)]


def test_while_a_copy_begins_others_may_write(alice):
    tasks = [alice.creates(str(number)) for number in range(6)]
    copy: dict[str, object] = {}
    page = feed(alice, limit=2)
    apply(copy, page["changes"])

    alice.delete(f"/tasks/{tasks[0]['id']}")  # which the copy has,
    alice.delete(f"/tasks/{tasks[5]['id']}")  # and which it has not yet.
    alice.patch(f"/tasks/{tasks[1]['id']}", {"order": 1})
    alice.creates("new")
    for changes in follow(alice, page["next"], limit=2)[0]:
        apply(copy, changes)

    assert copy == all_tasks(alice)


def test_everybody_hears_of_their_own_changes(alice, bob):
    since = {person: now(person) for person in (alice, bob)}
    task = alice.creates()
    alice.delete(f"/tasks/{alice.creates()['id']}")

    assert len(feed(alice, since[alice])["changes"]) == 2
    assert upserts(feed(alice)["changes"]) == [task]
    assert feed(bob)["changes"] == feed(bob, since[bob])["changes"] == []


def test_whose_account_is_elsewhere_has_a_feed_before_their_first_task(variant):
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    ada = outsider(external, SECRET, "ada/b c")
    since = now(ada)
    assert feed(ada, since)["changes"] == []

    task = ada.creates()

    assert feed(ada, since)["changes"] == [upsert(task)]


def test_a_cursor_is_good_for_nobody_else_and_for_no_other_list(alice, bob):
    for _ in range(2):
        alice.creates()
    cursor = now(alice)
    of_tasks = alice.get("/tasks?limit=1").json["next_cursor"]
    for task in all_tasks(alice).values():
        alice.delete(f"/tasks/{task['id']}")
    of_trash = alice.get("/trash?limit=1").json["next_cursor"]

    assert_refused_field(ask(bob, since=cursor), "/query/since", "of_another_list")
    for other in (of_tasks, of_trash):
        assert_refused_field(ask(alice, since=other), "/query/since", "of_another_list")
    for path in ("/tasks", "/trash"):
        response = alice.get(f"{path}?cursor={cursor}")
        assert_refused_field(response, "/query/cursor", "of_another_list")


def test_a_cursor_that_was_tampered_with_is_refused(alice):
    cursor = now(alice)
    payload, _, signature = cursor.rpartition(".")
    flipped = ("B" if cursor[4] == "A" else "A").join((cursor[:4], cursor[5:]))

    for tampered in (
        flipped,
        payload,
        f"{payload}.",
        f".{signature}",
        f"{payload}.{signature[::-1]}",
        cursor[:-1],
        f"{cursor}A",
        cursor.swapcase(),
    ):
        assert_refused_field(ask(alice, since=tampered), "/query/since", "invalid")


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("since=nonsense", "/query/since", "invalid"),
        ("since=0", "/query/since", "invalid"),
        ("since=%F0%9F%98%80", "/query/since", "invalid"),
        ("since=%00", "/query/since", "forbidden_character"),
        ("since=" + "A" * 4001, "/query/since", "too_long"),
        ("limit=0", "/query/limit", "out_of_range"),
        ("limit=1001", "/query/limit", "out_of_range"),
        ("limit=ten", "/query/limit", "wrong_type"),
        ("wait=-1", "/query/wait", "out_of_range"),
        ("wait=26", "/query/wait", "out_of_range"),
        ("wait=0.5", "/query/wait", "wrong_type"),
        ("cursor=a", "/query/cursor", "unknown"),
    ],
    ids=lambda value: value[:12],
)
def test_what_the_query_cannot_say_is_refused_by_name(alice, query, pointer, code):
    assert_refused_field(alice.get(f"/tasks/changes?{query}"), pointer, code)


def test_nobody_gets_in_without_a_token(client):
    assert_problem(client.get("/tasks/changes"), 401, "token_missing")


def purge_everything(app, sql):
    sql("UPDATE tombstones SET deleted_at = now() - interval '91 days'")
    purged = app.test_cli_runner().invoke(args=["tasks", "purge"])
    assert purged.exit_code == 0
    assert sql("SELECT id FROM tombstones") == []


def test_whoever_was_away_for_too_long_begins_anew(app, alice, bob, sql):
    kept, thrown = alice.creates("a"), alice.creates("b")
    before = now(alice)
    alice.delete(f"/tasks/{thrown['id']}")
    behind = now(alice)
    of_bob = now(bob)
    task = alice.creates("c")

    purge_everything(app, sql)

    problem = assert_problem(ask(alice, since=before), 410, "sync_reset")
    assert "without `since`" in problem["detail"]
    assert feed(alice, behind)["changes"] == [upsert(task)]
    start = feed(alice)
    assert start["changes"] == [upsert(kept), upsert(task)]
    assert feed(alice, start["next"])["changes"] == []
    assert feed(bob, of_bob)["changes"] == []


def test_a_copy_that_had_just_begun_goes_on_although_older_deletions_are_forgotten(app, alice, sql):
    tasks = [alice.creates(str(number)) for number in range(3)]
    thrown = alice.creates("b")
    alice.delete(f"/tasks/{thrown['id']}")
    page = feed(alice, limit=1)

    purge_everything(app, sql)

    # It never had what was deleted before it began.
    rest = feed(alice, page["next"])
    assert upserts(page["changes"] + rest["changes"]) == tasks


def test_a_copy_that_had_begun_before_the_deletions_that_are_forgotten_begins_anew(app, alice, sql):
    tasks = [alice.creates(str(number)) for number in range(3)]
    page = feed(alice, limit=1)
    alice.delete(f"/tasks/{tasks[0]['id']}")

    purge_everything(app, sql)

    assert_problem(ask(alice, since=page["next"]), 410, "sync_reset")


def restored_from_a_backup(sql, person, change):
    sql("DELETE FROM tasks WHERE user_id = :id AND version > :change", id=person.id, change=change)
    sql("UPDATE users SET change_seq = :change WHERE id = :id", id=person.id, change=change)


def test_a_copy_that_is_newer_than_the_database_begins_anew(alice, sql):
    first = alice.creates("a")
    early = now(alice)
    alice.creates("b")
    late = now(alice)

    restored_from_a_backup(sql, alice, 1)

    assert_problem(ask(alice, since=late), 410, "sync_reset")
    assert feed(alice, early)["changes"] == []
    assert feed(alice)["changes"] == [upsert(first)]


def test_a_copy_that_began_with_what_the_database_has_lost_begins_anew(alice, sql):
    first = alice.creates("a")
    for title in ("b", "c", "d"):
        alice.creates(title)
    page = feed(alice, limit=1)
    assert page["changes"] == [upsert(first)]

    restored_from_a_backup(sql, alice, 2)
    alice.delete(f"/tasks/{first['id']}")

    # Otherwise it would keep the task for ever, since it asks for deletions from 4 on.
    assert_problem(ask(alice, since=page["next"]), 410, "sync_reset")


def test_waiting_for_what_cannot_come_ends_at_once(alice, sql):
    for title in ("a", "b"):
        alice.creates(title)
    late = now(alice)
    restored_from_a_backup(sql, alice, 1)

    assert_problem(ask(alice, since=late, wait=25), 410, "sync_reset")


class Mirror:
    """A device that keeps a copy by the feed alone."""

    def __init__(self, person, limit):
        self.person = person
        self.limit = limit
        self.copy: dict[str, object] = {}
        self.since: str | None = None

    def catch_up(self):
        pages, self.since = follow(self.person, self.since, limit=self.limit)
        changes = [change for page in pages for change in page]
        versions = [task["version"] for task in upserts(changes)]
        assert versions == sorted(set(versions))
        for page in pages:
            assert len(page) <= self.limit
            apply(self.copy, page)


def write_for_a_while(person, seed):
    """Do all that can be done to tasks, many of which somebody else is at as well."""
    chance = random.Random(seed)
    statuses = set()

    def any_task():
        tasks = person.get("/tasks?limit=30").json["tasks"]
        return chance.choice(tasks)["id"] if tasks else str(uuid4())

    def in_trash():
        tasks = person.get("/trash?limit=5").json["tasks"]
        return chance.choice(tasks)["id"] if tasks else str(uuid4())

    def batch():
        operations = [
            {"op": "create", "data": {"title": f"batch {seed}"}},
            {"op": "create", "data": {"title": f"batch {seed}"}},
            {"op": "update", "id": any_task(), "data": {"order": chance.randrange(5)}},
            {"op": "complete", "id": any_task()},
            {"op": "move", "id": any_task(), "data": {"after": None}},
            {"op": "delete", "id": any_task()},
        ]
        atomic = chance.random() < 0.3
        return person.post("/tasks/batch", {"operations": operations, "atomic": atomic})

    actions = [
        lambda: person.post("/tasks", {"title": f"by {seed}"}),
        lambda: person.post("/tasks", {"title": f"by {seed}", "completed": True}),
        lambda: person.patch(f"/tasks/{any_task()}", {"title": str(chance.random())}),
        lambda: person.patch(f"/tasks/{any_task()}/complete"),
        lambda: person.delete(f"/tasks/{any_task()}"),
        lambda: person.delete(f"/tasks/{any_task()}?permanent=true"),
        lambda: person.post(f"/trash/{in_trash()}/restore"),
        lambda: person.post(f"/tasks/{any_task()}/move", {"after": any_task()}),
        batch,
    ]
    for step in range(150):
        statuses.add(chance.choice(actions if step > 8 else actions[:1])().status_code)
    return statuses


def test_a_copy_that_follows_many_writers_is_the_same_as_what_they_wrote(app, alice):
    is_over = threading.Event()
    mirrors = [Mirror(alice, 2), Mirror(alice, 7)]

    def mirror(which):
        while not is_over.is_set():
            which.catch_up()

    with ThreadPoolExecutor(5) as pool:
        mirroring = [pool.submit(mirror, which) for which in mirrors]
        writing = [pool.submit(write_for_a_while, alice, seed) for seed in range(3)]
        statuses = set()
        try:
            for written in writing:
                statuses |= written.result(60)
        finally:
            is_over.set()
        for mirrored in mirroring:
            mirrored.result(60)

    assert {200, 201, 204, 207} <= statuses <= {200, 201, 204, 207, 404, 422}
    late = Mirror(alice, 1000)
    for one in (*mirrors, late):
        one.catch_up()
        assert one.copy == all_tasks(alice)
    assert late.copy


def waiters_in(app):
    return len(app.extensions["taskapi.waiting"]._waiters)


def until_waiting(app, count=1):
    deadline = time.monotonic() + 10
    while waiters_in(app) < count:
        assert time.monotonic() < deadline, "Nobody waits."
        time.sleep(0.005)


@pytest.fixture
def waiting(app):
    """Let people wait in threads, until they do."""
    with ThreadPoolExecutor(8) as pool:

        def wait(person, since, seconds=25, where=app):
            before = waiters_in(where)
            answer = pool.submit(ask, person, since=since, wait=seconds)
            until_waiting(where, before + 1)
            return answer

        yield wait


@pytest.mark.parametrize("what", ["create", "patch", "delete", "restore", "batch"])
def test_whoever_waits_hears_of_a_change(app, alice, waiting, what):
    task, thrown = alice.creates("a"), alice.creates("b")
    alice.delete(f"/tasks/{thrown['id']}")
    path = f"/tasks/{task['id']}"
    answer = waiting(alice, now(alice))

    done = {
        "create": lambda: alice.post("/tasks", {"title": "c"}),
        "patch": lambda: alice.patch(path, {"order": 1}),
        "delete": lambda: alice.delete(path),
        "restore": lambda: alice.post(f"/trash/{thrown['id']}/restore"),
        "batch": lambda: alice.post(
            "/tasks/batch", {"operations": [{"op": "create", "data": {"title": "c"}}]}
        ),
    }[what]()
    assert done.status_code < 300

    response = answer.result(20)
    assert response.status_code == 200
    [change] = response.json["changes"]
    if what == "delete":
        assert change["id"] == task["id"]
    elif what != "batch":
        assert change == upsert(done.json)
    assert feed(alice, response.json["next"])["changes"] == []


def test_all_devices_that_wait_hear_of_it_and_nobody_else(app, alice, bob, waiting):
    answers = [waiting(alice, now(alice)) for _ in range(3)]
    of_bob = waiting(bob, now(bob))

    task = alice.creates()

    for answer in answers:
        assert answer.result(20).json["changes"] == [upsert(task)]
    assert not of_bob.done()
    of_bobs_own = bob.creates()
    assert of_bob.result(20).json["changes"] == [upsert(of_bobs_own)]


def test_where_there_is_something_new_nobody_waits(app, alice):
    since = now(alice)
    task = alice.creates()

    started = time.monotonic()
    assert feed(alice, since, wait=25)["changes"] == [upsert(task)]
    assert feed(alice, wait=25)["changes"] == [upsert(task)]

    assert time.monotonic() - started < 10
    assert waiters_in(app) == 0


def test_where_nothing_happens_the_time_runs_out(app, alice, bob, waiting):
    alice.creates()
    since = now(alice)
    answer = waiting(alice, since, seconds=1)
    bob.creates()

    response = answer.result(20)

    assert response.status_code == 200
    assert (response.json["changes"], response.json["has_more"]) == ([], False)
    assert waiters_in(app) == 0
    task = alice.creates()
    assert feed(alice, response.json["next"])["changes"] == [upsert(task)]


def test_a_client_that_has_gone_keeps_no_seat(app, alice):
    since = now(alice)
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, ours:
        answer = pool.submit(
            alice.get,
            f"/tasks/changes?since={since}&wait=25",
            environ_overrides={"gunicorn.socket": ours},
        )
        until_waiting(app)
        # That something comes, such as the next request, does not mean that nobody is there.
        theirs.send(b"GET")
        time.sleep(0.6)
        assert waiters_in(app) == 1
        ours.recv(3)
        theirs.close()

        started = time.monotonic()
        assert answer.result(20).status_code == 200
        assert time.monotonic() - started < 10
    assert waiters_in(app) == 0


def test_whoever_waits_holds_no_connection(variant, waiting):
    single = variant(threads=1, changes_wait_share=1, user_threads_share=2)
    carol = register(single, "carol@example.com")
    dave = register(single, "dave@example.com")
    answer = waiting(carol, now(carol), where=single)

    for number in range(20):
        dave.creates(str(number))
        assert len(all_tasks(dave)) == number + 1
    assert not answer.done()
    task = carol.creates()

    assert answer.result(20).json["changes"] == [upsert(task)]


def test_only_a_share_of_the_threads_waits(variant, waiting):
    small = variant(threads=2, changes_wait_share=0.5)
    carol = register(small, "carol@example.com")
    since = now(carol)
    answer = waiting(carol, since, where=small)

    # There is one seat, and it is taken.
    started = time.monotonic()
    for _ in range(3):
        assert feed(carol, since, wait=25)["changes"] == []
    assert time.monotonic() - started < 10
    assert not answer.done()
    task = carol.creates()

    assert answer.result(20).json["changes"] == [upsert(task)]
    assert waiting(carol, now(carol), seconds=1, where=small).result(20).status_code == 200


def test_where_there_is_no_seat_the_answer_comes_at_once(variant):
    crowded = variant(changes_wait_share=0)
    carol = register(crowded, "carol@example.com")

    started = time.monotonic()
    page = feed(carol, now(carol), wait=25)

    assert (page["changes"], page["has_more"]) == ([], False)
    assert time.monotonic() - started < 10


def second_login(app, person):
    client = app.test_client()
    email = person.get("/auth/me").json["email"]
    login = client.post("/auth/login", json={"email": email, "password": PASSWORD})
    return Person(client, json_of(login))


def test_a_session_that_is_logged_out_while_it_waits_is_told_nothing(app, alice, waiting):
    elsewhere = second_login(app, alice)
    answer = waiting(alice, now(alice))

    assert alice.post("/auth/logout").status_code == 204
    elsewhere.creates("Secret")

    assert_problem(answer.result(20), 401, "session_ended")


def test_a_session_that_was_logged_out_is_told_so_when_the_time_runs_out(app, alice, waiting):
    answer = waiting(alice, now(alice), seconds=1)

    assert alice.post("/auth/logout").status_code == 204

    assert_problem(answer.result(20), 401, "session_ended")


def test_whose_account_is_deleted_while_they_wait_is_told_so(app, alice, waiting):
    answer = waiting(alice, now(alice), seconds=1)

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    assert_problem(answer.result(20), 401, "session_ended")


def test_whoever_waits_goes_on_waiting_when_the_look_for_them_fails_once(
    app, alice, waiting, monkeypatch
):
    failed = threading.Event()

    def failing(*args, **kwargs):
        if failed.is_set():
            return execute(*args, **kwargs)
        failed.set()
        raise DatabaseUnavailable

    monkeypatch.setattr("taskapi.changes.long_poll.execute", failing)
    answer = waiting(alice, now(alice))
    task = alice.creates()

    assert answer.result(20).json["changes"] == [upsert(task)]
    assert failed.is_set()


def workers_of(service):
    [gunicorn] = [
        child
        for child in psutil.Process(service.process.pid).children()
        if "gunicorn" in " ".join(child.cmdline())
    ]
    return gunicorn.children()


class Line:
    """A connection of its own to a service, which stays with the worker that took it."""

    def __init__(self, service, token):
        parts = urlsplit(service.url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.headers = {"Authorization": token, "Content-Type": "application/json"}
        self.call("GET", "/tasks?limit=1")
        self.port = self.connection.sock.getsockname()[1]

    def send(self, method, path, body=None):
        self.connection.request(method, path, body and json.dumps(body), self.headers)

    def answer(self):
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def call(self, method, path, body=None):
        self.send(method, path, body)
        return self.answer()

    def is_with(self, worker):
        return any(
            one.raddr and one.raddr.port == self.port for one in worker.net_connections("inet")
        )

    def waits(self):
        _, start = self.call("GET", "/tasks/changes")
        self.send("GET", f"/tasks/changes?wait=25&since={start['next']}")


class Waiters:
    """Who waits in the service, as its metrics tell over all workers."""

    def __init__(self, service):
        self.url = f"{service.url}/metrics"
        self.workers = workers_of(service)

    def until(self, number):
        deadline = time.monotonic() + 10
        while (
            f"taskapi_change_feed_waiters {number}.0" not in requests.get(self.url, timeout=10).text
        ):
            assert time.monotonic() < deadline, f"There are not {number} who wait."
            time.sleep(0.01)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with two workers, for the tests that need one; the last of them stops it."""
    with running_service(tmp_path_factory.mktemp("two"), WEB_CONCURRENCY="2") as service:
        yield service


@pytest.fixture(scope="module")
def waiters(service):
    # The service answers as soon as the first of them has started.
    deadline = time.monotonic() + 10
    while sum(worker.num_threads() > 8 for worker in workers_of(service)) < 2:
        assert time.monotonic() < deadline, "There is one worker."
        time.sleep(0.01)
    return Waiters(service)


@pytest.fixture
def token(service):
    return Caller(service, "ada@example.com").session.headers["Authorization"]


@pytest.mark.service
def test_whichever_worker_takes_the_write_who_waits_hears_of_it(service, waiters, token):
    workers = waiters.workers
    found: dict[int, list[Line]] = {worker.pid: [] for worker in workers}
    with ExitStack() as lines:
        for _ in range(300):
            line = Line(service, token)
            lines.enter_context(closing(line.connection))
            [taken_by] = [worker.pid for worker in workers if line.is_with(worker)]
            found[taken_by].append(line)
            if min(map(len, found.values())) >= 2:
                break

        for listener in (some[0] for some in found.values()):
            for writer in (some[1] for some in found.values()):
                waiters.until(0)
                listener.waits()
                waiters.until(1)
                status, task = writer.call("POST", "/tasks", {"title": "a"})
                assert status == 201
                status, page = listener.answer()
                assert (status, page["changes"]) == (200, [upsert(task)])


@pytest.mark.service
def test_who_waits_is_answered_when_the_service_stops(service, waiters, token):
    line = Line(service, token)
    with closing(line.connection):
        waiters.until(0)
        line.waits()
        waiters.until(1)
        took = service.stop()
        status, page = line.answer()

    assert took < 10
    assert status == 200
    assert (page["changes"], page["has_more"]) == ([], False)


def test_one_user_takes_not_all_the_seats(variant):
    app = variant(threads=8, changes_wait_share=0.5)
    alice = register(app, "alice2@example.com")
    since = json_of(alice.get("/tasks/changes"))["next"]

    with ThreadPoolExecutor(4) as pool:
        url = f"/tasks/changes?since={since}&wait=2"
        answers = list(pool.map(lambda _: alice.get(url), range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers.get("Retry-After") for answer in answers].count(
        "5"
    ) == 1  # Of four seats.
