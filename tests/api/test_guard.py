"""No route answers without a token unless it is listed here."""

import pytest

from tests.support.people import assert_problem

PUBLIC = {
    "GET /",
    "GET /app",
    "GET /app/",
    "GET /app/<path:filename>",
    "GET /docs",
    "GET /docs/<filename>",
    "GET /health",
    "GET /health/live",
    "GET /js/<path:filename>",
    "GET /metrics",
    "GET /openapi.json",
    "POST /auth/login",
    "POST /auth/register",
}


def routes(app):
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
            yield method, rule


def test_every_route_asks_for_a_token_unless_it_is_listed_as_public(app, client):
    answered = set()
    for method, rule in routes(app):
        path = rule.rule.replace("<", "").replace(">", "")
        response = client.open(path, method=method, buffered=True)
        if response.status_code != 401:
            answered.add(f"{method} {rule.rule}")
        else:
            assert_problem(response, 401, "token_missing")

    assert answered == PUBLIC


def test_a_head_request_asks_like_a_get_request(client, alice):
    assert client.head("/tasks").status_code == 401
    assert alice.call("HEAD", "/tasks").status_code == 200


def test_the_scheme_may_be_written_in_any_case(client, alice):
    token = alice.tokens["access_token"]
    for header in (f"bearer {token}", f"BEARER  {token} "):
        assert client.get("/tasks", headers={"Authorization": header}).status_code == 200


def test_another_scheme_is_no_token(client, alice):
    token = alice.tokens["access_token"]
    for header in ("", "Bearer", "Bearer ", f"Basic {token}", token):
        response = client.get("/tasks", headers={"Authorization": header})
        assert_problem(response, 401, "token_missing")


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("POST", "/tasks", {"json": {}}),
        ("POST", "/tasks", {"data": "{", "content_type": "application/json"}),
        ("POST", "/tasks", {"data": "a", "content_type": "text/plain"}),
        ("POST", "/tasks", {"json": {"title": "a"}, "headers": {"Idempotency-Key": "é"}}),
        ("GET", "/tasks?limit=0", {}),
        ("PATCH", "/auth/me", {"json": {"age": 7}}),
        ("POST", "/tasks/batch", {"json": {"operations": []}}),
        ("GET", "/tasks/not-an-id", {}),
        ("GET", "/api/another/tasks", {}),
    ],
)
def test_an_ended_session_is_told_before_all_else(alice, method, path, request_):
    refused = alice.call(method, path, **request_)
    assert alice.post("/auth/logout").status_code == 204

    response = alice.call(method, path, **request_)

    assert refused.status_code in (400, 403, 404, 415, 422)
    assert_problem(response, 401, "session_ended")
