"""The `detail` of a refusal is the sentence that a person needs."""

import pytest

from taskapi import batch, changes, tasks, trash
from taskapi.exceptions import FieldError, ValidationFailed
from taskapi.http import fields, idempotency
from tests.support.people import assert_problem

ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery"}


def details(response):
    return assert_problem(response, 422, "validation_failed")["detail"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({**ACCOUNT, "password": "short"}, "The password has 5 characters; at least 8 are needed."),
        (
            {**ACCOUNT, "email": "ada"},
            "The email is not an e-mail address; write it as name@example.com.",
        ),
        ({"email": "ada@example.com"}, "The password is required."),
        ({**ACCOUNT, "age": 7}, "There is no field age here; there are: email, name, password."),
    ],
)
def test_one_error_is_said_with_its_field(client, body, detail):
    assert details(client.post("/auth/register", json=body)) == detail


def test_of_several_errors_the_first_is_said_and_how_many_more_there_are(alice):
    assert details(alice.post("/tasks", {"title": " ", "order": "1"})) == (
        "The title may not be blank. There is one more error."
    )
    assert details(alice.post("/tasks", {"title": " ", "order": "1", "completed": 1})) == (
        "The title may not be blank. There are 2 more errors."
    )


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/tasks?limit=0", "The query parameter limit must be between 1 and 200."),
        ("/tasks?colour=red", "There is no query parameter colour here; there are: completed,"),
        ("/api/%20/tasks", "The user_id in the path may not be blank."),
    ],
)
def test_what_the_url_says_is_named_by_its_part(alice, path, detail):
    assert details(alice.get(path)).startswith(detail)


def test_a_header_is_named_as_one(alice):
    response = alice.post("/tasks", {"title": "a"}, headers={"Idempotency-Key": "é"})

    assert details(response) == (
        "The header Idempotency-Key must be printable ASCII, such as a UUID."
    )


def test_a_body_that_is_no_object_is_named_as_the_body(alice):
    assert details(alice.post("/tasks", [])) == "The body must be a JSON object."


def test_an_operation_of_a_batch_is_answered_like_a_request_of_its_own(alice):
    body = {"operations": [{"op": "create", "data": {"title": " "}}]}

    [result] = alice.post("/tasks/batch", body).json["results"]

    assert result["problem"]["detail"] == "The title may not be blank."


def kinds_of_fields(base=fields.Coded):
    for kind in base.__subclasses__():
        yield kind
        yield from kinds_of_fields(kind)


def test_every_message_of_a_field_can_be_said_with_its_name():
    assert {batch, changes, idempotency, tasks, trash}  # Their fields are known once imported.
    messages = {
        message
        for kind in {fields.Coded, *kinds_of_fields()}
        for message in kind.default_error_messages.values()
        if kind.__module__.startswith("taskapi")
    }

    assert len(messages) > 15
    for message in messages - {"Send 1 to {most} operations; here are {length}."}:
        sentence = ValidationFailed([FieldError("/colour", "a", message)]).args[0]
        assert "colour" in sentence, message
