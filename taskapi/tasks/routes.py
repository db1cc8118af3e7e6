"""/tasks: the tasks of whoever the token belongs to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, g, url_for

from taskapi.exceptions import TaskNotFound
from taskapi.http import no_content
from taskapi.operations import accepts, answers
from taskapi.tasks import service
from taskapi.tasks.schemas import (
    Completion,
    Task,
    TaskInput,
    TaskList,
    TaskListQuery,
    encode_cursor,
)

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@blueprint.get("")
@accepts(query=TaskListQuery())
@answers(200, TaskList())
def list_tasks(query: dict[str, Any]) -> Any:
    """List your tasks, newest first.

    `next_cursor` fetches the page that follows; it is null on the last one. A task that
    exists from the first page to the last is on exactly one of them.
    """
    tasks, last = service.list_tasks(g.actor, query["limit"], query.get("cursor"))
    return {"tasks": tasks, "next_cursor": encode_cursor(last) if last else None}


@blueprint.post("")
@accepts(body=TaskInput())
@answers(201, Task(), headers=["ETag", "Location"])
def create_task(body: dict[str, Any]) -> Any:
    """Create a task."""
    task = service.create_task(g.actor, **body)
    location = url_for("tasks.get_task", task_id=task["id"])
    return task, 201, {"Location": location, **_etag(task)}


@blueprint.get("/<task_id>")
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def get_task(task_id: str) -> Any:
    """Get one task."""
    return _answer(service.get_task(g.actor, _parse_id(task_id)))


@blueprint.put("/<task_id>")
@accepts(body=TaskInput())
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def replace_task(task_id: str, body: dict[str, Any]) -> Any:
    """Replace title and description.

    An absent description becomes null; `completed` and `order` stay unless they are sent.
    """
    return _answer(service.update_task(g.actor, _parse_id(task_id), body))


@blueprint.patch("/<task_id>")
@accepts(body=TaskInput(partial=True))
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def patch_task(task_id: str, body: dict[str, Any]) -> Any:
    """Change some fields (JSON merge patch, RFC 7396): absent keeps, null clears."""
    return _answer(service.update_task(g.actor, _parse_id(task_id), body))


@blueprint.patch("/<task_id>/complete")
@accepts(body=Completion(), body_is_optional=True)
@answers(200, Task(), headers=["ETag"], problems=["task_not_found"])
def complete_task(task_id: str, body: dict[str, Any]) -> Any:
    """Complete or reopen a task.

    Without a body it flips; `{"completed": true}` sets it and is safe to send again.
    """
    return _answer(service.complete_task(g.actor, _parse_id(task_id), body.get("completed")))


@blueprint.delete("/<task_id>")
@answers(204, problems=["task_not_found"])
def delete_task(task_id: str) -> Any:
    """Delete a task."""
    service.delete_task(g.actor, _parse_id(task_id))
    return no_content()


def _parse_id(text: str) -> UUID:
    # A malformed id looks like one that is missing: it is the id of no task.
    try:
        task_id = UUID(text)
    except ValueError:
        raise TaskNotFound from None
    if str(task_id) != text.lower():
        raise TaskNotFound
    return task_id


def _answer(task: dict[str, Any]) -> Any:
    return task, 200, _etag(task)


def _etag(task: dict[str, Any]) -> dict[str, str]:
    return {"ETag": f'"{task["version"]}"'}
