"""Read the change feed in the order of the owner's change counter.

Every write locks the counter's row until it commits, so a reader that sees a number also sees all
lower ones. A client that continues after the last number misses no change, even during concurrent
writes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Integer,
    bindparam,
    cast,
    null,
    select,
    true,
    union_all,
)

from taskapi.auth.models import User
from taskapi.changes.exceptions import SyncReset
from taskapi.db.execute import Actor, Row, execute
from taskapi.tasks.models import Task, Tombstone
from taskapi.tasks.sql import COLUMNS, OWNER

_NO_CHANGE: Final = 2**62  # Above every change counter.


class Position(NamedTuple):
    """The position of a client in the feed.

    `change` is the number of the last change that the client has read. `began` is the change
    counter at the client's first request: its copy never had the tasks deleted before.
    """

    change: int
    began: int


class Feed(NamedTuple):
    """A page of the feed: changes, the position after them, and whether more are available."""

    changes: list[dict[str, Any]]
    position: Position
    has_more: bool


def read_changes(actor: Actor, since: Position | None, limit: int) -> Feed:
    """Return at most `limit` changes after `since`, or from None on all tasks.

    Raises `SyncReset` if tombstones after `since` have been purged, or if the database has been
    restored to a state before it.
    """
    change, began = since or Position(0, _NO_CHANGE)
    values = {
        "owner": actor.user_id,
        "since": change,
        "deleted_since": max(change, began),
        "count": limit + 1,
    }
    rows = execute(_CHANGES, values, acting_as=actor)
    # With AUTH_MODE external or path, a user has no row before the first task.
    last_change, floor = (rows[0]["change_seq"], rows[0]["feed_floor"]) if rows else (0, 0)
    if since and (max(change, began) > last_change or max(change, began) < floor):
        raise SyncReset
    found = [row for row in rows if row["id"] is not None]
    has_more = len(found) > limit
    # The last page ends at the change counter, even if the last changes left no row.
    change = found[limit - 1]["version"] if has_more else last_change
    position = Position(change, since.began if since else last_change)
    return Feed([_describe(row) for row in found[:limit]], position, has_more)


def _describe(row: Row) -> dict[str, Any]:
    if row["deleted_at"]:
        return {"op": "delete", "id": row["id"], "deleted_at": row["deleted_at"]}
    return {"op": "upsert", "task": {name: row[name] for name in _NAMES}}


def _select_changes() -> ClauseElement:
    count = bindparam("count", type_=Integer())
    deleted_at = Tombstone.__table__.c.deleted_at
    written = (
        select(*COLUMNS, cast(null(), deleted_at.type).label("deleted_at"))
        .where(Task.user_id == OWNER, Task.version > bindparam("since", type_=BigInteger()))
        .order_by(Task.version)
        .limit(count)
        .subquery("written")
    )
    known = {"id": Tombstone.id, "user_id": Tombstone.user_id, "version": Tombstone.version}
    deleted = (
        select(
            *(
                known.get(column.name, cast(null(), column.type)).label(column.name)
                for column in COLUMNS
            ),
            deleted_at,
        )
        .where(
            Tombstone.user_id == OWNER,
            Tombstone.version > bindparam("deleted_since", type_=BigInteger()),
        )
        .order_by(Tombstone.version)
        .limit(count)
        .subquery("deleted")
    )
    both = union_all(written.select(), deleted.select()).subquery("both")
    first = both.select().order_by(both.c.version).limit(count).subquery("first")
    return (
        select(first, User.change_seq, User.feed_floor)
        .select_from(User)
        .outerjoin(first, true())
        .where(User.id == OWNER)
        .order_by(first.c.version)
    )


_NAMES: Final = tuple(column.name for column in COLUMNS)
_CHANGES: Final = _select_changes()
