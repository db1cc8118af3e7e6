import os
import signal
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier
from uuid import uuid4

import psutil
import psycopg2
import pytest
import requests
from sqlalchemy import make_url

from taskapi import devdb
from taskapi.http.idempotency import _fingerprint as fingerprint
from taskapi.http.rate_limits import Limiter
from tests.support import service
from tests.support.people import (
    PASSWORD,
    Caller,
    assert_problem,
    assert_refused_field,
    outsider,
    register,
)

BASES = ["/tasks", "by path"]
REPLAYED = "Idempotent-Replayed"
REPEATED = ("Content-Type", "ETag", "Location")
SECRET = "a secret that the issuer and we share"

on_both_paths = pytest.mark.parametrize("base", BASES)


def base_of(person, base):
    return person.path if base == "by path" else base


def keyed(person, method, path, body=None, key="k", **headers):
    return person.call(method, path, body, headers={"Idempotency-Key": key, **headers})


def post(person, body=None, key="k", path="/tasks"):
    return keyed(person, "POST", path, {"title": "Buy milk"} if body is None else body, key)


def tasks_of(person):
    return person.get("/tasks").json["tasks"]


def assert_replayed(again, first):
    assert again.headers[REPLAYED] == "true"
    assert REPLAYED not in first.headers
    assert again.status_code == first.status_code
    assert again.data == first.data
    for name in REPEATED:
        assert again.headers.get(name) == first.headers.get(name)


@contextmanager
def holding(database_url, statement, *values):
    """Do something in a transaction that goes on, and is undone at last."""
    dsn = make_url(database_url).set(drivername="postgresql")
    connection = psycopg2.connect(dsn.render_as_string(hide_password=False))
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            yield cursor
    finally:
        connection.close()


@contextmanager
def holding_the_account(app, person):
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    with holding(url, "SELECT FROM users WHERE id = %s FOR UPDATE", person.id) as cursor:
        yield cursor


