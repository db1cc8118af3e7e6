"""Tasks: /tasks for whoever the token belongs to, /api/{user_id}/tasks by their name.

The second is contract A, which has no partial update and a list without pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Response, g, request
from marshmallow import EXCLUDE

from taskapi.db.execute import Row
from taskapi.http import cursors
from taskapi.http.app import Section, json_response, no_content, parse_id
from taskapi.http.etags import (
    ListTag,
    has_read,
    has_version,
    not_modified,
    tag,
    wanted_versions,
    wants_new,
)
from taskapi.http.pagination import BATCH, list_response, page_of
from taskapi.http.payload import load
from taskapi.http.views import endpoint
from taskapi.tasks import moving, service
from taskapi.tasks.exceptions import TaskChanged, TaskNotFound
from taskapi.tasks.listing import Place, Wanted, count_tasks, list_tasks, read_rest
from taskapi.tasks.schemas import (
    DEFAULT_LIMIT,
    EXAMPLE_COMPLETION,
    EXAMPLE_PATCH,
    Completion,
    DeletionQuery,
    Move,
    MovedTask,
    Task,
    TaskInput,
    TaskList,
    TaskListQuery,
    TaskText,
)

blueprint = Section("tasks", __name__, "Your tasks.", "/tasks")

_NEEDED = TaskText(only=("title",), unknown=EXCLUDE)


@blueprint.get("")
@endpoint(
    query=TaskListQuery(),
    search_parameter="q",
    conditions=("If-None-Match",),
    returns=TaskList(),
    headers=("ETag", "Link"),
    problems=("search_timeout",),
)
def get_tasks(query: dict[str, Any]) -> Any:
    """List your tasks: filtered, sorted, all of them or page by page.

    Without `limit` and `cursor` all tasks that match are answered. With `limit` the answer is a
    page: `next_cursor` fetches the page that follows, with the same filters and sort; it is null
    on the last one, and `Link` has the URL. A task that exists from the first page to the
    last, and is not changed meanwhile, is on exactly one of them.
    """
    wanted = parse_list_query(query)
    if "limit" not in query and "cursor" not in query:
        return list_all(wanted, list_response)
    limit = query.get("limit", DEFAULT_LIMIT)
    scope = ("tasks", g.actor.user_id, wanted.sort, wanted.filters)
    after = Place(*cursors.read(query["cursor"], "cursor", *scope)) if "cursor" in query else None
    tags = ListTag(g.actor.user_id)
    page = list_tasks(g.actor, wanted, limit, after, tags.changes_read())
    headers = {"ETag": tags.as_of(page.last_change)}
    if page.tasks is None or tags.is_any_read():
        return not_modified(headers["ETag"])
    cursor = None
    if page.next:
        cursor = cursors.write([*page.next], *scope)
        others = [item for item in request.args.items(multi=True) if item[0] != "cursor"]
        target = urlencode([*others, ("cursor", cursor)])
        headers["Link"] = f'<{request.script_root}{request.path}?{target}>; rel="next"'
    count_all = partial(count_tasks, g.actor, wanted) if "include" in query else None
    answer = page_of(page.tasks, cursor, is_first=after is None, count_all=count_all)
    return json_response(answer, 200, headers)


@blueprint.post("")
@endpoint(
    body=TaskInput(),
    idempotency="stored_answer",
    status=201,
    returns=Task(),
    headers=("ETag", "Location"),
    problems=("quota_exceeded",),
)
def create_task(body: dict[str, Any]) -> Any:
    """Create a task."""
    return created(service.create_task(g.actor, body))


@blueprint.get("/<id:task_id>")
@endpoint(
    conditions=("If-None-Match",), returns=Task(), headers=("ETag",), problems=("task_not_found",)
)
def get_task(task_id: str) -> Any:
    """Get one task."""
    task = service.get_task(g.actor, _parse(task_id))
    etag = tag(task["version"])
    return not_modified(etag) if has_read(etag) else _answer(task)


@blueprint.put("/<id:task_id>")
@endpoint(
    body=TaskInput(partial=True),
    conditions=("If-Match", "If-None-Match"),
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found", "task_in_trash", "quota_exceeded"),
)
def replace_task(task_id: str, body: dict[str, Any]) -> Any:
    """Replace the fields that are sent, or create a task under an id of your own.

    Absent keeps, null clears. With `If-None-Match: *` the task is created, if there is none with
    this id; then `title` is required.
    """
    return replace(task_id, body)


@blueprint.patch("/<id:task_id>")
@endpoint(
    body=TaskInput(partial=True),
    request_example=EXAMPLE_PATCH,
    conditions=("If-Match",),
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found",),
    response_example=EXAMPLE_PATCH,
)
def patch_task(task_id: str, body: dict[str, Any]) -> Any:
    """Change some fields (JSON merge patch, RFC 7396): absent keeps, null clears."""
    return _answer(service.update_task(g.actor, _parse(task_id), body, wanted_versions()))


@blueprint.patch("/<id:task_id>/complete")
@endpoint(
    body=Completion(),
    body_is_optional=True,
    idempotency="stored_answer",
    conditions=("If-Match",),
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found",),
    response_example=EXAMPLE_COMPLETION,
)
def complete_task(task_id: str, body: dict[str, Any]) -> Any:
    """Complete or reopen a task.

    Without a body it flips; `{"completed": true}` sets it and is safe to send again.
    """
    completed = body.get("completed")
    return _answer(service.complete_task(g.actor, _parse(task_id), completed, wanted_versions()))


@blueprint.post("/<id:task_id>/move")
@endpoint(
    body=Move(),
    idempotency="stored_answer",
    conditions=("If-Match",),
    returns=MovedTask(),
    headers=("ETag",),
    problems=("task_not_found", "no_room"),
    response_example={"renumbered": []},
)
def move_task(task_id: str, body: dict[str, Any]) -> Any:
    """Put a task before or after another one in the list by `sort=order`."""
    before = "before" in body
    anchor = body["before"] if before else body["after"]
    task, renumbered = moving.move_task(
        g.actor, _parse(task_id), anchor, before=before, versions=wanted_versions()
    )
    answer = {"task": task, "renumbered": renumbered}
    return json_response(answer, 200, {"ETag": tag(task["version"])})


@blueprint.delete("/<id:task_id>")
@endpoint(query=DeletionQuery(), conditions=("If-Match",), status=204, problems=("task_not_found",))
def delete_task(task_id: str, query: dict[str, Any]) -> Any:
    """Move a task to the trash, or with `permanent=true` delete it for good."""
    permanent = query["permanent"]
    service.delete_task(g.actor, _parse(task_id), wanted_versions(), for_good=permanent)
    return no_content()


def replace(task_id: str, body: dict[str, Any]) -> Response:
    """Change a task, or with `If-None-Match: *` create it."""
    if wants_new() and has_version():
        detail = "If-Match and If-None-Match: * cannot both be met; send one of them."
        raise TaskChanged(detail, current=service.get_task(g.actor, _parse(task_id)))
    if wants_new():
        load(_NEEDED, body)
        return created(service.create_task(g.actor, body, _parse(task_id)))
    return _answer(service.update_task(g.actor, _parse(task_id), body, wanted_versions()))


def created(task: Row) -> Response:
    """Answer a new task with its Location."""
    path = request.path.rstrip("/")
    path = path if request.method == "POST" else path.rpartition("/")[0]
    return _answer(task, 201, {"Location": f"{request.script_root}{path}/{task['id']}"})


def _parse(task_id: str) -> str:
    return parse_id(task_id, TaskNotFound)


def _answer(task: Row, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    return json_response(task, status, {"ETag": tag(task["version"]), **headers})


def parse_list_query(query: dict[str, Any]) -> Wanted:
    """Return the filters and the sort of a list; all but what says which page."""
    filters: dict[str, Any] = {}
    for name, value in query.items():
        match name:
            case "sort" | "limit" | "cursor" | "include":
                pass
            case "completed":
                filters["completed" if value else "open"] = True
            case "q":
                filters["patterns"] = value
            case _:
                filters[name] = value
    return Wanted(filters, query["sort"])


def list_all(wanted: Wanted, respond: Callable[..., Response]) -> Response:
    """Answer all tasks that match, streamed in batches."""
    tags = ListTag(g.actor.user_id)
    page = list_tasks(g.actor, wanted, BATCH, None, tags.changes_read())
    headers = {"ETag": tags.as_of(page.last_change)}
    if page.tasks is None or tags.is_any_read():
        return not_modified(headers["ETag"])
    return respond(page.tasks, read_rest(g.actor, wanted, page, BATCH), headers)
