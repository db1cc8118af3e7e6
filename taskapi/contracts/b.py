"""Contract B: own accounts, `is_completed`, `{tasks, total}`, 403 for another user's task."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask import Flask, Response, current_app, g, request
from marshmallow import Schema, fields, pre_load
from sqlalchemy import Engine, text

from taskapi.auth import schemas as auth
from taskapi.auth import sessions
from taskapi.auth.cookies import clear_refresh_cookie
from taskapi.batch import schemas as batch
from taskapi.contracts.table import Contract, Redeclared
from taskapi.db import readiness
from taskapi.db.execute import SYSTEM, execute
from taskapi.exceptions import SessionEnded, Unavailable
from taskapi.http import problems
from taskapi.http.app import json_response
from taskapi.http.fields import UUID_TEXT, Boolean, Integer, Text
from taskapi.http.idempotency import KeyedRequest
from taskapi.http.views import endpoint
from taskapi.tasks import schemas as tasks
from taskapi.tasks.exceptions import TaskForbidden
from taskapi.tasks.fields import DESCRIPTION_COLUMN_LENGTH, INT32
from taskapi.transfer import schemas as transfer

_INDEX = "ix_tasks_id"


class TaskInput(tasks.TaskInput):
    """A task as a client of contract B writes it."""

    title = Text(255, shortest=1, trim=True, required=True, metadata={"example": "Buy milk"})
    description = Text(
        DESCRIPTION_COLUMN_LENGTH,
        allow_none=True,
        empty_is_null=True,
        load_default=None,
        metadata={"example": "Oat, two of them"},
    )
    completed = Boolean(data_key="is_completed", metadata={"example": False})


class TaskReplacement(TaskInput):
    """Every field is optional; null keeps, as if it were absent."""

    title = Text(255, shortest=1, trim=True, allow_none=True, metadata={"example": "Buy milk"})
    completed = Boolean(data_key="is_completed", allow_none=True, metadata={"example": False})
    order = Integer(-INT32, INT32 - 1, allow_none=True, metadata={"example": 0})

    @pre_load
    def _drop_null(self, data: Any, **_kwargs: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: value for name, value in data.items() if value is not None}
        return data


class TaskCompletion(tasks.Completion):
    completed = Boolean(data_key="is_completed", metadata={"example": True})


class Batch(batch.Batch):
    operations = batch.Operations(
        {
            **batch.DATA,
            "create": TaskInput(),
            "update": TaskInput(partial=True),
            "complete": TaskCompletion(),
        },
        required=True,
    )


class ImportedTask(transfer.ImportedTask):
    """A task in a file: with the service's own names, and descriptions of this contract."""

    description = Text(
        DESCRIPTION_COLUMN_LENGTH, allow_none=True, empty_is_null=True, load_default=None
    )


class Registration(auth.Registration):
    password = auth.NewPassword(100, required=True, metadata={"example": "correct horse battery"})


class TokenPair(auth.TokenPair):
    token_type = fields.Constant(
        "bearer", required=True, metadata={"type": "string", "enum": ["bearer"]}
    )


class Message(Schema):
    message = fields.String(required=True, metadata={"example": "You are logged out."})


@endpoint(
    access="optional_token",
    query=auth.LogoutQuery(),
    idempotency="by_service",
    returns=Message(),
    headers=("Set-Cookie",),
)
def log_out(keyed: KeyedRequest, query: dict[str, Any]) -> Response:
    """End this session, if a token comes along; its tokens are refused from now on."""
    if "actor" in g:
        with suppress(SessionEnded):
            sessions.log_out(g.actor, keyed, everywhere=query["all"])
    return clear_refresh_cookie(json_response({"message": "You are logged out."}))


def rewrite_error(problem: dict[str, Any]) -> dict[str, Any]:
    """Write an error as contract B's clients read it: `detail` is a text, `error` its code."""
    rest = {name: value for name, value in problem.items() if name not in ("type", "title")}
    return {"error": problem["code"], **rest}


def _init_app(app: Flask) -> None:
    readiness.add_step(app, _provide_index)
    app.after_request(_forbid_another_users_task)


def _forbid_another_users_task(response: Response) -> Response:
    """Answer 403 in place of 404 where the task is another user's.

    It is asked for only where the user has no such task, and outside of the user's transaction.
    """
    if response.status_code != 404 or request.blueprint != "tasks":
        return response
    task_id = (request.view_args or {}).get("task_id", "")
    if not UUID_TEXT.fullmatch(task_id):
        return response
    try:
        [row] = execute(_EXISTS, {"id": task_id}, acting_as=SYSTEM)
    except Unavailable as outage:
        return problems.respond(outage)
    return problems.respond(TaskForbidden()) if row["exists"] else response


def _provide_index(engine: Engine) -> None:
    """Make the index by which a task is found without its owner.

    No other contract needs it, and each new task would pay for it. Raises `PermissionError` where
    it is missing and may not be made.
    """
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        if connection.scalar(text(f"SELECT to_regclass('{_INDEX}')")):
            return
        create = f"CREATE INDEX IF NOT EXISTS {_INDEX} ON tasks (id)"
        if not current_app.config["MIGRATE_ON_START"]:
            raise PermissionError(f"CONTRACT=b needs an index; run: {create};")
        # One message, and so one transaction: what would make it wait is another such instance.
        connection.execute(
            text(
                "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
                f"SELECT pg_advisory_xact_lock({readiness.MIGRATION_LOCK}); {create}"
            )
        )


_EXISTS = text("SELECT EXISTS (SELECT FROM tasks WHERE id = CAST(:id AS uuid)) AS exists")

_TASK = Redeclared(problems=("task_forbidden",))

CONTRACT = Contract(
    name="b",
    members={"completed": "is_completed"},
    statuses={"validation_failed": 400, "email_taken": 400, "malformed_json": 422},
    rewrite_error=rewrite_error,
    error_schema={
        "type": "object",
        "required": ["error", "detail", "code", "status", "request_id"],
        "properties": {"error": {"type": "string", "description": "The same as `code`."}},
    },
    views={
        "auth.register": Redeclared(body=Registration(), schema=TokenPair()),
        "auth.log_in": Redeclared(schema=TokenPair()),
        "auth.refresh": Redeclared(schema=TokenPair()),
        "tasks.create_task": Redeclared(body=TaskInput()),
        "tasks.get_task": _TASK,
        "tasks.replace_task": Redeclared(
            body=TaskReplacement(partial=True), problems=_TASK.problems
        ),
        "tasks.patch_task": Redeclared(body=TaskInput(partial=True), problems=_TASK.problems),
        "tasks.complete_task": Redeclared(body=TaskCompletion(), problems=_TASK.problems),
        "tasks.move_task": _TASK,
        "tasks.delete_task": _TASK,
        "batch.run_operations": Redeclared(body=Batch()),
    },
    replaced_views={"auth.log_out": log_out},
    replaced_text={"auth": {'"token_type":"Bearer"': '"token_type":"bearer"'}},
    imported_task=ImportedTask(),
    init_app=_init_app,
)