def wait_for_one_who_waits(cursor):
    """Wait until somebody waits for what this transaction holds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        cursor.execute(
            "SELECT FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        if cursor.rowcount:
            return
    raise AssertionError("Nobody waits.")


@on_both_paths
def test_a_task_that_is_sent_again_is_there_once(alice, base):
    base = base_of(alice, base)
    first = post(alice, path=base)
    assert first.status_code == 201
    assert first.headers["ETag"] == '"1"'

    for _ in range(3):
        again = post(alice, path=base)
        assert_replayed(again, first)
        assert again.headers["Location"] == f"{base}/{first.json['id']}"
        assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]

    assert tasks_of(alice) == [first.json]


@on_both_paths
def test_a_flip_that_is_sent_again_flips_once(alice, base):
    path = f"{base_of(alice, base)}/{alice.creates()['id']}/complete"

    first = keyed(alice, "PATCH", path)
    assert (first.status_code, first.json["completed"]) == (200, True)
    for _ in range(2):
        assert_replayed(keyed(alice, "PATCH", path), first)

    assert tasks_of(alice) == [first.json]
    assert keyed(alice, "PATCH", path, key="another").json["completed"] is False


def test_the_first_answer_is_repeated_whatever_has_become_of_the_task(alice):
    first = post(alice)
    path = f"/tasks/{first.json['id']}"

    alice.patch(path, {"title": "Buy bread"})
    assert_replayed(post(alice), first)
    alice.delete(f"{path}?permanent=true")
    assert_replayed(post(alice), first)

    assert tasks_of(alice) == []


def test_without_a_key_everything_is_done_again(alice):
    for _ in range(2):
        response = alice.post("/tasks", {"title": "Buy milk"})
        assert REPLAYED not in response.headers
    assert post(alice, key="a").json["id"] != post(alice, key="b").json["id"]

    assert len(tasks_of(alice)) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"title": "Buy bread"},
        {"title": "buy milk"},
        {"title": "Buy milk", "description": "Oat"},
        {"title": "Buy milk", "order": 1},
        {"title": "Buy milk", "completed": True},
    ],
    ids=["title", "case", "description", "order", "completed"],
)
def test_a_key_is_for_one_body(alice, body):
    first = post(alice)

    assert_problem(post(alice, body), 422, "idempotency_key_reused")

    assert tasks_of(alice) == [first.json]
    assert_replayed(post(alice), first)


def test_a_key_is_for_one_path(alice):
    first = post(alice)
    path = f"/tasks/{first.json['id']}/complete"

    for response in (
        post(alice, path=alice.path),
        keyed(alice, "PATCH", path),
        keyed(alice, "PATCH", path, {"completed": True}),
    ):
        assert_problem(response, 422, "idempotency_key_reused")

    assert tasks_of(alice) == [first.json]


def test_a_key_is_for_one_task_and_one_completion(alice):
    one, other = (f"/tasks/{alice.creates()['id']}/complete" for _ in range(2))
    first = keyed(alice, "PATCH", one, {"completed": True})

    for path, body in ((other, {"completed": True}), (one, {"completed": False}), (one, None)):
        assert_problem(keyed(alice, "PATCH", path, body), 422, "idempotency_key_reused")

    assert [task["completed"] for task in tasks_of(alice)] == [False, True]
    assert_replayed(keyed(alice, "PATCH", one, {"completed": True}), first)


def test_the_order_and_the_spaces_of_the_body_do_not_count(alice):
    headers = {"Idempotency-Key": "k"}

    answers = [
        alice.post("/tasks", data=data, content_type="application/json", headers=headers)
        for data in (
            '{"title": "Buy milk", "description": "Oat", "order": 3}',
            '{"order":3,"description":"Oat","title":"Buy milk"}',
            '\n{ "description" : "Oat", "order": 3, "title": "Buy\\u0020milk" }',
        )
    ]

    for again in answers[1:]:
        assert_replayed(again, answers[0])
    assert len(tasks_of(alice)) == 1


def test_everybody_has_keys_of_their_own(alice, bob):
    of_alice, of_bob = post(alice), post(bob, {"title": "Bob's"})

    assert (of_alice.status_code, of_bob.status_code) == (201, 201)
    assert tasks_of(alice) == [of_alice.json]
    assert tasks_of(bob) == [of_bob.json]
    assert_replayed(post(alice), of_alice)
    assert_replayed(post(bob, {"title": "Bob's"}), of_bob)


def test_whose_account_is_elsewhere_has_keys_from_the_first_request_on(variant):
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    ada, bea = (outsider(external, SECRET, name) for name in ("ada/b c", "用" * 255))

    for somebody in (ada, bea):
        first = post(somebody, key="k" * 255, path=somebody.path)
        assert first.status_code == 201
        assert_replayed(post(somebody, key="k" * 255, path=somebody.path), first)
        assert tasks_of(somebody) == [first.json]


@pytest.mark.parametrize(
    "key",
    [
        "k",
        "k" * 255,
        "2f1c6a9e-8f3a-4c41-9d52-3b1f0a6e4c77",
        '"quoted"',
        "a b",
        "'; --%s",
        "*",
    ],
    ids=["short", "longest", "uuid", "quoted", "space", "signs", "star"],
)
def test_a_key_has_up_to_255_characters(alice, key):
    first = post(alice, key=key)

    assert first.status_code == 201
    assert_replayed(post(alice, key=key), first)


@pytest.mark.parametrize(
    ("key", "code"),
    [("k" * 256, "too_long"), ("", "blank"), ("  ", "blank"), ("\t", "blank")],
    ids=["too long", "empty", "spaces", "tab"],
)
def test_what_is_no_key_is_refused(alice, key, code):
    task = alice.creates()

    for response in (
        post(alice, key=key),
        post(alice, key=key, path=alice.path),
        keyed(alice, "PATCH", f"/tasks/{task['id']}/complete", key=key),
    ):
        assert_refused_field(response, "/header/Idempotency-Key", code)

    assert tasks_of(alice) == [task]


def test_a_refused_condition_is_refused_again_even_where_it_would_be_met_now(alice):
    task = alice.creates()
    path = f"/tasks/{task['id']}/complete"

    first = keyed(alice, "PATCH", path, **{"If-Match": '"2"'})
    assert assert_problem(first, 412, "precondition_failed")["current"] == task
    alice.patch(f"/tasks/{task['id']}", {"order": 1})
    changed = alice.get(f"/tasks/{task['id']}")
    again = keyed(alice, "PATCH", path, **{"If-Match": '"2"'})

    assert_replayed(again, first)
    assert tasks_of(alice) == [changed.json]


def test_a_key_is_for_one_condition(alice):
    path = f"/tasks/{alice.creates()['id']}/complete"
    keyed(alice, "PATCH", path, **{"If-Match": '"7"'})

    for headers in ({"If-Match": '"1"'}, {}):
        response = keyed(alice, "PATCH", path, **headers)
        assert_problem(response, 422, "idempotency_key_reused")


@on_both_paths
def test_a_task_that_was_missing_is_missing_again(alice, base):
    base = base_of(alice, base)
    path = f"{base}/{uuid4()}"

    first = keyed(alice, "PATCH", f"{path}/complete")
    assert_problem(first, 404, "task_not_found")
    made = alice.put(path, {"title": "a"}, headers={"If-None-Match": "*"})
    assert made.status_code == 201

    assert_replayed(keyed(alice, "PATCH", f"{path}/complete"), first)
    assert tasks_of(alice) == [made.json]


@on_both_paths
def test_a_body_that_was_refused_may_be_mended(alice, base, sql):
    base = base_of(alice, base)
    assert_refused_field(post(alice, {"title": ""}, path=base), "/title", "blank")
    assert_refused_field(post(alice, {"title": "a", "colour": 1}, path=base), "/colour", "unknown")
    refused = alice.post(
        base, data="{", content_type="application/json", headers={"Idempotency-Key": "k"}
    )
    assert_problem(refused, 400 if base == "/tasks" else 422, "malformed_json")
    assert sql("SELECT key FROM idempotency_keys") == []

    first = post(alice, path=base)

    assert first.status_code == 201
    assert_replayed(post(alice, path=base), first)


def test_a_session_that_has_ended_is_told_nothing(alice):
    assert post(alice).status_code == 201
    alice.post("/auth/logout")

    response = post(alice)

    assert_problem(response, 401, "session_ended")
    assert REPLAYED not in response.headers


def test_after_a_day_a_key_is_new(alice, sql):
    first = post(alice)
    sql("UPDATE idempotency_keys SET created_at = created_at - interval '23 hours 59 minutes'")
    assert_replayed(post(alice), first)
    sql("UPDATE idempotency_keys SET created_at = created_at - interval '1 minute'")

    second = post(alice, {"title": "Buy bread"})

    assert second.status_code == 201
    assert REPLAYED not in second.headers
    assert tasks_of(alice) == [second.json, first.json]
    assert_replayed(post(alice, {"title": "Buy bread"}), second)
    assert_problem(post(alice), 422, "idempotency_key_reused")


def test_while_the_first_is_being_answered_its_key_is_in_use(app, alice, bob):
    with ThreadPoolExecutor(1) as pool:
        with holding_the_account(app, alice) as cursor:
            first = pool.submit(post, alice)
            wait_for_one_who_waits(cursor)

            assert_problem(post(alice), 409, "idempotency_key_in_use")
            response = post(alice, {"title": "Other"}, path=alice.path)
            assert_problem(response, 409, "idempotency_key_in_use")
            assert post(bob).status_code == 201
            assert tasks_of(alice) == []
        done = first.result()

    assert done.status_code == 201
    assert_replayed(post(alice), done)
    assert tasks_of(alice) == [done.json]


@on_both_paths
def test_of_many_at_once_with_one_key_one_has_an_effect(alice, base):
    base = base_of(alice, base)
    barrier = Barrier(8)

    def send(number):
        barrier.wait()
        return [post(alice, key=str(round_), path=base) for round_ in range(4)]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for some in pool.map(send, range(8)) for answer in some]

    done = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer not in done:
            assert_problem(answer, 409, "idempotency_key_in_use")
    assert sum(REPLAYED not in answer.headers for answer in done) == 4
    assert len({answer.json["id"] for answer in done}) == 4
    assert len(tasks_of(alice)) == 4


def test_flips_at_once_with_one_key_flip_once(alice):
    task = alice.creates()
    barrier = Barrier(8)

    def flip(_number):
        barrier.wait()
        return keyed(alice, "PATCH", f"/tasks/{task['id']}/complete", **{"If-Match": '"1"'})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(flip, range(8)))

    [flipped] = tasks_of(alice)
    assert (flipped["completed"], flipped["version"]) == (True, 2)
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.data for answer in answers if answer.status_code == 200} == {
        alice.get(f"/tasks/{task['id']}").data
    }


@on_both_paths
def test_what_could_not_be_done_is_done_when_it_is_sent_again(variant, base):
    hasty = variant(lock_timeout=0.05)
    carol = register(hasty, "carol@example.com")
    base = base_of(carol, base)

    with holding_the_account(hasty, carol):
        for _ in range(2):
            refused = post(carol, path=base)
            assert_problem(refused, 503, "database_unavailable")
            assert refused.headers["Retry-After"]
    done = post(carol, path=base)

    assert done.status_code == 201
    assert REPLAYED not in done.headers
    assert_replayed(post(carol, path=base), done)
    assert tasks_of(carol) == [done.json]


def test_without_its_answer_the_task_is_not_kept(variant):
    hasty = variant(lock_timeout=0.05)
    carol = register(hasty, "carol@example.com")
    url = hasty.config["SQLALCHEMY_DATABASE_URI"]

    with holding(url, "LOCK TABLE idempotency_keys IN SHARE MODE"):
        assert_problem(post(carol), 503, "database_unavailable")
        assert tasks_of(carol) == []

    assert post(carol).status_code == 201
    assert len(tasks_of(carol)) == 1


def test_a_fault_of_ours_is_not_kept_either(alice, sql):
    sql("ALTER TABLE tasks ADD CONSTRAINT test_no_milk CHECK (title <> 'Buy milk')")
    try:
        assert_problem(post(alice), 500, "internal_error")
    finally:
        sql("ALTER TABLE tasks DROP CONSTRAINT test_no_milk")

    first = post(alice)

    assert first.status_code == 201
    assert_replayed(post(alice), first)
    assert tasks_of(alice) == [first.json]


def test_with_the_account_go_the_answers_to_it(alice, bob, sql):
    post(alice)
    post(bob)

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    assert [row["user_id"] for row in sql("SELECT user_id FROM idempotency_keys")] == [bob.id]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A service with one process that answers, and the URL of its database."""
    directory = tmp_path_factory.mktemp("killed")
    with service.running_service(
        directory, WEB_CONCURRENCY="1", LOCK_TIMEOUT="20", STATEMENT_TIMEOUT="20"
    ) as running:
        yield running, devdb.url(directory / "postgres")


