"""Contract A: paths that name the user, a bare array, no partial update."""

from __future__ import annotations

from typing import Any

from flask import g

from taskapi.http.app import Section
from taskapi.http.pagination import array_response
from taskapi.http.views import endpoint
from taskapi.tasks import routes, service
from taskapi.tasks.schemas import Task, TaskFilters, TaskText

blueprint = Section(
    "tasks_by_user",
    __name__,
    "The tasks of the user that the path names.",
    "/api/<encoded:user_id>/tasks",
)
blueprint.get("/<id:task_id>")(routes.get_task)
blueprint.patch("/<id:task_id>/complete")(routes.complete_task)
blueprint.delete("/<id:task_id>")(routes.delete_task)


@blueprint.get("")
@endpoint(
    query=TaskFilters(),
    search_parameter="q",
    conditions=("If-None-Match",),
    returns=Task(many=True),
    headers=("ETag",),
    problems=("search_timeout",),
)
def list_all_tasks(query: dict[str, Any]) -> Any:
    """List all tasks of the user as one array, newest first unless asked otherwise."""
    return routes.list_all_response(routes.parse_list_query(query), array_response)


@blueprint.post("")
@endpoint(
    body=TaskText(),
    idempotency="stored_answer",
    status=201,
    returns=Task(),
    headers=("ETag", "Location"),
    problems=("quota_exceeded",),
)
def create_task_of_user(body: dict[str, Any]) -> Any:
    """Create a task; of its completion another request says."""
    return routes.created_response(service.create_task(g.actor, body))


@blueprint.put("/<id:task_id>")
@endpoint(
    body=TaskText(),
    conditions=("If-Match", "If-None-Match"),
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found", "task_in_trash", "quota_exceeded"),
)
def replace_text(task_id: str, body: dict[str, Any]) -> Any:
    """Replace title and description; an absent description becomes null.

    With `If-None-Match: *` the task is created, if there is none with this id.
    """
    return routes.put_response(task_id, body)
