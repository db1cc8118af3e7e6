"""How many tasks a user may have."""

import threading
from uuid import uuid4

import pytest

from tests.support.people import Caller, assert_problem, register

NEW = {"op": "create", "data": {"title": "a"}}


@pytest.fixture
def narrow_app(variant):
    """The application with three tasks for each user."""
    return variant(task_quota=3)


@pytest.fixture
def alice(narrow_app):
    return register(narrow_app, "alice@example.com")


def create_until_full(alice):
    return [alice.creates() for _ in range(3)]


def assert_refused(response, room=0):
    assert_problem(response, 422, "quota_exceeded")
    assert (response.json["quota"], response.json["room"]) == (3, room)
    assert "DELETE /trash" in response.json["detail"]


def test_tasks_beyond_the_quota_are_refused(alice, sql):
    create_until_full(alice)

    assert_refused(alice.post("/tasks", {"title": "a"}))
    assert_refused(alice.put(f"/tasks/{uuid4()}", {"title": "a"}, headers={"If-None-Match": "*"}))
    assert_refused(alice.post(alice.path, {"title": "a"}))

    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 3}]


def test_each_user_has_a_quota_of_their_own(narrow_app, alice):
    create_until_full(alice)

    assert register(narrow_app, "bob@example.com").creates()


def test_at_the_quota_everything_else_goes_on(alice):
    task, other, _ = create_until_full(alice)

    assert alice.patch(f"/tasks/{task['id']}", {"title": "b"}).status_code == 200
    assert alice.put(f"/tasks/{task['id']}", {"title": "c"}).status_code == 200
    update = {"op": "update", "id": other["id"], "data": {"title": "d"}}
    assert alice.post("/tasks/batch", {"operations": [update]}).json["results"][0]["status"] == 200


def test_what_is_in_the_trash_counts_until_it_is_deleted_for_good(alice):
    task, _, _ = create_until_full(alice)
    alice.delete(f"/tasks/{task['id']}")

    assert_refused(alice.post("/tasks", {"title": "a"}))
    assert alice.post(f"/trash/{task['id']}/restore").status_code == 200
    alice.delete(f"/tasks/{task['id']}")
    assert alice.delete("/trash").status_code == 204

    assert alice.post("/tasks", {"title": "a"}).status_code == 201
    assert_refused(alice.post("/tasks", {"title": "a"}))


def test_a_refused_id_takes_no_room(alice):
    task = alice.creates()
    for _ in range(5):
        taken = alice.put(f"/tasks/{task['id']}", {"title": "a"}, headers={"If-None-Match": "*"})
        assert taken.status_code == 412

    assert [alice.creates() for _ in range(2)]


def test_a_batch_creates_what_fits_and_refuses_the_rest_by_name(alice, sql):
    task = alice.creates()
    rename = {"op": "update", "id": task["id"], "data": {"title": "b"}}

    answer = alice.post("/tasks/batch", {"operations": [NEW, rename, NEW, NEW]})

    results = answer.json["results"]
    assert [one["status"] for one in results] == [201, 200, 201, 422]
    assert results[3]["problem"]["code"] == "quota_exceeded"
    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 3}]


def test_an_atomic_batch_beyond_the_quota_does_nothing(alice, sql):
    answer = alice.post("/tasks/batch", {"operations": [NEW] * 4, "atomic": True})

    assert_refused(answer, room=3)
    assert answer.json["index"] == 3
    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 0}]


@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_a_file_that_does_not_fit_is_refused_as_a_whole(alice, sql, dry_run):
    alice.creates()

    answer = alice.post(f"/tasks/import?dry_run={dry_run}", [{"title": "a"}] * 3)

    assert_refused(answer, room=2)
    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 1}]


def test_a_file_that_fits_counts(alice):
    assert alice.post("/tasks/import", [{"title": "a"}] * 3).status_code == 200

    assert_refused(alice.post("/tasks", {"title": "a"}))


def test_concurrent_creates_do_not_exceed_the_quota(variant, sql):
    app = variant(task_quota=10)
    alice = register(app, "alice@example.com")
    statuses: list[int] = []

    def create():
        caller = Caller(app.test_client(), alice.id, alice.token)
        statuses.extend(caller.post("/tasks", {"title": "a"}).status_code for _ in range(5))

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201] * 10 + [422] * 20
    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 10}]


def test_a_refusal_is_not_repeated_once_there_is_room(alice):
    task, _, _ = create_until_full(alice)
    key = {"Idempotency-Key": "k"}
    assert_refused(alice.post("/tasks", {"title": "a"}, headers=key))
    alice.delete(f"/tasks/{task['id']}")
    alice.delete("/trash")

    assert alice.post("/tasks", {"title": "a"}, headers=key).status_code == 201


def test_above_a_lowered_quota_tasks_can_be_changed_and_deleted(narrow_app, alice):
    task, other, _ = create_until_full(alice)
    narrow_app.config["TASK_QUOTA"] = 2
    operations = [
        {"op": "update", "id": task["id"], "data": {"title": "b"}},
        {"op": "delete", "id": other["id"]},
    ]

    answer = alice.post("/tasks/batch", {"operations": operations})

    assert [one["status"] for one in answer.json["results"]] == [200, 204]