def send(ada, body):
    with suppress(requests.ConnectionError):
        return ada.call("POST", "/tasks", json=body, headers={"Idempotency-Key": "k"})
    return None


def kill_the_worker(running):
    [gunicorn] = [
        child
        for child in psutil.Process(running.process.pid).children()
        if "gunicorn" in " ".join(child.cmdline())
    ]
    [worker] = gunicorn.children()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)


def send_until_it_is_answered(ada, body):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = send(ada, body)
        if answer is not None and answer.status_code != 409:
            return answer
    raise AssertionError("There is no answer.")


@pytest.mark.service
def test_who_is_killed_before_the_answer_is_kept_has_done_nothing(running):
    running, url = running
    ada = service.Caller(running, "ada@example.com")
    user_id = ada.call("GET", "/auth/me").json()["id"]
    body = {"title": "Buy milk"}
    # Whoever is about to keep an answer under this key waits for what becomes of this one.
    theirs = (
        "INSERT INTO idempotency_keys"
        " (user_id, key, fingerprint, status, headers, body, created_at)"
        " VALUES (%s, 'k', '', 201, '{}', '', now())"
    )

    with ThreadPoolExecutor(1) as pool, holding(url, theirs, user_id) as cursor:
        first = pool.submit(send, ada, body)
        wait_for_one_who_waits(cursor)
        kill_the_worker(running)
        assert first.result() is None

    done = send_until_it_is_answered(ada, body)
    assert done.status_code == 201, done.text
    assert REPLAYED not in done.headers
    assert ada.call("GET", "/tasks").json()["tasks"] == [done.json()]


