"""The views of `/tasks`, and helpers that contract A shares."""

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
    ListETags,
    format_etag,
    has_if_match,
    is_create_only,
    is_current,
    not_modified,
    parse_if_match,
)
from taskapi.http.pagination import BATCH_SIZE, compose_page, list_response
from taskapi.http.payload import load
from taskapi.http.views import endpoint
from taskapi.tasks import reordering, service
from taskapi.tasks.exceptions import TaskChanged, TaskNotFound
from taskapi.tasks.listing import PageKey, TaskQuery, count_tasks, list_tasks, read_remaining
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

_REQUIRED_FOR_CREATION = TaskText(only=("title",), unknown=EXCLUDE)


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
    """List your tasks, with filters, sort order and pages.

    Without `limit` and `cursor`, the response has all matching tasks. With `limit`, it is a page:
    send `next_cursor` as `cursor`, with the same filters and sort order, to get the next page.
    `Link` has its URL. On the last page, `next_cursor` is null. A task that exists during the whole
    pagination and is not changed appears on exactly one page.
    """
    task_query = parse_list_query(query)
    if "limit" not in query and "cursor" not in query:
        return list_all_response(task_query, list_response)
    limit = query.get("limit", DEFAULT_LIMIT)
    scope = ("tasks", g.actor.user_id, task_query.sort, task_query.filters)
    after = PageKey(*cursors.read(query["cursor"], "cursor", *scope)) if "cursor" in query else None
    tags = ListETags(g.actor.user_id)
    page = list_tasks(g.actor, task_query, limit, after, tags.read_known_changes())
    headers = {"ETag": tags.as_of(page.last_change)}
    if page.tasks is None or tags.is_wildcard():
        return not_modified(headers["ETag"])
    cursor = None
    if page.next:
        cursor = cursors.write([*page.next], *scope)
        others = [item for item in request.args.items(multi=True) if item[0] != "cursor"]
        target = urlencode([*others, ("cursor", cursor)])
        headers["Link"] = f'<{request.script_root}{request.path}?{target}>; rel="next"'
    count_all = partial(count_tasks, g.actor, task_query) if "include" in query else None
    payload = compose_page(page.tasks, cursor, is_first=after is None, count_all=count_all)
    return json_response(payload, 200, headers)


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
    return created_response(service.create_task(g.actor, body))


@blueprint.get("/<id:task_id>")
@endpoint(
    conditions=("If-None-Match",), returns=Task(), headers=("ETag",), problems=("task_not_found",)
)
def get_task(task_id: str) -> Any:
    """Get a task."""
    task = service.get_task(g.actor, _parse_task_id(task_id))
    etag = format_etag(task["version"])
    return not_modified(etag) if is_current(etag) else _task_response(task)


@blueprint.put("/<id:task_id>")
@endpoint(
    body=TaskInput(partial=True),
    conditions=("If-Match", "If-None-Match"),
    returns=Task(),
    headers=("ETag",),
    problems=("task_not_found", "task_in_trash", "quota_exceeded"),
)
def replace_task(task_id: str, body: dict[str, Any]) -> Any:
    """Update the fields that are sent, or create a task with a client-generated id.

    An absent field keeps its value, null clears it. With `If-None-Match: *`, the request creates
    the task and fails if the id exists; `title` is then required.
    """
    return put_response(task_id, body)


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
    """Update some fields of a task (JSON Merge Patch, RFC 7396).

    An absent field keeps its value, null clears it.
    """
    return _task_response(
        service.update_task(g.actor, _parse_task_id(task_id), body, parse_if_match())
    )


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

    Without a body, the request toggles `completed`; `{"completed": true}` sets it idempotently.
    """
    completed = body.get("completed")
    return _task_response(
        service.complete_task(g.actor, _parse_task_id(task_id), completed, parse_if_match())
    )


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
    """Move a task before or after another one in the manual order (`sort=order`)."""
    before = "before" in body
    anchor = body["before"] if before else body["after"]
    task, renumbered = reordering.move_task(
        g.actor, _parse_task_id(task_id), anchor, before=before, versions=parse_if_match()
    )
    payload = {"task": task, "renumbered": renumbered}
    return json_response(payload, 200, {"ETag": format_etag(task["version"])})


@blueprint.delete("/<id:task_id>")
@endpoint(query=DeletionQuery(), conditions=("If-Match",), status=204, problems=("task_not_found",))
def delete_task(task_id: str, query: dict[str, Any]) -> Any:
    """Move a task to the trash, or delete it permanently with `permanent=true`."""
    permanent = query["permanent"]
    service.delete_task(g.actor, _parse_task_id(task_id), parse_if_match(), permanent=permanent)
    return no_content()


def put_response(task_id: str, body: dict[str, Any]) -> Response:
    """Update a task, or create it with `If-None-Match: *`; return the response of PUT.

    Raises `TaskChanged`, `TaskNotFound`, `TaskInTrash`, `TaskQuotaExceeded`, `ValidationFailed`.
    """
    if is_create_only() and has_if_match():
        detail = "If-Match and If-None-Match: * cannot both be met; send one of them."
        raise TaskChanged(detail, current=service.get_task(g.actor, _parse_task_id(task_id)))
    if is_create_only():
        load(_REQUIRED_FOR_CREATION, body)
        return created_response(service.create_task(g.actor, body, _parse_task_id(task_id)))
    return _task_response(
        service.update_task(g.actor, _parse_task_id(task_id), body, parse_if_match())
    )


def created_response(task: Row) -> Response:
    """Return the response 201 for a new task, with its `Location`."""
    path = request.path.rstrip("/")
    path = path if request.method == "POST" else path.rpartition("/")[0]
    return _task_response(task, 201, {"Location": f"{request.script_root}{path}/{task['id']}"})


def _parse_task_id(task_id: str) -> str:
    return parse_id(task_id, TaskNotFound)


def _task_response(task: Row, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    return json_response(task, status, {"ETag": format_etag(task["version"]), **headers})


def parse_list_query(query: dict[str, Any]) -> TaskQuery:
    """Return the filters and the sort order of validated query parameters, without the page."""
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
    return TaskQuery(filters, query["sort"])


def list_all_response(task_query: TaskQuery, respond: Callable[..., Response]) -> Response:
    """Return all matching tasks, or 304; `respond` streams them in batches."""
    tags = ListETags(g.actor.user_id)
    page = list_tasks(g.actor, task_query, BATCH_SIZE, None, tags.read_known_changes())
    headers = {"ETag": tags.as_of(page.last_change)}
    if page.tasks is None or tags.is_wildcard():
        return not_modified(headers["ETag"])
    return respond(page.tasks, read_remaining(g.actor, task_query, page, BATCH_SIZE), headers)
