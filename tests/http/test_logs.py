"""What the logs say, and what they never say; read from a running service."""

import json
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.support.service import Caller, running_service

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


FORGED = '\x1b[2J\x9b2J"}\n{"event":"logged_in","user_id":"ada"}\n2026-01-01 [info] logged_in'


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_is_sent_makes_no_line_and_no_command_for_a_terminal(tmp_path, log_format):
    # With other control characters a header is refused; this one is CSI in eight bits.
    said = b'\x9b2J","event":"logged_in","user_id":"ada"}'
    everywhere = dict.fromkeys(
        ["X-Request-ID", "X-Forwarded-For", "User-Agent", "Referer", "Origin"], said
    )
    trusting: dict[str, Any] = {
        "AUTH_MODE": "path",
        "TRUST_PATH_USER_ID": "yes",
        "TRUSTED_PROXIES": "1",
    }
    with running_service(tmp_path, LOG_FORMAT=log_format, **trusting) as service:
        before = len(service.log.read_bytes())
        for user_id in (FORGED, "a\x1b[2Jb\x85c"):
            url = f"{service.url}/api/{quote(user_id, safe='')}/tasks"
            for method in ("GET", "POST"):
                requests.request(method, url, json={"title": "a"}, headers=everywhere, timeout=10)
        requests.get(f"{service.url}/{quote(FORGED)}?q={quote(FORGED)}", timeout=10)

    lines = service.log.read_bytes()[before:].decode().split("\n")
    # Whether it has started is asked from outside and by the one who starts it.
    requested = [line for line in lines if "duration_ms" in line and "/health" not in line]
    assert len(requested) == 5, lines
    for line in lines:
        assert line.isprintable() or (log_format == "json" and min(line) >= " "), line
        assert not line.startswith(("2026-01-01", '{"event":"logged_in"'))
    if log_format == "json":
        assert {json.loads(line)["event"] for line in requested} == {"request"}


def test_for_people_the_lines_are_not_json(tmp_path):
    with running_service(tmp_path, LOG_FORMAT="console", WEB_CONCURRENCY="1") as service:
        requests.get(f"{service.url}/health", timeout=10)

    log = service.log.read_text()
    assert "route=/health" in log
    assert not any(line.startswith("{") for line in log.splitlines())
