"""Bodies that cost more than they look: refused early, charged first, one at a time."""

import gc
import threading
from typing import Any

import orjson
import pytest

from taskapi.http import payload
from taskapi.http.payload import parse_json
from taskapi.transfer import json_files, service
from tests.support.people import assert_problem, assert_refused_field, register

KIB = 1024
MIB = 1024 * KIB
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"


@pytest.fixture
def limited(variant):
    return lambda **limits: variant(rate_limit_enabled=True, **limits)


@pytest.fixture
def parsed(monkeypatch):
    """The lengths of what has been parsed of a file."""
    lengths: list[int] = []

    def note(data):
        lengths.append(len(data))
        return parse_json(data)

    monkeypatch.setattr(json_files, "parse_json", note)
    return lengths


@pytest.fixture
def collections():
    """How often the garbage collector has run."""
    runs = []

    def note(phase, info):
        if phase == "start":
            runs.append(info["generation"])

    gc.callbacks.append(note)
    yield runs
    gc.callbacks.remove(note)


def upload(person, body, media=JSON):
    return person.post("/tasks/import", data=body, content_type=media)


def array_of(element, size):
    return b"[" + b",".join([element] * (size // (len(element) + 1))) + b"]"


# --- Charged by size ---------------------------------------------------------------------------


def left(response):
    return int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])


def test_a_file_is_charged_by_its_size_before_it_is_parsed(limited, parsed):
    alice = register(limited(rate_limit_writes="40/minute"), "alice@example.com")

    first = upload(alice, array_of(b"[[]]", 2 * MIB))
    parsed.clear()
    second = upload(alice, array_of(b"[[]]", 2 * MIB))

    assert_refused_field(first, "", "too_many")
    assert left(first) == 40 - 32
    assert_problem(second, 429, "rate_limited")
    assert parsed == []


def test_a_batch_is_charged_by_its_size_before_it_is_parsed(limited):
    alice = register(limited(rate_limit_writes="20/minute"), "alice@example.com")
    body = array_of(b"[]", MIB - KIB)

    statuses = [
        alice.post("/tasks/batch", data=body, content_type=JSON).status_code for _ in range(2)
    ]

    assert statuses == [422, 429]


def test_a_file_costs_no_more_than_the_whole_limit(limited):
    alice = register(limited(rate_limit_writes="10/minute"), "alice@example.com")
    body = b'[{"title": "Buy milk"}]'.ljust(MIB)

    assert upload(alice, body).status_code == 200


# --- Refused early -----------------------------------------------------------------------------


def test_of_millions_of_lists_no_more_are_parsed_than_a_file_may_have_tasks(alice, parsed):
    response = upload(alice, array_of(b"[[]]", 16 * MIB))

    assert_refused_field(response, "", "too_many")
    assert len(parsed) <= 10_001
    assert max(parsed) <= 5


@pytest.mark.parametrize(
    "element",
    [
        b'{"title": "a", "x": ' + array_of(b"[]", MIB) + b"}",
        b'"' + b"a" * MIB + b'"',
        b'"' + b'\\"' * MIB + b'"',
        b"[" * MIB,
        b" " * MIB,
        b"1" * MIB,
    ],
    ids=["lists", "text", "escapes", "open", "blank", "digits"],
)
def test_a_task_that_is_too_long_is_not_parsed(alice, parsed, element):
    response = upload(alice, b'[{"title": "a"},' + element + b"]")

    assert_refused_field(response, "", "too_long")
    assert max(parsed) < 64 * KIB
    assert alice.get("/tasks").json["tasks"] == []


def test_a_line_that_is_too_long_is_refused_alone_and_not_parsed(alice, parsed):
    long = array_of(b"[]", MIB)

    report = upload(alice, b'{"title": "a"}\n' + long + b'\n{"title": "b"}', LINES).json

    assert [row["status"] for row in report["rows"]] == ["created", "refused", "created"]
    assert report["rows"][1]["errors"][0]["code"] == "too_long"
    assert max(parsed) < 64 * KIB


@pytest.mark.parametrize(
    "record",
    [b"," * MIB, b'"' + b"\n" * MIB + b'"', b'"' + b"a\r\n" * MIB + b'"', b"a" * MIB],
    ids=["commas", "quoted lines", "quoted text", "text"],
)
def test_a_record_that_is_too_long_is_not_read(alice, record):
    response = upload(alice, b"title\nBuy milk\n" + record, CSV)

    assert_refused_field(response, "", "too_long")
    assert alice.get("/tasks").json["tasks"] == []


