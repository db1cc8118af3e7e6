"""Every example of docs/openapi.json, sent to the running service and compared with the answer."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from uuid import uuid4

import pytest
import requests
from sqlalchemy import make_url

from taskapi.tasks.schemas import EXAMPLE_CURSOR
from tests.http.test_unreadable_requests import send
from tests.support.provocations import HARMLESS, NOT_FROM_OUTSIDE, provoke
from tests.support.replay import (
    Operation,
    assert_as_documented,
    assert_headers,
    operations,
    without_generated,
)
from tests.support.service import Service, running_service
from tests.support.world import DOCUMENT, SECRET, World

pytestmark = pytest.mark.service

KINDS_OF_LIMITS = ("READS", "WRITES", "LOGINS", "REFRESHES")
OPERATIONS = operations(DOCUMENT)


@pytest.fixture(scope="module")
def world(tmp_path_factory, new_database):
    """Three services: the usual one, one that allows next to nothing, one without a database."""
    database = new_database("examples")

    def service(name: str, rate: str, url: str = database) -> AbstractContextManager[Service]:
        limits = {f"RATE_LIMIT_{kind}": rate for kind in KINDS_OF_LIMITS}
        settings = {"JWT_SECRET_KEY": SECRET, "COOKIE_SECURE": "no", "RATE_LIMIT_ENABLED": "yes"}
        settings["TASK_QUOTA"] = "1000"
        directory = tmp_path_factory.mktemp(name)
        return running_service(directory, "/health/live", DATABASE_URL=url, **settings, **limits)  # type: ignore[arg-type]

    with (
        service("usual", "100000/minute") as usual,
        service("narrow", "1/hour") as narrow,
        service("alone", "100000/minute", "postgresql://127.0.0.1:9/none") as alone,
    ):
        usual.wait_until("/health", 200)
        narrow.wait_until("/health", 200)
        urls = {"usual": usual.url, "narrow": narrow.url, "alone": alone.url}
        dsn = make_url(database).set(drivername="postgresql")
        yield World(urls, dsn.render_as_string(hide_password=False))


@pytest.fixture(params=OPERATIONS, ids=str)
def operation(request) -> Operation:
    return request.param


def test_the_documented_request_is_answered_as_documented(world, operation):
    for status, _, response, media, example in operation.examples():
        if not status.startswith("2") or (status == "201" and operation.method == "PUT"):
            continue
        for sent in operation.described.get("requestBody", {}).get("content", {None: {}}):
            world.begin(operation)
            request = world.request(sent)
            if media == "text/csv":
                request.query["format"] = "csv"
            answer = request.send(world.url)
            assert_as_documented(answer, status, response, media, example)


def test_each_parameter_is_taken_as_documented(world, operation):
    responses = operation.described["responses"]
    for parameter in operation.described["parameters"]:
        name, where = parameter["name"], parameter["in"]
        if where == "path":
            continue  # Every request of these tests has one.
        world.begin(operation)
        request = world.request()
        value = parameter["schema"]["examples"][0]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text == EXAMPLE_CURSOR:
            text = real_cursor(world, operation)
        if name == "If-Match":
            text = requests.get(
                f"{world.url}/tasks/{world.task_id}", headers=world.bearer(), timeout=20
            ).headers["ETag"]
        if text == "*":
            request.ids["task_id"] = str(uuid4())
        (request.query if where == "query" else request.headers)[name] = text

        answer = request.send(world.url)

        assert answer.status_code < 300, (name, answer.text)
        assert_headers(answer, responses[str(answer.status_code)])
        if name == "X-Request-ID":
            assert answer.headers["X-Request-ID"] == text
        if name == "Idempotency-Key":
            again = request.send(world.url)
            assert again.headers["Idempotent-Replayed"] == "true"
            assert again.content == answer.content
            assert_headers(again, responses[str(answer.status_code)])
        if text == "*":
            assert (answer.status_code, answer.headers["ETag"]) == (201, etag_of(answer))
            example = responses["201"]["content"]["application/json"]["example"]
            assert without_generated(answer.json()) == without_generated(example)


def real_cursor(world: World, operation: Operation) -> str:
    if operation.id == "changes_get_changes":
        return str(world.request().send(world.url).json()["next"])
    world.create_task()
    if operation.id == "trash_list_trash":
        world.task_id = world.create_task()
        world.throw_away()
    request = world.request()
    request.query["limit"] = "1"
    cursor = request.send(world.url).json()["next_cursor"]
    assert cursor
    return str(cursor)


def etag_of(answer: requests.Response) -> str:
    return f'"{answer.json()["version"]}"'


def test_what_has_been_read_already_is_a_304(world, operation):
    if "304" not in operation.described["responses"]:
        return
    world.begin(operation)
    request = world.request()
    first = request.send(world.url)
    request.headers["If-None-Match"] = first.headers["ETag"]

    answer = request.send(world.url)

    assert (answer.status_code, answer.content) == (304, b"")
    assert_headers(answer, operation.described["responses"]["304"])


def test_every_documented_problem_can_be_had_as_documented(world, operation):
    is_as_it_was = False
    for status, code, response, media, example in operation.examples():
        if int(status) < 400 or code in NOT_FROM_OUTSIDE:
            continue
        if not is_as_it_was:
            world.begin(operation)
        is_as_it_was = code in HARMLESS
        answer = provoke(world, code, example)
        try:
            assert_as_documented(answer, status, response, media, example)
        except AssertionError as error:
            raise AssertionError(f"{operation}: {code}: {error}") from error


@pytest.mark.parametrize(
    ("code", "line", "header"),
    [
        ("malformed_request", "nonsense", "Host: x"),
        ("route_not_found", "GET /nowhere HTTP/1.1", "Host: x"),
        ("method_not_allowed", "DELETE /health HTTP/1.1", "Host: x"),
        ("uri_too_long", f"GET /{'x' * 9000} HTTP/1.1", "Host: x"),
        ("expectation_failed", "GET / HTTP/1.1", "Expect: a-miracle"),
        ("headers_too_large", "GET / HTTP/1.1", f"X: {'x' * 40000}"),
        ("transfer_coding_unsupported", "POST /tasks HTTP/1.1", "Transfer-Encoding: magic"),
    ],
)
def test_what_leads_to_no_operation_is_answered_as_documented(world, code, line, header):
    unreadable = DOCUMENT["components"]["responses"]["Unreadable"]
    [media] = unreadable["content"].values()
    assert code in media["examples"]

    status, headers, body = send(world, f"{line}\r\n{header}\r\n\r\n".encode())

    example = DOCUMENT["components"]["examples"][code]["value"]
    assert status == example["status"]
    assert headers["Content-Type"] == "application/problem+json"
    assert without_generated(json.loads(body)) == without_generated(example)
    assert ("Allow" in headers) == (code == "method_not_allowed")