@pytest.mark.service
def test_who_is_killed_before_the_answer_is_sent_sends_it_when_asked_again(running):
    running, url = running
    bea = service.Caller(running, "bea@example.com")
    body = {"title": "Buy milk"}
    slow_commit = """
        CREATE FUNCTION test_wait() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN PERFORM pg_advisory_xact_lock(1742); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER test_wait AFTER INSERT ON idempotency_keys
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_wait();
        COMMIT
    """
    with holding(url, slow_commit):
        pass

    lock = "SELECT pg_advisory_xact_lock(1742)"
    with ThreadPoolExecutor(1) as pool, holding(url, lock) as cursor:
        first = pool.submit(send, bea, body)
        wait_for_one_who_waits(cursor)
        kill_the_worker(running)
        assert first.result() is None

    done = send_until_it_is_answered(bea, body)
    assert done.status_code == 201, done.text
    assert done.headers[REPLAYED] == "true"
    assert bea.call("GET", "/tasks").json()["tasks"] == [done.json()]


def test_a_limit_that_was_reached_is_not_the_answer_for_a_day(app, variant, monkeypatch):
    limited = variant(rate_limit_enabled=True, rate_limit_writes="10/minute")
    alice = register(limited, "limited@example.com")
    batch = {"operations": [{"op": "create", "data": {"title": "a"}}] * 6}
    headers = {"Idempotency-Key": "k"}
    assert alice.post("/tasks/batch", batch).status_code == 207

    assert_problem(alice.post("/tasks/batch", batch, headers=headers), 429, "rate_limited")

    # When the minute is over, nothing is counted any more.
    anew = Limiter(service.make_settings(database_url="", rate_limit_writes="10/minute"))
    monkeypatch.setitem(limited.extensions, "taskapi.rate_limits", anew)
    done = alice.post("/tasks/batch", batch, headers=headers)
    assert done.status_code == 207
    assert "Idempotent-Replayed" not in done.headers