def test_many_records_may_have_long_cells(alice):
    cell = b'"' + b"a\n" * 500 + b'"'

    report = upload(alice, b"title,description\n" + (b"Buy milk," + cell + b"\n") * 200, CSV).json

    assert report["created"] == 200


def test_millions_of_empty_lines_are_refused(alice):
    assert_refused_field(upload(alice, b"\n" * MIB, LINES), "", "too_many")


def test_an_array_may_hold_anything_that_is_json(alice):
    tasks: list[Any] = [
        {"title": 'a "quoted" [text], {with} \\ everything'},
        {"title": "nested", "user_id": [{"a": [1, {"b": '"]}'}]}, []]},
        [[], {}],
        "a, text",
        None,
    ]

    report = upload(alice, orjson.dumps(tasks, option=orjson.OPT_INDENT_2)).json

    statuses = [row["status"] for row in report["rows"]]
    assert statuses == ["created", "created", "refused", "refused", "refused"]
    titles = {task["title"] for task in alice.get("/tasks").json["tasks"]}
    assert titles == {tasks[0]["title"], "nested"}


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[,]", b"[1,,2]", b"[1 2]", b"[}", b'["a]', b"[[1}]", b"[{]", b'[{"a": 1]', b"{"],
)
def test_an_array_that_is_malformed_is_refused(alice, body):
    assert_problem(upload(alice, body), 400, "malformed_json")


def test_a_large_object_is_no_array(alice):
    body = orjson.dumps({"tasks": [{"title": "a" * 400}] * 400})

    assert_refused_field(upload(alice, body), "", "wrong_type")


# --- One at a time -----------------------------------------------------------------------------


def test_while_another_file_is_read_an_import_is_asked_to_come_again(alice, monkeypatch, parsed):
    monkeypatch.setattr(service, "_LOCK_TIMEOUT_SECONDS", 0.01)

    with service._READ_LOCK:
        response = upload(alice, b'[{"title": "a"}]')

    assert_problem(response, 503, "busy")
    assert response.headers["Retry-After"]
    assert parsed == []
    assert upload(alice, b'[{"title": "a"}]').status_code == 200


def test_an_import_waits_for_another_that_is_read(alice):
    service._READ_LOCK.acquire()
    threading.Timer(0.1, service._READ_LOCK.release).start()

    assert upload(alice, b'[{"title": "a"}]').status_code == 200


def test_a_file_that_is_refused_lets_the_next_one_in(alice, monkeypatch):
    monkeypatch.setattr(service, "_LOCK_TIMEOUT_SECONDS", 0.01)
    for body in (b"[1,,2]", array_of(b"0", 64 * KIB)):
        assert upload(alice, body).status_code in (400, 422)

    assert upload(alice, b'[{"title": "a"}]').status_code == 200


# --- What holds the interpreter ----------------------------------------------------------------


def test_the_garbage_collector_does_not_run_again_and_again_while_a_body_is_parsed(collections):
    body = array_of(b"[]", MIB - KIB)
    collections.clear()

    parse_json(body)

    assert len(collections) < 20
    assert gc.isenabled()


# --- Batches -----------------------------------------------------------------------------------


@pytest.fixture
def parsed_bodies(monkeypatch):
    """The lengths of the bodies that have been parsed."""
    lengths: list[int] = []

    def note(data):
        lengths.append(len(data))
        return parse_json(data)

    monkeypatch.setattr(payload, "parse_json", note)
    return lengths


@pytest.mark.parametrize("element", [b"[]", b"{}", b'""', b"1", b'"\\""'])
def test_a_batch_of_too_many_values_is_refused_and_not_parsed(alice, parsed_bodies, element):
    body = b'{"operations":' + array_of(element, MIB - KIB) + b"}"

    response = alice.post("/tasks/batch", data=body, content_type=JSON)

    assert_refused_field(response, "", "too_many")
    assert parsed_bodies == []


@pytest.mark.parametrize("text", [",", '",', "\\", '\\",'])
def test_commas_within_texts_are_no_values(alice, text):
    description = (text * 2000)[:2000]
    create = {"op": "create", "data": {"title": "Buy milk", "description": description}}

    response = alice.post("/tasks/batch", {"operations": [create] * 100})

    assert response.status_code == 207
    assert {result["status"] for result in response.json["results"]} == {201}
    assert response.json["results"][99]["task"]["description"] == description


@pytest.mark.parametrize("body", [b'["' + b"," * 500_000, b'["' + b'\\",' * 300_000])
def test_a_text_without_an_end_is_malformed(alice, body):
    assert_problem(alice.post("/tasks/batch", data=body, content_type=JSON), 400, "malformed_json")
