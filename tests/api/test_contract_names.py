"""CONTRACT=b and c: wherever a task is answered it has the contract's names, but in files."""

import pytest

from tests.support.contracts import application, new_user
from tests.support.people import Caller, json_of

NEW_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
TITLE = {"b": "title", "c": "text"}
COMPLETED = {"b": "is_completed", "c": "completed"}
NATIVE = {
    *("id", "user_id", "title", "description", "completed", "completed_at"),
    *("order", "created_at", "updated_at", "version"),
}


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


def names_of(contract: str) -> set[str]:
    return NATIVE - {"title", "completed"} | {TITLE[contract], COMPLETED[contract]}


def create(user: Caller, contract: str):
    response = user.post("/tasks", {TITLE[contract]: "Buy milk"})
    assert response.status_code == 201, response.text
    return json_of(response)


def complete(user: Caller, contract: str, task_id: str, **kwargs):
    return user.patch(f"/tasks/{task_id}/complete", {COMPLETED[contract]: True}, **kwargs)


def test_every_answer_about_tasks_has_the_contracts_names(alice, contract):
    created = create(alice, contract)
    other = create(alice, contract)
    path = f"/tasks/{created['id']}"
    title = {TITLE[contract]: "Oat"}
    operation = {"op": "create", "data": title}
    stale = {"headers": {"If-Match": '"1"'}}
    trashed = create(alice, contract)["id"]
    assert alice.delete(f"/tasks/{trashed}").status_code == 204
    answers = [
        created,
        alice.get("/tasks").json["tasks"][0],
        alice.get("/tasks?limit=1").json["tasks"][0],
        alice.get(path).json,
        alice.put(path, {**title, COMPLETED[contract]: True}).json,
        alice.patch(path, title).json,
        alice.patch(path, title, **stale).json["current"],
        complete(alice, contract, created["id"]).json,
        alice.post(f"{path}/move", {"after": other["id"]}).json["task"],
        alice.post("/tasks/batch", {"operations": [operation]}).json["results"][0]["task"],
        alice.get("/tasks/changes").json["changes"][0]["task"],
        alice.post(f"/trash/{trashed}/restore").json,
    ]

    for task in answers:
        assert set(task) == names_of(contract)


def test_what_was_read_may_be_sent_back(alice, contract):
    task = create(alice, contract)

    written = alice.put(f"/tasks/{task['id']}", task)
    patched = alice.patch(f"/tasks/{task['id']}", task)
    copied = alice.post("/tasks", task)

    assert (written.status_code, patched.status_code, copied.status_code) == (200, 200, 201)
    for answer in (written, patched, copied):
        assert answer.json[TITLE[contract]] == task[TITLE[contract]]
        assert answer.json[COMPLETED[contract]] is False


def test_deleted_tasks_have_the_contracts_names(alice, contract):
    alice.delete(f"/tasks/{create(alice, contract)['id']}")

    [task] = alice.get("/trash").json["tasks"]

    assert set(task) == names_of(contract) | {"deleted_at"}


def test_the_path_of_contract_a_has_its_own_names(alice):
    task = alice.creates_by_path()
    stale = alice.put(f"{alice.path}/{task['id']}", {"title": "a"}, headers={"If-Match": '"99"'})

    assert set(task) == NATIVE
    assert alice.get(alice.path).json == [task]
    assert stale.json["current"] == task


def test_an_exported_file_has_the_services_own_names(alice, contract):
    create(alice, contract)

    [task] = alice.get("/tasks/export").json
    header = alice.get("/tasks/export?format=csv").text.splitlines()[0]

    assert set(task) == NATIVE
    assert set(header.split(",")) == NATIVE - {"user_id"}


def test_a_file_is_imported_with_the_services_own_names(alice, contract):
    row = {"id": NEW_ID, "title": "Buy milk", "completed": True}

    assert alice.post("/tasks/import", [row]).json["created"] == 1

    task = alice.get(f"/tasks/{NEW_ID}").json
    assert (task[TITLE[contract]], task[COMPLETED[contract]]) == ("Buy milk", True)


def test_a_row_that_is_refused_is_reported_with_the_services_own_names(alice):
    [row] = alice.post("/tasks/import", [{"title": ""}]).json["rows"]

    assert row["errors"][0]["pointer"] == "/title"


@pytest.mark.parametrize("shared_app", ["b"], indirect=True)
def test_a_long_description_survives_export_and_import(alice, bob):
    long = "x" * 10_000
    alice.post("/tasks", {"title": "a", "description": long})
    [task] = alice.get("/tasks/export").json

    assert bob.post("/tasks/import", [task]).json["created"] == 1

    assert bob.get("/tasks").json["tasks"][0]["description"] == long
