"""The views of `/trash`."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import g

from taskapi.http import cursors
from taskapi.http.app import Section, json_response, no_content, parse_id
from taskapi.http.etags import format_etag
from taskapi.http.pagination import BATCH_SIZE, compose_page, list_response
from taskapi.http.views import endpoint
from taskapi.tasks.exceptions import TaskNotFound
from taskapi.tasks.listing import PageKey
from taskapi.tasks.schemas import DEFAULT_LIMIT, PageQuery, Task
from taskapi.trash import service
from taskapi.trash.schemas import Trash

blueprint = Section("trash", __name__, "Deleted tasks.", "/trash")

_NOT_IN_TRASH = {"task_not_found": {"detail": service.NOT_IN_TRASH}}


@blueprint.get("")
@endpoint(query=PageQuery(), returns=Trash())
def list_trash(query: dict[str, Any]) -> Any:
    """List your deleted tasks, latest deletion first: all of them, or pages with `limit`."""
    if "limit" not in query and "cursor" not in query:
        tasks, last = service.list_trash(g.actor, BATCH_SIZE, None)
        return list_response(tasks, service.read_remaining(g.actor, last, BATCH_SIZE), {})
    scope = ("trash", g.actor.user_id)
    after = None
    if "cursor" in query:
        after = PageKey(*cursors.read(query["cursor"], "cursor", *scope))
    tasks, last = service.list_trash(g.actor, query.get("limit", DEFAULT_LIMIT), after)
    cursor = cursors.write([*last], *scope) if last else None
    count_all = partial(service.count_trash, g.actor) if "include" in query else None
    return json_response(compose_page(tasks, cursor, is_first=after is None, count_all=count_all))


@blueprint.post("/<id:task_id>/restore")
@endpoint(
    idempotency="stored_answer",
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found", "task_exists"),
    problem_members=_NOT_IN_TRASH,
)
def restore_task(task_id: str) -> Any:
    """Restore a task with its id, as a change in the change feed."""
    task = service.restore_task(g.actor, parse_id(task_id, TaskNotFound))
    return json_response(task, 200, {"ETag": format_etag(task["version"])})


@blueprint.delete("/<id:task_id>")
@endpoint(status=204, problems=("task_not_found",), problem_members=_NOT_IN_TRASH)
def delete_for_good(task_id: str) -> Any:
    """Delete a task permanently."""
    service.delete_for_good(g.actor, parse_id(task_id, TaskNotFound))
    return no_content()


@blueprint.delete("")
@endpoint(status=204)
def empty_trash() -> Any:
    """Delete all tasks in the trash permanently."""
    service.empty_trash(g.actor)
    return no_content()
