"""The view of the change feed, `/tasks/changes`."""

from __future__ import annotations

import time
from typing import Any

from flask import g

from taskapi.changes.long_poll import wait_for_change
from taskapi.changes.schemas import Changes, ChangesQuery
from taskapi.changes.service import Position, read_changes
from taskapi.http import cursors
from taskapi.http.app import Section, json_response
from taskapi.http.views import endpoint

_RETRY_AFTER_SECONDS = "5"  # while all slots for long polls are taken

blueprint = Section(
    "changes", __name__, "The change feed, to synchronize a copy.", "/tasks/changes"
)


@blueprint.get("")
@endpoint(
    query=ChangesQuery(), returns=Changes(), headers=("Retry-After",), problems=("sync_reset",)
)
def get_changes(query: dict[str, Any]) -> Any:
    """List the changes since a position of the feed, in order.

    Without `since`, the response has all tasks, as a first copy. Store `next` and send it as
    `since` to continue. An `upsert` adds or replaces the task in the copy; a `delete` removes it
    if it is there. With `wait`, the response comes when a change occurs or the time is over; while
    too many clients wait, it comes at once, with `Retry-After`.
    """
    scope = ("changes", g.actor.user_id)
    since = Position(*cursors.read(query["since"], "since", *scope)) if "since" in query else None
    headers = {}
    deadline = time.monotonic() + query["wait"]
    feed = read_changes(g.actor, since, query["limit"])
    while not feed.changes and since and (remaining := deadline - time.monotonic()) > 0:
        if not wait_for_change(g.actor.user_id, feed.position.change, remaining):
            headers["Retry-After"] = _RETRY_AFTER_SECONDS
            break
        feed = read_changes(g.actor, feed.position, query["limit"])
    cursor = cursors.write([*feed.position], *scope)
    return json_response(
        {"changes": feed.changes, "next": cursor, "has_more": feed.has_more}, 200, headers
    )
