"""AUTH_MODE=path: the path is believed, and there is nothing else."""

import pytest

from taskapi.settings import VERSION
from tests.support.people import Caller, assert_problem
from tests.support.service import free_port, run_cli, running_service


@pytest.fixture
def trusting(variant):
    return variant(auth_mode="path")


@pytest.fixture
def ada(trusting):
    return Caller(trusting.test_client(), "ada@example.com", None)


@pytest.fixture
def grace(trusting):
    return Caller(trusting.test_client(), "grace|1906", None)


def test_no_token_is_asked(ada, sql):
    task = ada.creates_by_path("Buy milk")

    assert task["user_id"] == "ada@example.com"
    assert ada.get(ada.path).json == [task]
    assert sql("SELECT id, email, change_seq FROM users") == [
        {"id": "ada@example.com", "email": None, "change_seq": 1}
    ]


def test_a_token_that_is_sent_nevertheless_says_nothing(ada, grace):
    task = ada.creates_by_path()

    for token in ("nonsense", "Bearer", "Basic YTpi"):
        response = ada.get(ada.path, headers={"Authorization": token})
        assert response.json == [task]
    assert grace.get(grace.path).json == []


def test_another_users_task_is_not_there(ada, grace):
    task = ada.creates_by_path()

    assert_problem(grace.get(f"{grace.path}/{task['id']}"), 404, "task_not_found")
    assert_problem(grace.delete(f"{grace.path}/{task['id']}"), 404, "task_not_found")
    assert ada.get(ada.path).json == [task]


def test_reading_and_failing_to_write_makes_no_owner(grace, sql):
    assert grace.get(grace.path).json == []
    missing = f"{grace.path}/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
    assert grace.put(missing, {"title": "a"}).status_code == 404
    assert grace.delete(missing).status_code == 404
    assert grace.post(grace.path, {"title": ""}).status_code == 422

    assert sql("SELECT id FROM users") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks"),
        ("POST", "/tasks"),
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("GET", "/auth/me"),
    ],
)
def test_accounts_and_plain_tasks_do_not_exist(trusting, method, path):
    response = trusting.test_client().open(path, method=method, json={})

    assert_problem(response, 404, "route_not_found")


def test_the_index_and_the_document_say_so(trusting):
    client = trusting.test_client()

    links = client.get("/").json["links"]
    assert links["tasks"] == "/api/{user_id}/tasks"
    assert "login" not in links
    document = client.get("/openapi.json").json
    assert "No token is asked" in document["info"]["description"]
    assert all(
        operation["security"] == []
        for item in document["paths"].values()
        for operation in item.values()
    )
    assert document["info"]["version"] == VERSION


@pytest.mark.service
def test_the_start_warns_so_that_nobody_can_miss_it(tmp_path):
    with running_service(tmp_path, AUTH_MODE="path") as service:
        log = service.log.read_text()

    assert log.count("AUTH_MODE=path: NOBODY IS ASKED WHO THEY ARE.") == 1


@pytest.mark.service
def test_it_does_not_face_a_network_unless_that_is_meant(tmp_path):
    settings = {
        "AUTH_MODE": "path",
        "HOST": "0.0.0.0",
        "PORT": str(free_port()),
        "EMBEDDED_POSTGRES_DIR": str(tmp_path / "postgres"),
    }

    run = run_cli(**settings)

    assert run.returncode == 2
    line = run.stderr.splitlines()[-1]
    assert line.startswith("TRUST_PATH_USER_ID: must be yes for AUTH_MODE=path")
    assert run_cli("--migrate-only", TRUST_PATH_USER_ID="yes", **settings).returncode == 0
