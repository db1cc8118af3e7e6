"""Contract C: accounts at Better Auth, tasks here, from the first token to the last."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.better_auth import BetterAuth, Browser, running_better_auth
from tests.support.contracts import Server
from tests.support.npm import needs_node
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.service, needs_node]

TASK_FIELDS = {
    *("id", "user_id", "title", "description", "completed", "completed_at"),
    *("order", "created_at", "updated_at", "version"),
}


@pytest.fixture
def issuer() -> Iterator[BetterAuth]:
    with running_better_auth() as issuer:
        yield issuer


@pytest.fixture
def service(tmp_path, issuer: BetterAuth) -> Iterator[Service]:
    with trusting_service(tmp_path, issuer) as service:
        yield service


def trusting_service(
    directory: Path, issuer: BetterAuth, **settings: Any
) -> AbstractContextManager[Service]:
    return running_service(
        directory,
        AUTH_MODE="external",
        EXTERNAL_JWKS_URL=f"{issuer.url}/api/auth/jwks",
        EXTERNAL_JWT_ISSUER=issuer.url,
        EXTERNAL_JWT_AUDIENCE=issuer.url,
        **settings,
    )


def call(service: Service, token: str, method: str, path: str, **kwargs) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, service.url + path, headers=headers, timeout=10, **kwargs)


def test_its_client_works_unmodified_with_tokens_of_better_auth(issuer, tmp_path):
    ada, grace = Browser(issuer, "ada"), Browser(issuer, "grace")
    with trusting_service(tmp_path, issuer, CONTRACT="c") as service:
        server = Server("c", service, tmp_path)
        held = server.run_client("c", TOKEN=ada.take_token(), OTHER_TOKEN=grace.take_token())

    assert held == "contract C holds"


def test_who_signs_up_there_keeps_tasks_here(issuer, service):
    ada, grace = Browser(issuer, "ada"), Browser(issuer, "grace")
    token = ada.take_token()

    me = call(service, token, "GET", "/auth/me").json()
    assert me == {"id": ada.id, "email": "ada@example.com", "name": "ada", "created_at": None}
    assert call(service, token, "GET", "/tasks").json()["tasks"] == []

    created = call(service, token, "POST", "/tasks", json={"title": "Buy milk", "order": 2})
    assert created.status_code == 201
    task = created.json()
    assert set(task) == TASK_FIELDS
    assert task["user_id"] == ada.id
    assert task["id"][14] == "7"  # A UUID of version 7.
    url = f"/tasks/{task['id']}"

    completed = call(service, token, "PATCH", url, json={"completed": True}).json()
    assert completed["completed_at"] is not None
    again = call(service, token, "PUT", url, json={"title": "Milk", "completed": True}).json()
    assert again["completed_at"] == completed["completed_at"]
    reopened = call(service, token, "PATCH", url, json={"completed": False}).json()
    assert reopened["completed_at"] is None

    # Somebody else's task looks like one that is missing.
    other = grace.take_token()
    for method, body in (("GET", None), ("PUT", {"title": "a"}), ("DELETE", None)):
        assert call(service, other, method, url, json=body).status_code == 404
    assert call(service, other, "GET", f"/api/{ada.id}/tasks").status_code == 403
    assert call(service, other, "GET", f"/api/{grace.id}/tasks").json() == []

    assert call(service, token, "DELETE", url).status_code == 204
    assert call(service, token, "GET", url).status_code == 404
    refused = requests.get(f"{service.url}/tasks", timeout=10)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.headers["X-Request-ID"] == refused.json()["request_id"]


def test_a_rotated_key_is_followed_and_a_withdrawn_one_dropped(issuer, service):
    ada = Browser(issuer, "ada")
    old = ada.take_token()
    assert call(service, old, "GET", "/tasks").status_code == 200

    issuer.tell(signal.SIGUSR2, "rotated")
    new = ada.take_token()

    assert call(service, new, "GET", "/tasks").status_code == 200
    assert call(service, old, "GET", "/tasks").status_code == 200

    issuer.tell(signal.SIGHUP, "withdrawn")
    service.stop()
    # A process that never knew the old key does not come to know it.
    with trusting_service(service.log.parent, issuer) as later:
        assert call(later, new, "GET", "/tasks").status_code == 200
        refused = call(later, old, "GET", "/tasks")
        assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")


def test_the_service_goes_on_when_the_issuer_hangs_or_is_gone(issuer, service):
    tokens = [Browser(issuer, f"user{number}").take_token() for number in range(6)]
    assert call(service, tokens[0], "GET", "/tasks").status_code == 200

    issuer.process.send_signal(signal.SIGSTOP)
    for token in tokens[1:3]:
        assert call(service, token, "POST", "/tasks", json={"title": "a"}).status_code == 201
    issuer.process.send_signal(signal.SIGCONT)

    issuer.process.terminate()
    issuer.process.wait(timeout=20)
    for token in tokens:
        assert call(service, token, "GET", "/tasks").status_code == 200


def test_an_issuer_that_is_not_there_yet_is_waited_for(tmp_path, issuer):
    token = Browser(issuer, "ada").take_token()
    issuer.process.send_signal(signal.SIGSTOP)
    with trusting_service(tmp_path, issuer) as service:
        early = call(service, token, "GET", "/tasks")
        assert (early.status_code, early.json()["code"]) == (503, "issuer_unavailable")
        assert early.headers["Retry-After"] == "5"

        issuer.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 20
        while (late := call(service, token, "GET", "/tasks")).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert late.status_code == 200
