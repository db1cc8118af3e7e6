"""No cache between the service and a client keeps what is for one, or is led to keep a forgery."""

import pytest

from tests.api.test_guard import routes
from tests.support.people import bearer, json_of

PUBLIC_FILES = {
    "/app/": "/app/",
    "/app/<path:filename>": "/app/app.js",
    "/docs": "/docs",
    "/docs/<filename>": "/docs/docs.css",
    "/js/<path:filename>": "/js/taskapi.js",
}
"""What is the same for everybody, whoever asks, and may be kept; and an example of each."""

FORGED = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Scheme": "evil",
    "X-Host": "evil.example",
    "X-Original-Host": "evil.example",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
    "Script-Name": "/evil",
    "Forwarded": "host=evil.example;proto=evil",
}


@pytest.mark.parametrize("origin", [None, "http://localhost:5173", "https://evil.example"])
def test_no_answer_of_any_route_may_be_kept_but_those_that_are_for_everybody(
    app, alice, client, origin
):
    from_where = {"Origin": origin} if origin else {}
    kept = set()
    for method, rule in routes(app):
        path = PUBLIC_FILES.get(rule.rule) or rule.rule.replace("<", "").replace(">", "")
        for headers in ({}, bearer(alice.token), bearer("nonsense")):
            answer = client.open(
                path, method=method, headers={**headers, **from_where}, buffered=True
            )
            # Whether a page may read it depends on the page's origin, so a copy does as well.
            assert "Origin" in answer.headers["Vary"], (method, path)
            if answer.headers["Cache-Control"] != "no-store":
                kept.add(rule.rule)
                assert answer.status_code == 200
                assert "Set-Cookie" not in answer.headers

    assert kept == set(PUBLIC_FILES)


def test_also_what_went_well_or_was_refused_is_not_kept(alice, client):
    task = alice.creates()
    path = f"/tasks/{task['id']}"
    answers = [
        alice.get(path),
        alice.get(path, headers={"If-None-Match": f'"{task["version"]}"'}),
        alice.get("/tasks"),
        alice.get("/tasks/export"),
        alice.get("/auth/sessions"),
        alice.patch(path, {"title": ""}),
        alice.patch(path, {"title": "a"}, headers={"If-Match": '"0"'}),
        alice.post("/tasks", {"title": "a"}),
        alice.get("/nowhere"),
        alice.delete(path),
        client.get("/tasks"),
        client.post("/auth/login?cookie=true", json={"email": "a@example.com", "password": "x"}),
        client.options("/tasks", headers={"Origin": "http://localhost:5173"}),
    ]

    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 201, 204, 304, 401, 404, 412, 422}
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize("trusted_proxies", [0, 1])
def test_what_a_client_says_of_host_path_and_method_changes_nothing(
    variant, alice, trusted_proxies
):
    for _ in range(2):
        alice.creates()
    client = variant(trusted_proxies=trusted_proxies).test_client()
    forgery = dict(FORGED)
    if trusted_proxies:
        del forgery["X-Forwarded-Prefix"]  # The proxy sets it or clears it.
    for method, path in [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/app"),
        ("GET", "/openapi.json"),
        ("GET", "/tasks?limit=1"),
        ("GET", f"{alice.path}"),
        ("GET", "/nowhere"),
        ("GET", "/tasks/"),
        ("GET", "/docs/"),
        ("DELETE", "/tasks"),
    ]:
        who = bearer(alice.token)
        plain = client.open(path, method=method, headers=who, buffered=True)
        forged = client.open(path, method=method, headers={**who, **forgery}, buffered=True)

        assert shown(forged) == shown(plain), path
        assert "evil" not in str(forged.headers)


def test_no_cache_keeps_what_a_prefix_is_in(variant, alice):
    alice.creates()
    alice.creates()
    client = variant(trusted_proxies=1).test_client()
    headers = {**bearer(alice.token), "X-Forwarded-Prefix": "/evil"}

    for path in ("/", "/docs", "/docs/docs.js", "/app", "/app/", "/openapi.json", "/tasks?limit=1"):
        answer = client.get(path, headers=headers, buffered=True)
        has_prefix = "/evil" in answer.text + str(answer.headers)
        assert not has_prefix or answer.headers["Cache-Control"] == "no-store", path


def shown(answer):
    """All of an answer but what is another in each."""
    own = {"X-Request-ID", "Date", "Expires"}
    headers = [(name, value) for name, value in answer.headers if name not in own]
    request_id = answer.headers["X-Request-ID"]
    return answer.status_code, headers, answer.text.replace(request_id, "")


def test_where_a_new_task_is_does_not_depend_on_where_the_client_says_the_service_is(alice):
    made = alice.post("/tasks", {"title": "Buy milk"}, headers=FORGED)

    assert made.status_code == 201
    assert made.headers["Location"] == f"/tasks/{json_of(made)['id']}"
