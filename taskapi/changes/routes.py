"""The change feed of whoever the token belongs to."""

from __future__ import annotations

import time
from typing import Any

from flask import g

from taskapi.changes.schemas import Changes, ChangesQuery
from taskapi.changes.service import Position, read_changes
from taskapi.changes.waiting import wait_for_change
from taskapi.http import cursors
from taskapi.http.app import Section, json_response
from taskapi.http.views import endpoint

_COME_AGAIN = "5"  # seconds, where there was no seat to wait on

blueprint = Section(
    "changes", __name__, "What a device that was away has missed.", "/tasks/changes"
)


@blueprint.get("")
@endpoint(
    query=ChangesQuery(), returns=Changes(), headers=("Retry-After",), problems=("sync_reset",)
)
def get_changes(query: dict[str, Any]) -> Any:
    """List what has changed since your copy was made, in the order of the changes.

    Without `since` all tasks come, to begin a copy with. Keep `next`, and send it as `since`
    to go on. An `upsert` replaces the task in the copy, or adds it; a `delete` removes it, if
    it is there. With `wait` the answer comes when something changes, or when the time is
    over; while too many wait, it comes at once, with `Retry-After`.
    """
    scope = ("changes", g.actor.user_id)
    since = Position(*cursors.read(query["since"], "since", *scope)) if "since" in query else None
    headers = {}
    deadline = time.monotonic() + query["wait"]
    feed = read_changes(g.actor, since, query["limit"])
    while not feed.changes and since and (remaining := deadline - time.monotonic()) > 0:
        if not wait_for_change(g.actor.user_id, feed.position.change, remaining):
            headers["Retry-After"] = _COME_AGAIN
            break
        feed = read_changes(g.actor, feed.position, query["limit"])
    cursor = cursors.write([*feed.position], *scope)
    return json_response(
        {"changes": feed.changes, "next": cursor, "has_more": feed.has_more}, 200, headers
    )
