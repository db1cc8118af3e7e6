"""CONTRACT=b and c beside what their documents name: headers, errors, outages."""

import pytest

from taskapi.contracts import b, c
from taskapi.exceptions import DatabaseUnavailable
from tests.support.contracts import application, new_user
from tests.support.people import Caller, assert_refused, json_of

NEW_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
TITLE = {"b": "title", "c": "text"}
COMPLETED = {"b": "is_completed", "c": "completed"}
INVALID = {"b": 400, "c": 422}


@pytest.fixture(scope="module", params=["b", "c"])
def shared_app(shared_app, request):
    """The application of a contract, on the database of all tests."""
    with application(shared_app.config["SQLALCHEMY_DATABASE_URI"], request.param) as app:
        yield app


@pytest.fixture
def contract(app):
    return app.config["CONTRACT"]


@pytest.fixture
def alice(app):
    return new_user(app, "alice")


@pytest.fixture
def bob(app):
    return new_user(app, "bob")


def create(user: Caller, contract: str):
    response = user.post("/tasks", {TITLE[contract]: "Buy milk"})
    assert response.status_code == 201, response.text
    return json_of(response)


def complete(user: Caller, contract: str, task_id: str, **kwargs):
    return user.patch(f"/tasks/{task_id}/complete", {COMPLETED[contract]: True}, **kwargs)


def test_a_replay_is_the_first_answer_again(alice, contract):
    key = {"headers": {"Idempotency-Key": "one"}}
    first = alice.post("/tasks", {TITLE[contract]: "a"}, **key)

    again = alice.post("/tasks", {TITLE[contract]: "a"}, **key)

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.status_code == first.status_code == 201
    assert again.data == first.data
    assert {TITLE[contract], COMPLETED[contract]} < set(again.json)


def test_a_replayed_refusal_is_the_first_refusal_again(alice, contract):
    create(alice, contract)  # Keys are kept with their owner, whom a first task makes.
    key = {"headers": {"Idempotency-Key": "one"}}
    first = complete(alice, contract, NEW_ID, **key)

    again = complete(alice, contract, NEW_ID, **key)

    assert_refused(contract, first, 404, "task_not_found")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json) == (404, first.json)


def test_not_modified_and_no_content_stay_empty(alice, contract):
    path = f"/tasks/{create(alice, contract)['id']}"
    for url in (path, "/tasks", "/tasks?limit=1"):
        etag = alice.get(url).headers["ETag"]
        unchanged = alice.get(url, headers={"If-None-Match": etag})
        assert (unchanged.status_code, unchanged.data) == (304, b"")
    deleted = alice.delete(path)
    assert (deleted.status_code, deleted.data) == (204, b"")


def test_a_new_task_under_an_id_of_the_clients_has_the_contracts_limits(alice, contract):
    body = {TITLE[contract]: "a", COMPLETED[contract]: False}
    body |= {"description": "x" * 10_000} if contract == "b" else {}

    response = alice.put(f"/tasks/{NEW_ID}", body, headers={"If-None-Match": "*"})

    assert response.status_code == 201, response.text
    assert response.json.get("description") == body.get("description")


@pytest.mark.parametrize("shared_app", ["b"], indirect=True)
def test_a_new_task_under_an_id_of_the_clients_needs_a_title(alice):
    response = alice.put(f"/tasks/{NEW_ID}", {"title": None}, headers={"If-None-Match": "*"})

    problem = assert_refused("b", response, 400, "validation_failed")
    assert problem["errors"][0]["pointer"] == "/title"


def test_a_trailing_slash_means_nothing(alice, contract):
    body = {TITLE[contract]: "a", COMPLETED[contract]: True}
    created = alice.post("/tasks/", body)
    path = f"/tasks/{created.json['id']}/"

    assert created.headers["Location"] == path.rstrip("/")
    assert alice.get("/tasks/").json["count"] == 1
    assert alice.get(path).json["id"] == created.json["id"]
    assert alice.put(path, body).status_code == 200
    assert alice.patch(path, body).status_code == 200
    assert alice.get(f"{alice.path}/").json[0]["id"] == created.json["id"]
    assert alice.delete(path).status_code == 204


def test_a_parameter_that_has_a_meaning_is_still_validated(alice, contract):
    response = alice.get("/tasks?limit=0&page=1")

    problem = assert_refused(contract, response, INVALID[contract], "validation_failed")
    assert problem["errors"][0]["pointer"] == "/query/limit"


@pytest.mark.parametrize("shared_app", ["b"], indirect=True)
def test_another_users_task_is_forbidden_with_an_idempotency_key_as_well(alice, bob, contract):
    task = create(alice, contract)
    key = {"headers": {"Idempotency-Key": "one"}}

    for _ in range(2):
        assert_refused("b", complete(bob, contract, task["id"], **key), 403, "task_forbidden")
    assert alice.get(f"/tasks/{task['id']}").json == task


@pytest.mark.parametrize("shared_app", ["b"], indirect=True)
def test_another_users_deleted_task_is_not_there(alice, bob, contract):
    task = create(alice, contract)
    alice.delete(f"/tasks/{task['id']}")

    assert_refused("b", bob.get(f"/tasks/{task['id']}"), 404, "task_not_found")


@pytest.mark.parametrize("shared_app", ["b"], indirect=True)
def test_a_look_up_that_fails_is_an_outage_and_no_fault(alice, monkeypatch):
    def fail(*_args, **_kwargs):
        raise DatabaseUnavailable

    monkeypatch.setattr(b, "execute", fail)

    response = alice.get(f"/tasks/{NEW_ID}")

    assert_refused("b", response, 503, "database_unavailable")
    assert response.headers["Retry-After"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, "UNAUTHORIZED"),
        (404, "NOT_FOUND"),
        (413, "CONTENT_TOO_LARGE"),
        (414, "URI_TOO_LONG"),
        (422, "VALIDATION_ERROR"),
        (429, "RATE_LIMITED"),
        (500, "INTERNAL_ERROR"),
        (503, "SERVICE_UNAVAILABLE"),
    ],
)
def test_an_errors_name_is_the_same_in_every_version_of_python(status, error):
    problem = {"status": status, "detail": "It is so.", "code": "some_code"}

    assert c.rewrite_error(problem)["error"] == error
