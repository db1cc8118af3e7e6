"""Changes in the order of their owner's counter.

The counter's row is locked until a change is committed, so whoever sees a number sees all
below it: a reader that goes on behind the last number it saw misses nothing, whatever is
written meanwhile.
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

_NONE_YET: Final = 2**62  # No counter gets here.


class Position(NamedTuple):
    """How far a reader has come.

    `change` is the number of the last change that they know. They began with the tasks as
    of the change `began`: of what was deleted before that they never heard.
    """

    change: int
    began: int


class Feed(NamedTuple):
    """Some changes, and how far they lead."""

    changes: list[dict[str, Any]]
    position: Position
    has_more: bool


def read_changes(actor: Actor, since: Position | None, limit: int) -> Feed:
    """Return what has changed since then, or to begin with all tasks.

    Raises `SyncReset` where it is not known any more what was deleted since, or where the
    database is older than what the reader knows.
    """
    change, began = since or Position(0, _NONE_YET)
    values = {
        "owner": actor.user_id,
        "since": change,
        "deleted_since": max(change, began),
        "count": limit + 1,
    }
    rows = execute(_CHANGES, values, acting_as=actor)
    # Whose accounts are elsewhere has no row here before their first task.
    last_change, floor = (rows[0]["change_seq"], rows[0]["feed_floor"]) if rows else (0, 0)
    if since and (max(change, began) > last_change or max(change, began) < floor):
        raise SyncReset
    found = [row for row in rows if row["id"] is not None]
    has_more = len(found) > limit
    # All that there is leads up to the last change, whether it left a trace or not.
    change = found[limit - 1]["version"] if has_more else last_change
    position = Position(change, since.began if since else last_change)
    return Feed([_describe(row) for row in found[:limit]], position, has_more)


def _describe(row: Row) -> dict[str, Any]:
    if row["deleted_at"]:
        return {"op": "delete", "id": row["id"], "deleted_at": row["deleted_at"]}
    return {"op": "upsert", "task": {name: row[name] for name in _NAMES}}


def _changes() -> ClauseElement:
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
_CHANGES: Final = _changes()