def test_a_task_that_is_there_again_cannot_be_restored_with_a_key_either(alice, sql):
    task = alice.creates()
    alice.delete(f"/tasks/{task['id']}")
    sql("""
        INSERT INTO tasks (user_id, id, title, version)
        SELECT user_id, id, 'anew', 1000 FROM trash
    """)

    url, headers = f"/trash/{task['id']}/restore", {"Idempotency-Key": "k"}
    first, again = (alice.post(url, headers=headers) for _ in range(2))

    assert_problem(first, 409, "task_exists")
    assert (again.status_code, again.data) == (409, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_batches_that_are_wrong_in_other_ways_are_other_requests(alice):
    def send(title):
        batch = {"operations": [{"op": "create", "data": {"title": title}}]}
        return alice.post("/tasks/batch", batch, headers={"Idempotency-Key": "k"})

    assert send("").status_code == 207
    assert_problem(send(5), 422, "idempotency_key_reused")
    assert send("").headers["Idempotent-Replayed"] == "true"


def test_whoever_is_new_here_is_doubled_no_more_than_others(variant):
    app = variant(auth_mode="path")
    headers = {"Idempotency-Key": "k"}
    for number in range(15):
        new = Caller(app.test_client(), f"new {number}", None)

        def create(_number, new=new):
            return new.post(new.path, {"title": "a"}, headers=headers).status_code

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(create, range(4))) <= {201, 409}
        [_the_only_one] = new.get(new.path).json or []


def test_the_fingerprint_of_an_upload_needs_no_copy_of_it(app):
    upload = b"\xff" * 4 * 1024 * 1024
    with app.test_request_context("/tasks/import", method="POST"):
        tracemalloc.start()
        try:
            fingerprint({"body": upload})
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert most < 256 * 1024


def test_uploads_that_differ_have_different_fingerprints(app):
    with app.test_request_context("/tasks/import", method="POST"):
        found = {fingerprint({"body": body}) for body in (b"", b"a", b"b", "b", b"b", None)}

    assert len(found) == 5


@pytest.mark.parametrize(
    ("count", "length"), [(10_000, 1), (300, 1024 * 1024)], ids=["keys", "bytes"]
)
def test_a_user_keeps_no_more_answers_than_are_allowed(alice, bob, sql, count, length):
    kept = post(alice, {"title": "Kept"}, key="kept")
    sql(
        """
        INSERT INTO idempotency_keys (user_id, key, fingerprint, status, headers, body, created_at)
        SELECT :owner, 'key ' || n, '', 200, '{}', convert_to(repeat('a', :length), 'UTF8'), now()
          FROM generate_series(1, :count) AS n
        """,
        owner=alice.id,
        count=count,
        length=length,
    )

    # One new key in sixteen is held against the limit.
    answers = [post(alice, key=f"new {number}") for number in range(200)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert 1 <= len(refused) <= 50
    problem = assert_problem(refused[0], 429, "too_many_idempotency_keys")
    assert problem["detail"].endswith("or without a key.")
    # What is known is replayed, and nobody else is refused.
    assert_replayed(post(alice, {"title": "Kept"}, key="kept"), kept)
    assert all(post(bob, key=f"of Bob {number}").status_code == 201 for number in range(50))
    assert alice.post("/tasks", {"title": "Without a key"}).status_code == 201
