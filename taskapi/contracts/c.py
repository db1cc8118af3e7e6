"""Contract C: accounts at Better Auth, `text`, `{tasks, count}`, `{error, message, details}`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from taskapi.batch import schemas as batch
from taskapi.contracts.table import Contract, Redeclared
from taskapi.exceptions import FieldError
from taskapi.http.fields import Boolean, Text
from taskapi.http.problems import title_of
from taskapi.tasks import schemas as tasks
from taskapi.tasks.fields import MAX_DESCRIPTION_LENGTH, MAX_TITLE_LENGTH

_ERRORS: Final[dict[int, str]] = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "VALIDATION_ERROR",
    HTTPStatus.TOO_MANY_REQUESTS: "RATE_LIMITED",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL_ERROR",
}
"""What `error` says, where it is not the name of the status."""


class TaskInput(tasks.TaskInput):
    """A task as a client of contract C writes it."""

    title = Text(
        MAX_TITLE_LENGTH,
        data_key="text",
        shortest=1,
        trim=True,
        required=True,
        metadata={"example": "Buy milk"},
    )


class TaskReplacement(TaskInput):
    """`text` and `completed` are required; all else is kept where it is absent."""

    description = Text(
        MAX_DESCRIPTION_LENGTH,
        allow_none=True,
        empty_is_null=True,
        metadata={"example": "Oat, two of them"},
    )
    completed = Boolean(required=True, metadata={"example": False})


class Batch(batch.Batch):
    operations = batch.Operations(
        {**batch.DATA, "create": TaskInput(), "update": TaskInput(partial=True)}, required=True
    )


def rewrite_error(problem: dict[str, Any]) -> dict[str, Any]:
    """Write an error as contract C's clients read it; `detail` is the same as `message`."""
    status = problem["status"]
    name = _ERRORS.get(status) or title_of(status).upper().replace(" ", "_")
    error = {"error": name, "message": problem["detail"]}
    if "errors" in problem:
        error["details"] = [FieldError(**one).sentence for one in problem["errors"]]
    rest = {name: value for name, value in problem.items() if name not in ("type", "title")}
    return {**error, **rest}


CONTRACT = Contract(
    name="c",
    members={"title": "text"},
    statuses={"malformed_json": 422},
    rewrite_error=rewrite_error,
    error_schema={
        "type": "object",
        "required": ["error", "message", "detail", "code", "status", "request_id"],
        "properties": {
            "error": {"type": "string", "examples": ["NOT_FOUND"]},
            "message": {"type": "string", "description": "The same as `detail`."},
            "details": {
                "type": "array",
                "items": {"type": "string"},
                "description": "With `VALIDATION_ERROR`: a sentence for each error.",
            },
        },
    },
    views={
        "tasks.create_task": Redeclared(body=TaskInput()),
        "tasks.replace_task": Redeclared(body=TaskReplacement()),
        "tasks.patch_task": Redeclared(body=TaskInput(partial=True)),
        "batch.run_operations": Redeclared(body=Batch()),
    },
)
