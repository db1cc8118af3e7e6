"""Contract B's promises that one client cannot see: many users at a time, and the log."""

import json
import threading
import time

import pytest
import requests

from tests.support.contracts import running
from tests.support.service import Service

pytestmark = pytest.mark.service

ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}


@pytest.fixture(scope="module", params=["native", "b"])
def service(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    with running(request.param, directory, WEB_CONCURRENCY="2") as server:
        yield server.service


class Frontend:
    """A client that keeps its tokens."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tokens: dict[str, str] = {}

    def call(self, method: str, path: str, body=None, token=None) -> requests.Response:
        token = token or self.tokens.get("access_token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.service.url + path
        return requests.request(method, url, json=body, headers=headers, timeout=90)

    def enter(self, path: str, account: dict[str, str]) -> requests.Response:
        answer = self.call("POST", path, account)
        self.tokens = answer.json()
        return answer


def test_a_hundred_users_at_the_same_time_are_answered(service):
    outcomes = []

    def live(number: int) -> None:
        user = Frontend(service)
        account = {**ACCOUNT, "email": f"user{number}@example.com"}
        for _ in range(100):
            answer = user.enter("/auth/register", account)
            if answer.status_code != 503:  # Hashing is bounded, and says when to come again.
                break
            time.sleep(int(answer.headers["Retry-After"]))
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
