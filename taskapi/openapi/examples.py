"""Examples of bodies and problems: each is what the service would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from taskapi.auth.schemas import UserIdInPath
from taskapi.exceptions import ValidationFailed
from taskapi.http.endpoint import Endpoint
from taskapi.http.examples import example_of
from taskapi.http.idempotency import Headers
from taskapi.http.inputs import Input
from taskapi.http.payload import load
from taskapi.http.problems import ErrorFormat, catalogue, problem_document
from taskapi.tasks.schemas import Task

REQUEST_ID: Final = "9f1c2a7be0d84d0c8a31f5b3c3a0d9e2"
UNKNOWN_FIELD: Final = {"colour": "blue"}
_FULL: Final = {"quota": 1000, "room": 0}


def example_of_request(declared: Endpoint) -> Any:
    """Compose the example of a body of JSON."""
    assert declared.body
    return declared.request_example or example_of(declared.body)


def example_of_problem(
    code: str,
    error_format: ErrorFormat,
    blueprint: str | None = None,
    members: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """Show a problem as it is answered; `members` are what this one says besides or instead."""
    own = {"precondition_failed": {"current": example_of(Task())}, "quota_exceeded": _FULL}
    status, detail = catalogue()[code]
    status = error_format.status_of(blueprint, code, status)
    problem = problem_document(status, code, detail, REQUEST_ID, **own.get(code, {}))
    return error_format.rewrite({**problem, **members})


def refusal_of(declared: Endpoint, *, names_user: bool) -> dict[str, Any]:
    """Return the problem for input that a view refuses: an empty body, or an unknown field."""
    bad: list[tuple[Input, Mapping[str, Any], str]] = []
    if declared.body:
        bad += [(declared.body, {}, ""), (declared.body, UNKNOWN_FIELD, "")]
    if declared.query:
        # Where unknown parameters are ignored, none that is known may be empty.
        bad += [(declared.query, UNKNOWN_FIELD, "/query")]
        bad += [(declared.query, dict.fromkeys(declared.query.fields, ""), "/query")]
    if declared.idempotency:
        bad += [(Headers(), {"Idempotency-Key": ""}, "/header")]
    if names_user:
        bad += [(UserIdInPath(), {"user_id": " "}, "/path")]
    for schema, said, where in bad:
        try:
            load(schema, said, where)
        except ValidationFailed as refusal:
            return {"detail": str(refusal), **refusal.members}
    raise AssertionError("What takes no input refuses none.")
