"""The statements that write tasks.

Each takes the next number of its owner's change counter before it touches a task: that
number is the task's version, the counter's row lock makes the numbers commit in order, and
no two writes can wait for each other in a circle. The time of the change is read behind the
same lock, so that times follow versions.

They are made once and sent with other values each time: making one takes longer than
PostgreSQL does to answer it.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Boolean,
    ClauseElement,
    ColumnElement,
    Update,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, array, insert

from taskapi.auth.models import User
from taskapi.tasks.fields import COLUMN_FIELDS, FIELDS, STORED, WORDS
from taskapi.tasks.models import Content, Task, Tombstone, TrashedTask


class Change(NamedTuple):
    """The number of a change among those of its owner, and when it was its turn."""

    number: ColumnElement[int]
    time: ColumnElement[datetime]


def shown(kind: Any) -> tuple[Any, ...]:
    """Name the columns that are answered of a task."""
    completed = kind.completed_at.is_not(None).label("completed")
    fields = (completed if name == "completed" else getattr(kind, name) for name in FIELDS)
    return (kind.id, kind.user_id, *fields, kind.version)


COLUMNS = shown(Task)
KEPT = ("user_id", "id", *COLUMN_FIELDS, *WORDS)
"""What of a task is kept in the trash, and comes back from there."""

LEAVING = (
    *(Task.__table__.c[name] for name in KEPT),
    (
        func.to_jsonb(literal_column("tasks"))
        - array([literal(column.name) for column in Task.__table__.c])
    ).label("other_columns"),
)
"""What a statement that deletes tasks returns for `burying`."""

OWNER = bindparam("owner", type_=Task.user_id.type)
IS_OWN = (Task.user_id == OWNER, Task.id == bindparam("task"))
_IS_MATCH = Task.version == func.any(bindparam("versions", type_=ARRAY(BigInteger)))
_QUOTA = bindparam("quota", type_=BigInteger())
_NEW_COMPLETED = bindparam("new_completed", type_=Boolean())


def changing(by: Any = 1, *, perhaps_first: bool = False, adding: Any = None) -> Change:
    """Count the changes of a statement; the number is that of the last of them.

    `adding` is the number of new tasks; beyond the quota nothing is counted, and the statement
    does nothing. Whose accounts are elsewhere has a row here from the first task on.
    """
    values = {"change_seq": User.change_seq + by}
    fits: list[ColumnElement[bool]] = []
    if adding is not None:
        values["task_count"] = User.task_count + adding
        # What adds nothing goes on above a quota that has been lowered.
        fits = [User.task_count + adding <= func.greatest(User.task_count, _QUOTA)]
    counted: Insert | Update = update(User).where(User.id == OWNER, *fits).values(values)
    if perhaps_first:
        first_change = func.taskapi_first_change(type_=BigInteger)
        first = select(OWNER, first_change + by, adding).where(adding <= _QUOTA)
        counted = (
            insert(User)
            .from_select(["id", *values], first)
            .on_conflict_do_update(index_elements=[User.id], set_=values, where=fits[0])
        )
    counter = counted.returning(User.change_seq, func.clock_timestamp().label("time")).cte(
        "counter"
    )
    return Change(
        select(counter.c.change_seq).scalar_subquery(), select(counter.c.time).scalar_subquery()
    )


CHANGE = changing()
_ONE = literal_column("1", BigInteger)


def _new(name: str) -> BindParameter[Any]:
    """Stand for the value that a column is to have."""
    return bindparam(f"new_{name}", type_=Task.__table__.c[name].type)


@cache
def creating(*, perhaps_first: bool, named_by_client: bool) -> ClauseElement:
    """Make the statement that adds a task; an id that is taken already adds nothing."""
    change = changing(_ONE, perhaps_first=perhaps_first, adding=_ONE)
    values = {
        "user_id": OWNER,
        **{name: _new(name) for name in ("id", *STORED, *WORDS)},
        "completed_at": case((_NEW_COMPLETED, change.time)),
        "created_at": change.time,
        "updated_at": change.time,
        "version": change.number,
    }
    # From the counter, so that whose account is being deleted at this moment adds nothing.
    row = select(*values.values()).where(change.number.is_not(None))
    if named_by_client:
        row = row.where(~_in_trash())
    new = insert(Task).from_select(list(values), row)
    if named_by_client:
        new = new.on_conflict_do_nothing(index_elements=[Task.user_id, Task.id])
    return new.returning(*COLUMNS)


@cache
def setting(names: frozenset[str], *, conditional: bool) -> Update:
    """Make the statement that sets these columns, if the version is one of `versions`."""
    values: dict[str, Any] = {name: _new(name) for name in names - {"completed"}}
    if "completed" in names:
        # A completed task keeps its first time.
        first = func.coalesce(Task.completed_at, CHANGE.time)
        values["completed_at"] = case((_NEW_COMPLETED, first))
    return _updating(values, conditional=conditional)


@cache
def flipping(*, conditional: bool) -> Update:
    """Make the statement that completes an open task and reopens a completed one."""
    flipped = case((Task.completed_at.is_(None), CHANGE.time))
    return _updating({"completed_at": flipped}, conditional=conditional)


@cache
def deleting(*, conditional: bool, for_good: bool) -> ClauseElement:
    """Make the statement that moves a task to the trash, or deletes it for good."""
    gone = (
        delete(Task)
        .where(*IS_OWN, *([_IS_MATCH] if conditional else []), CHANGE.number.is_not(None))
        .returning(*LEAVING)
        .cte("gone")
    )
    parts = burying(gone, CHANGE.number, CHANGE.time, for_good=for_good)
    return select(gone.c.id).add_cte(*parts)


def burying(
    gone: Any, number: ColumnElement[int], time: ColumnElement[datetime], *, for_good: bool
) -> list[Any]:
    """Make the parts of a statement that keep what it has deleted."""
    buried = insert(Tombstone).from_select(
        ["user_id", "id", "version", "deleted_at"],
        select(gone.c.user_id, gone.c.id, number, time),
    )
    parts = [_replacing(buried, ["version", "deleted_at"]).cte("buried")]
    if not for_good:
        names = [*KEPT, "other_columns"]
        kept = [*names, "version", "deleted_at"]
        trashed = insert(TrashedTask).from_select(
            kept, select(*(gone.c[name] for name in names), number, time)
        )
        # An id can be in the trash already only where somebody created it anew meanwhile.
        parts.append(_replacing(trashed, kept[2:]).cte("trashed"))
    return parts


def _replacing(new: Insert, names: list[str]) -> Insert:
    return new.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={name: new.excluded[name] for name in names}
    )


def _updating(values: dict[str, Any], *, conditional: bool) -> Update:
    return (
        update(Task)
        .where(*IS_OWN, *([_IS_MATCH] if conditional else []))
        .values(**values, updated_at=CHANGE.time, version=CHANGE.number)
        .returning(*COLUMNS)
    )


def _in_trash() -> ColumnElement[bool]:
    is_same = (TrashedTask.user_id == OWNER, TrashedTask.id == _new("id"))
    return select(TrashedTask.id).where(*is_same).exists()


LOCK_OWNER = select(User.id).where(User.id == OWNER).with_for_update()
"""Waits for whoever else writes for this owner; the statements that follow see what they did."""

LOCK_COUNT = select(User.task_count).where(User.id == OWNER).with_for_update()
"""Waits as `LOCK_OWNER` does; the count may be too high, and is never too low."""

COUNT_ANEW = (
    update(User)
    .where(User.id == OWNER)
    .values(
        task_count=select(func.count()).where(Task.user_id == OWNER).scalar_subquery()
        + select(func.count()).where(TrashedTask.user_id == OWNER).scalar_subquery()
    )
    .returning(User.task_count)
)

GET = select(*COLUMNS).where(*IS_OWN)


def _any_of(kind: type[Content]) -> tuple[ColumnElement[bool], ...]:
    ids = bindparam("ids", type_=ARRAY(Uuid(as_uuid=False)))
    return (kind.user_id == OWNER, kind.id == func.any(ids))


FIND = select(*COLUMNS).where(*_any_of(Task))
FIND_IN_TRASH = select(TrashedTask.id).where(*_any_of(TrashedTask))
