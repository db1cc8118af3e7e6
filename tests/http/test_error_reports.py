"""How much a refusal reports, and how much work a report takes."""

import gc
import os
import subprocess
import sys

import orjson
import pytest
from marshmallow import ValidationError

from taskapi.exceptions import FieldError, TaskapiError
from taskapi.http import inputs

PER_OBJECT = 20
PER_REQUEST = 100


def unknown_fields(number):
    return {f"unknown_{position}": 1 for position in range(number)}


def upload(person, rows):
    response = person.post(
        "/tasks/import", data=orjson.dumps(rows), content_type="application/json"
    )
    assert response.status_code == 200, response.text
    return response.json


@pytest.fixture
def noted_errors(monkeypatch):
    """The errors that are made while input is validated."""
    noted = []

    class Noted(FieldError):
        def __init__(self, *args):
            super().__init__(*args)
            noted.append(args)

    monkeypatch.setattr(inputs, "FieldError", Noted)
    return noted


def test_a_body_with_few_errors_is_reported_whole(alice):
    response = alice.post("/tasks", {"title": "Buy milk", **unknown_fields(PER_OBJECT)})

    assert len(response.json["errors"]) == PER_OBJECT
    assert "errors_left_out" not in response.json
    assert response.json["detail"].endswith(" There are 19 more errors.")


def test_a_body_with_many_errors_reports_twenty_and_counts_the_others(alice):
    response = alice.post("/tasks", {"title": "", **unknown_fields(3000)})

    assert response.status_code == 422
    assert len(response.json["errors"]) == PER_OBJECT
    assert response.json["errors_left_out"] == 3001 - PER_OBJECT
    assert response.json["detail"].endswith(" There are 3000 more errors.")


def test_fields_that_are_ignored_are_no_errors(alice):
    task = alice.post("/tasks", {"title": "Buy milk"}).json

    response = alice.put(f"/tasks/{task['id']}", {**unknown_fields(30), **task})

    assert response.json["errors_left_out"] == 30 - PER_OBJECT
    assert all("unknown_" in error["pointer"] for error in response.json["errors"])


def test_fields_of_a_body_are_not_validated_beyond_those_that_are_reported(alice, noted_errors):
    alice.post("/tasks", {"title": "", **unknown_fields(3000)})

    assert len(noted_errors) == PER_OBJECT


def test_a_query_with_many_errors_reports_twenty(alice, noted_errors):
    query = "&".join(f"unknown_{position}=1" for position in range(200))

    response = alice.get(f"/tasks?{query}")

    assert len(response.json["errors"]) == len(noted_errors) == PER_OBJECT
    assert response.json["errors_left_out"] == 200 - PER_OBJECT


def test_a_query_that_repeats_many_parameters_counts_those_it_does_not_report(alice):
    query = "&".join(f"unknown_{position}=1" for position in range(200))

    response = alice.get(f"/tasks?{query}&{query}")

    assert len(response.json["errors"]) == PER_OBJECT
    assert response.json["errors_left_out"] == 200 - PER_OBJECT


def test_a_batch_reports_twenty_errors_an_operation_and_a_hundred_in_all(alice):
    wrong = {"op": "create", "data": {"title": "Buy milk", **unknown_fields(30)}}

    results = alice.post("/tasks/batch", {"operations": [wrong] * 7}).json["results"]

    reported = [len(result["problem"]["errors"]) for result in results]
    assert reported == [PER_OBJECT] * 5 + [0] * 2
    left_out = [result["problem"]["errors_left_out"] for result in results]
    assert left_out == [10] * 5 + [30] * 2
    assert {result["status"] for result in results} == {422}
    assert all(
        result["problem"]["detail"].endswith(" There are 29 more errors.") for result in results
    )


def test_an_atomic_batch_reports_twenty_errors(alice):
    wrong = {"op": "create", "data": unknown_fields(30)}

    response = alice.post("/tasks/batch", {"atomic": True, "operations": [wrong] * 2})

    assert len(response.json["errors"]) == PER_OBJECT
    assert response.json["errors_left_out"] == 31 - PER_OBJECT


def test_an_import_reports_twenty_errors_a_row_and_a_hundred_in_all(alice):
    wrong = {"title": "Buy milk", **unknown_fields(30)}

    report = upload(alice, [wrong] * 7 + [{"title": "Buy bread"}])

    refused = report["rows"][:7]
    assert [len(row["errors"]) for row in refused] == [PER_OBJECT] * 5 + [0] * 2
    assert [row["errors_left_out"] for row in refused] == [10] * 5 + [30] * 2
    assert (report["refused"], report["created"]) == (7, 1)


def test_rows_of_an_import_are_not_validated_beyond_what_is_reported(alice, noted_errors):
    upload(alice, [unknown_fields(150)] * 500)

    assert PER_REQUEST <= len(noted_errors) <= 500 * 2 + PER_REQUEST


def test_errors_of_known_fields_come_first_and_others_in_the_order_of_the_body(alice):
    body = {"zz": 1, "title": 1, "_schema": 2, "a/b~": 3, "order": "1"}

    errors = alice.post("/tasks", body).json["errors"]

    pointers = [error["pointer"] for error in errors]
    assert pointers == ["/title", "/order", "/zz", "/_schema", "/a~1b~0"]


def test_every_process_reports_the_same_errors_in_the_same_order():
    # The fingerprint of a batch holds the errors of its operations.
    script = (
        "from taskapi.http.payload import load\n"
        "from taskapi.tasks.schemas import TaskInput\n"
        "try: load(TaskInput(), dict.fromkeys(map(str, range(30))))\n"
        "except Exception as error: print([one['pointer'] for one in error.members['errors']])\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert found == {str(["/title", *(f"/{number}" for number in range(19))]) + "\n"}


WRONG = {"op": "create", "data": {"title": 1}}
MISSING = {"op": "update", "id": "aaaaaaaa-0000-4000-8000-000000000000", "data": {"title": "a"}}


@pytest.mark.parametrize(
    ("path", "body", "media"),
    [
        ("/tasks", {"title": 1}, "application/json"),
        ("/tasks/import?colour=blue", [], "application/json"),
        ("/tasks/batch", {"operations": [WRONG] * 10}, "application/json"),
        ("/tasks/batch", {"operations": [WRONG] * 10, "atomic": True}, "application/json"),
        ("/tasks/batch", {"operations": [MISSING] * 10}, "application/json"),
        ("/tasks/batch", {"operations": [MISSING] * 10, "atomic": True}, "application/json"),
        ("/tasks/import", [{"title": 1}] * 10, "application/json"),
        ("/tasks/import", [7] * 10, "application/x-ndjson"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["bare", "keyed"])
def test_what_was_refused_is_freed_without_the_garbage_collector(alice, path, body, media, headers):
    # A traceback holds frames, and these hold the input: a cycle, where one holds the error.
    data = orjson.dumps(body)
    if media == "application/x-ndjson":
        data = b"{\n" * 10

    def kept():
        kinds = (ValidationError, TaskapiError)
        return [one for one in gc.get_objects() if isinstance(one, kinds)]

    gc.collect()
    before = len(kept())
    gc.disable()
    try:
        response = alice.post(path, data=data, content_type=media, headers=headers)
        assert response.status_code in (200, 207, 404, 422), response.text

        assert len(kept()) == before
    finally:
        gc.enable()
