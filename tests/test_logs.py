"""What the logs say, and what they never say; read from a running service."""

import json

import pytest
import requests

from tests.service import Caller, running_service

pytestmark = pytest.mark.service

SECRETS = (
    "ada@example.com",
    "correct horse battery",
    "wrong password",
    "Buy milk",
    "Bearer",
    "eyJ",
)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A session in which everything happens once, and its log."""
    directory = tmp_path_factory.mktemp("logs")
    with running_service(directory, LOG_FORMAT="json", WEB_CONCURRENCY="1") as service:
        ada = Caller(service, "ada@example.com")
        login = {"email": "ada@example.com", "password": "wrong password"}
        requests.post(f"{service.url}/auth/login", json=login, timeout=10)
        login["password"] = "correct horse battery"
        tokens = requests.post(f"{service.url}/auth/login", json=login, timeout=10).json()
        refresh = {"Authorization": f"Bearer {tokens['refresh_token']}"}
        for _ in range(2):
            requests.post(f"{service.url}/auth/refresh", headers=refresh, timeout=10)
        task = ada.call("POST", "/tasks", json={"title": "Buy milk"}).json()
        path = f"/tasks/{task['id']}"
        ada.call("PATCH", path, json={"description": "Buy milk"})
        ada.call("PATCH", f"{path}/complete", headers={"X-Request-ID": "my-own.id_1"})
        ada.call("GET", path, headers={"X-Request-ID": "not/allowed"})
        ada.call("DELETE", path)
        ada.call("GET", "/nowhere\nrequest", headers={"X-Request-ID": "x" * 129})
        ada.call("POST", "/auth/logout")
    lines = [line for line in service.log.read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines], service.log.read_text()


def events(story, name):
    return [line for line in story[0] if line["event"] == name]


@pytest.mark.parametrize(
    "name",
    [
        *("user_registered", "logged_in", "login_failed", "refresh_token_reused", "logged_out"),
        *("task_created", "task_updated", "task_completed", "task_deleted"),
    ],
)
def test_every_event_has_its_line(story, name):
    [line] = events(story, name)

    assert line["user_id"]
    assert line["time"].endswith("Z")
    assert line["level"] in {"info", "warning"}
    [request] = [r for r in events(story, "request") if r["request_id"] == line["request_id"]]
    assert request["client"] == "127.0.0.1"


def test_every_request_has_a_line_with_its_route_and_duration(story):
    line = events(story, "request")[-2]

    assert (line["method"], line["route"], line["status"]) == ("GET", None, 404)
    [line] = [r for r in events(story, "request") if r["request_id"] == "my-own.id_1"]
    assert line["route"] == "/tasks/{task_id}/complete"
    assert line["status"] == 200
    assert 0 < line["duration_ms"] < 60_000


def test_only_a_harmless_id_of_the_caller_is_taken(story):
    ids = {line["request_id"] for line in events(story, "request")}

    assert "not/allowed" not in ids
    assert not any(len(request_id) > 128 for request_id in ids)


def test_no_line_holds_a_secret_or_what_somebody_wrote(story):
    for secret in SECRETS:
        assert secret not in story[1]


def test_a_fault_is_logged_by_its_place_and_says_nothing_of_the_data(new_database, tmp_path):
    import psycopg2
    from sqlalchemy import make_url

    url = new_database("fault")
    with running_service(tmp_path, DATABASE_URL=url, JWT_SECRET_KEY="k" * 32) as service:
        ada = Caller(service, "ada@example.com")
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE tasks ADD CONSTRAINT no_milk CHECK (title NOT LIKE '%milk%')"
            )
        connection.close()
        answer = ada.call("POST", "/tasks", json={"title": "Buy milk"})

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    log = service.log.read_text()
    [line] = [json.loads(line) for line in log.splitlines() if '"internal_error"' in line]
    assert line["sqlstate"] == "23514"
    assert line["request_id"] == answer.json()["request_id"]
    assert "tasks/service.py" in line["trace"]
    for text in ("milk%", *SECRETS):
        assert text not in answer.text + log


def test_for_people_the_lines_are_not_json(tmp_path):
    with running_service(tmp_path, LOG_FORMAT="console", WEB_CONCURRENCY="1") as service:
        requests.get(f"{service.url}/health", timeout=10)

    log = service.log.read_text()
    assert "route=/health" in log
    assert not any(line.startswith("{") for line in log.splitlines())
