"""Contract B, by a client that opens accounts here: its eight endpoints over HTTP."""

import json
import threading

import pytest
import requests

from tests.service import Service, running_service

pytestmark = pytest.mark.service

ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("contract-b"), WEB_CONCURRENCY="2") as service:
        yield service


class Frontend:
    """A client that keeps its tokens, and refreshes them when it is told to log in."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tokens: dict[str, str] = {}

    def call(self, method: str, path: str, body=None, token=None) -> requests.Response:
        token = token or self.tokens.get("access_token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.service.url + path
        return requests.request(method, url, json=body, headers=headers, timeout=10)

    def enter(self, path: str, account: dict[str, str]) -> requests.Response:
        answer = self.call("POST", path, account)
        self.tokens = answer.json()
        return answer


def test_the_eight_endpoints(service):
    ada = Frontend(service)
    registered = ada.enter("/auth/register", ACCOUNT)
    assert registered.status_code == 201
    assert registered.json()["token_type"] == "Bearer"
    assert "password" not in registered.text
    assert Frontend(service).enter("/auth/register", ACCOUNT).status_code == 409

    login = ada.enter("/auth/login", {name: ACCOUNT[name] for name in ("email", "password")})
    assert login.status_code == 200
    assert login.json()["user"] == registered.json()["user"]

    created = ada.call("POST", "/tasks", {"title": "Buy milk", "description": "Oat"})
    assert created.status_code == 201
    task = created.json()
    path = created.headers["Location"]
    assert ada.call("GET", "/tasks").json() == {
        "tasks": [task],
        "next_cursor": None,
        "count": 1,
        "total": 1,
    }
    assert ada.call("GET", path).json() == task
    changed = ada.call("PUT", path, {"title": "Buy milk", "completed": True})
    assert changed.json()["completed"] is True
    assert ada.call("DELETE", path).status_code == 204
    assert ada.call("GET", path).status_code == 404

    assert ada.call("POST", "/auth/logout").status_code == 204
    refused = ada.call("GET", "/tasks")
    assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")


def test_another_users_namespace_is_forbidden_and_another_users_task_is_not_there(service):
    ada, bob = Frontend(service), Frontend(service)
    ada.enter("/auth/register", {**ACCOUNT, "email": "ada2@example.com"})
    bob.enter("/auth/register", {**ACCOUNT, "email": "bob2@example.com"})
    task = ada.call("POST", "/tasks", {"title": "Secret"}).json()

    assert bob.call("GET", f"/tasks/{task['id']}").status_code == 404
    assert bob.call("GET", f"/api/{task['user_id']}/tasks").status_code == 403
    assert ada.call("GET", f"/api/{task['user_id']}/tasks").json() == [task]


def test_a_hundred_users_at_the_same_time_are_answered(service):
    outcomes = []

    def live(number: int) -> None:
        user = Frontend(service)
        account = {**ACCOUNT, "email": f"user{number}@example.com"}
        for _ in range(20):
            answer = user.enter("/auth/register", account)
            if answer.status_code != 503:  # Hashing is bounded, and says when to come again.
                break
        task = user.call("POST", "/tasks", {"title": f"of {number}"}).json()
        outcomes.append(user.call("GET", "/tasks").json()["tasks"] == [task])

    threads = [threading.Thread(target=live, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [True] * 100


def test_what_happens_is_in_the_log_and_what_is_secret_is_not(service):
    user = Frontend(service)
    user.enter("/auth/register", {**ACCOUNT, "email": "logged@example.com"})
    task = user.call("POST", "/tasks", {"title": "A title of mine"}).json()
    user.call("PATCH", f"/tasks/{task['id']}/complete")
    user.call("PATCH", f"/tasks/{task['id']}", {"title": "Another title"})
    user.call("DELETE", f"/tasks/{task['id']}")
    user.call("POST", "/auth/login", {"email": "logged@example.com", "password": "wrong words"})
    user.call("POST", "/auth/logout")

    log = service.log.read_text()
    events = {json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")}
    assert events >= {
        *("user_registered", "login_failed", "logged_out", "request"),
        *("task_created", "task_completed", "task_updated", "task_deleted"),
    }
    for secret in (
        *(ACCOUNT["password"], "wrong words", "logged@example.com"),
        *("A title of mine", user.tokens["access_token"], user.tokens["refresh_token"]),
    ):
        assert secret not in log
