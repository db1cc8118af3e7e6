"""Whatever goes wrong is answered in one shape."""

import gzip
import re

import pytest
from flask import abort

from taskapi.auth import service
from taskapi.http.problems import catalogue
from taskapi.http.views import endpoint
from tests.support.people import assert_problem

JSON = "application/json"


def test_an_unknown_url(client):
    assert_problem(client.get("/nowhere"), 404, "route_not_found")
    assert_problem(client.get("/%00%ff"), 404, "route_not_found")


def test_a_method_that_the_url_does_not_take(client):
    response = client.delete("/tasks")

    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"title": "a"} x', b"\xff\xfe", b"\x00"])
def test_a_body_that_is_no_json(alice, body):
    response = alice.post("/tasks", data=body, content_type=JSON)

    assert_problem(response, 400, "malformed_json")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type(alice, content_type):
    response = alice.post("/tasks", data=b'{"title": "a"}', content_type=content_type)

    assert_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity"])
@pytest.mark.parametrize("path", ["/tasks", "/tasks/batch", "/tasks/import", "/auth/login"])
def test_a_body_that_is_compressed_is_not_unpacked(alice, path, encoding):
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 10_000
    response = alice.post(
        path, data=bomb, content_type=JSON, headers={"Content-Encoding": encoding}
    )

    assert_problem(response, 415, "content_encoding_unsupported")
    assert response.headers["Accept-Encoding"] == "identity"


def test_a_body_that_says_that_it_is_not_compressed_is_taken(alice):
    headers = {"Content-Encoding": "Identity"}

    assert alice.post("/tasks", {"title": "Buy milk"}, headers=headers).status_code == 201
    # Where there is no body, there is nothing that could be unpacked.
    task_id = alice.creates()["id"]
    headers = {"Content-Encoding": "gzip"}
    assert alice.patch(f"/tasks/{task_id}/complete", headers=headers).status_code == 200


def test_a_body_that_is_too_long(alice):
    fits = b'{"title": "a"' + b" " * (64 * 1024 - 14) + b"}"
    assert len(fits) == 64 * 1024

    assert alice.post("/tasks", data=fits, content_type=JSON).status_code == 201
    response = alice.post("/tasks", data=fits + b" ", content_type=JSON)
    problem = assert_problem(response, 413, "body_too_large")
    assert "longer than 65536 bytes" in problem["detail"]
    assert_problem(alice.get("/tasks", data=b"x" * 70_000), 413, "body_too_large")


def test_a_body_of_unknown_length(alice):
    response = alice.post(
        "/tasks",
        data=b'{"title": "a"}',
        content_type=JSON,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"CONTENT_LENGTH": ""},
    )

    assert_problem(response, 411, "length_required")


def test_no_token(client):
    response = client.get("/tasks")

    assert_problem(response, 401, "token_missing")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="taskapi"'


def test_a_fault_of_ours_shows_nothing_of_its_inside(alice, monkeypatch):
    def fail(_actor):
        raise RuntimeError("secret words of alice")

    monkeypatch.setattr(service, "get_profile", fail)
    response = alice.get("/auth/me")

    assert_problem(response, 500, "internal_error")
    assert "secret" not in response.text


def test_every_code_has_a_status_and_a_sentence():
    for code, (status, sentence) in catalogue().items():
        assert re.fullmatch(r"[a-z_]+", code)
        assert 400 <= status <= 503
        assert re.fullmatch(r"[A-Z`].+[.`]", sentence), sentence


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (406, "not_acceptable"),
        (416, "range_not_satisfiable"),
        (422, "unprocessable_content"),
        (428, "precondition_required"),
        (502, "bad_gateway"),
    ],
)
def test_a_status_that_nothing_names_is_called_what_it_is(variant, status, code):
    app = variant()
    app.add_url_rule(
        "/refused", view_func=endpoint(access="public", is_documented=False)(lambda: abort(status))
    )

    assert_problem(app.test_client().get("/refused"), status, code)
