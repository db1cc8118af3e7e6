"""Tasks: /tasks for whoever the token belongs to, /api/{user_id}/tasks by their name.

The second is contract A, which has no partial update and a list without pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, g, request, stream_with_context

from taskapi.database import Actor, Row
from taskapi.exceptions import TaskNotFound
from taskapi.http import json_response, no_content, parse_id
from taskapi.operations import accepts, answers
from taskapi.tasks import service
from taskapi.tasks.schemas import (
    Completion,
    Task,
    TaskInput,
    TaskList,
    TaskListQuery,
    TaskText,
    encode_cursor,
)

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")
by_user = Blueprint("tasks_by_user", __name__, url_prefix="/api/<encoded:user_id>/tasks")

_BATCH = 500  # tasks that a list without pages holds in memory at a time


@blueprint.get("")
@accepts(query=TaskListQuery())
@answers(200, TaskList())
def list_tasks(query: dict[str, Any]) -> Any:
    """List your tasks, newest first.

    `next_cursor` fetches the page that follows; it is null on the last one. A task that
    exists from the first page to the last is on exactly one of them.
    """
    tasks, last = service.list_tasks(g.actor, query["limit"], query.get("cursor"))
    return json_response({"tasks": tasks, "next_cursor": encode_cursor(last) if last else None})


@by_user.get("")
@answers(200, Task(many=True))
def list_all_tasks() -> Any:
    """List all tasks of the user as one array, newest first."""
    tasks, last = service.list_tasks(g.actor, _BATCH, None)
    if last is None:
        return tasks
    # What goes wrong with the first batch is a problem document; later it can only be an
    # array that does not end, which no client takes for whole.
    array = stream_with_context(_write_array(g.actor, tasks, last))
    return Response(array, mimetype="application/json")


@blueprint.post("")
@accepts(body=TaskInput())
@answers(201, Task(), headers=["ETag", "Location"])
def create_task(body: dict[str, Any]) -> Any:
    """Create a task."""
    return _create(body)


@by_user.post("")
@accepts(body=TaskText())
@answers(201, Task(), headers=["ETag", "Location"])
def create_task_of_user(body: dict[str, Any]) -> Any:
    """Create a task; of its completion another request says."""
    return _create(body)


@blueprint.get("/<task_id>")
@by_user.get("/<task_id>")
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def get_task(task_id: str) -> Any:
    """Get one task."""
    return _answer(service.get_task(g.actor, _parse(task_id)))


@blueprint.put("/<task_id>")
@accepts(body=TaskInput())
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def replace_task(task_id: str, body: dict[str, Any]) -> Any:
    """Replace title and description.

    An absent description becomes null; `completed` and `order` stay unless they are sent.
    """
    return _answer(service.update_task(g.actor, _parse(task_id), body))


@by_user.put("/<task_id>")
@accepts(body=TaskText())
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def replace_text(task_id: str, body: dict[str, Any]) -> Any:
    """Replace title and description; an absent description becomes null."""
    return _answer(service.update_task(g.actor, _parse(task_id), body))


@blueprint.patch("/<task_id>")
@accepts(body=TaskInput(partial=True))
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def patch_task(task_id: str, body: dict[str, Any]) -> Any:
    """Change some fields (JSON merge patch, RFC 7396): absent keeps, null clears."""
    return _answer(service.update_task(g.actor, _parse(task_id), body))


@blueprint.patch("/<task_id>/complete")
@by_user.patch("/<task_id>/complete")
@accepts(body=Completion(), body_is_optional=True)
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def complete_task(task_id: str, body: dict[str, Any]) -> Any:
    """Complete or reopen a task.

    Without a body it flips; `{"completed": true}` sets it and is safe to send again.
    """
    return _answer(service.complete_task(g.actor, _parse(task_id), body.get("completed")))


@blueprint.delete("/<task_id>")
@by_user.delete("/<task_id>")
@answers(204, problems=["task_not_found"])
def delete_task(task_id: str) -> Any:
    """Delete a task."""
    service.delete_task(g.actor, _parse(task_id))
    return no_content()


def _create(body: dict[str, Any]) -> Any:
    task = service.create_task(g.actor, **body)
    location = f"{request.script_root}{request.path}/{task['id']}"
    return _answer(task, 201, {"Location": location})


def _parse(task_id: str) -> str:
    return parse_id(task_id, TaskNotFound)


def _write_array(actor: Actor, tasks: list[Row], last: str | None) -> Iterator[bytes]:
    yield orjson.dumps(tasks)[:-1]
    while last is not None:
        tasks, last = service.list_tasks(actor, _BATCH, last)
        if tasks:  # They may have been deleted meanwhile.
            yield b"," + orjson.dumps(tasks)[1:-1]
    yield b"]"


def _answer(task: Row, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    return json_response(task, status, {"ETag": f'"{task["version"]}"', **headers})
