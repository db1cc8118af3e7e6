"""Build the statements that write tasks.

Each increments its owner's change counter before it touches a task. The number becomes the task's
version; the counter's row lock makes the numbers commit in order, and prevents deadlocks between
the writers of one user. The time of the change is read under the same lock, so that times
increase with versions.

Each statement is built once and executed with bind parameters: building it takes longer than
PostgreSQL takes to execute it.
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
    """The number of a change in its owner's change counter, and its time."""

    number: ColumnElement[int]
    time: ColumnElement[datetime]


def list_output_columns(table: Any) -> tuple[Any, ...]:
    """List the columns of `table` that make up a task in a response."""
    completed = table.completed_at.is_not(None).label("completed")
    fields = (completed if name == "completed" else getattr(table, name) for name in FIELDS)
    return (table.id, table.user_id, *fields, table.version)


COLUMNS = list_output_columns(Task)
TRASHED_NAMES = ("user_id", "id", *COLUMN_FIELDS, *WORDS)
"""The names of the columns that the trash keeps, and a restore brings back."""

DELETED_COLUMNS = (
    *(Task.__table__.c[name] for name in TRASHED_NAMES),
    (
        func.to_jsonb(literal_column("tasks"))
        - array([literal(column.name) for column in Task.__table__.c])
    ).label("other_columns"),
)
"""The columns that a statement deleting tasks returns for `write_tombstones`."""

OWNER = bindparam("owner", type_=Task.user_id.type)
IS_OWN = (Task.user_id == OWNER, Task.id == bindparam("task"))
_IS_MATCH = Task.version == func.any(bindparam("versions", type_=ARRAY(BigInteger)))
_QUOTA = bindparam("quota", type_=BigInteger())
_NEW_COMPLETED = bindparam("new_completed", type_=Boolean())


def next_change(by: Any = 1, *, may_be_first: bool = False, adding: Any = None) -> Change:
    """Build the increment of the change counter; `number` is that of the last of `by` changes.

    `adding` is the number of new tasks; if they exceed the quota, the counter returns no row and
    the statement changes nothing. `may_be_first` inserts the owner's row if it is missing: with
    `AUTH_MODE` external or path it exists from the first task on.
    """
    values = {"change_seq": User.change_seq + by}
    fits: list[ColumnElement[bool]] = []
    if adding is not None:
        values["task_count"] = User.task_count + adding
        # A write that adds no task succeeds above a lowered quota.
        fits = [User.task_count + adding <= func.greatest(User.task_count, _QUOTA)]
    counted: Insert | Update = update(User).where(User.id == OWNER, *fits).values(values)
    if may_be_first:
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


CHANGE = next_change()
_ONE = literal_column("1", BigInteger)


def _bind_new(name: str) -> BindParameter[Any]:
    """Make the bind parameter for the new value of a column."""
    return bindparam(f"new_{name}", type_=Task.__table__.c[name].type)


@cache
def insert_task(*, may_be_first: bool, has_requested_id: bool) -> ClauseElement:
    """Build the statement that inserts a task, or nothing if the requested id is taken."""
    change = next_change(_ONE, may_be_first=may_be_first, adding=_ONE)
    values = {
        "user_id": OWNER,
        **{name: _bind_new(name) for name in ("id", *STORED, *WORDS)},
        "completed_at": case((_NEW_COMPLETED, change.time)),
        "created_at": change.time,
        "updated_at": change.time,
        "version": change.number,
    }
    # Without a counter row, the account is being deleted, and nothing may be inserted.
    row = select(*values.values()).where(change.number.is_not(None))
    if has_requested_id:
        row = row.where(~_in_trash())
    new = insert(Task).from_select(list(values), row)
    if has_requested_id:
        new = new.on_conflict_do_nothing(index_elements=[Task.user_id, Task.id])
    return new.returning(*COLUMNS)


@cache
def update_task(names: frozenset[str], *, conditional: bool) -> Update:
    """Build the statement that sets columns, if `conditional` only for one of `versions`."""
    values: dict[str, Any] = {name: _bind_new(name) for name in names - {"completed"}}
    if "completed" in names:
        # A completed task keeps its time of completion.
        first = func.coalesce(Task.completed_at, CHANGE.time)
        values["completed_at"] = case((_NEW_COMPLETED, first))
    return _update_values(values, conditional=conditional)


@cache
def toggle_completed(*, conditional: bool) -> Update:
    """Build the statement that completes an open task and reopens a completed one."""
    toggled = case((Task.completed_at.is_(None), CHANGE.time))
    return _update_values({"completed_at": toggled}, conditional=conditional)


@cache
def delete_task(*, conditional: bool, permanent: bool) -> ClauseElement:
    """Build the statement that moves a task to the trash, or deletes it permanently."""
    deleted = (
        delete(Task)
        .where(*IS_OWN, *([_IS_MATCH] if conditional else []), CHANGE.number.is_not(None))
        .returning(*DELETED_COLUMNS)
        .cte("deleted")
    )
    parts = write_tombstones(deleted, CHANGE.number, CHANGE.time, permanent=permanent)
    return select(deleted.c.id).add_cte(*parts)


def write_tombstones(
    deleted: Any, number: ColumnElement[int], time: ColumnElement[datetime], *, permanent: bool
) -> list[Any]:
    """Build the CTEs that write tombstones, and trash unless `permanent`, for `deleted` rows.

    `number` and `time` are those of the deletion; `deleted` has the `DELETED_COLUMNS`.
    """
    tombstones = insert(Tombstone).from_select(
        ["user_id", "id", "version", "deleted_at"],
        select(deleted.c.user_id, deleted.c.id, number, time),
    )
    parts = [_upsert(tombstones, ["version", "deleted_at"]).cte("written_tombstones")]
    if not permanent:
        copied = [*TRASHED_NAMES, "other_columns"]
        names = [*copied, "version", "deleted_at"]
        trashed = insert(TrashedTask).from_select(
            names, select(*(deleted.c[name] for name in copied), number, time)
        )
        # The id is in the trash already if the client created the task again after deleting it.
        parts.append(_upsert(trashed, names[2:]).cte("trashed"))
    return parts


def _upsert(new: Insert, names: list[str]) -> Insert:
    return new.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={name: new.excluded[name] for name in names}
    )


def _update_values(values: dict[str, Any], *, conditional: bool) -> Update:
    return (
        update(Task)
        .where(*IS_OWN, *([_IS_MATCH] if conditional else []))
        .values(**values, updated_at=CHANGE.time, version=CHANGE.number)
        .returning(*COLUMNS)
    )


def _in_trash() -> ColumnElement[bool]:
    is_same = (TrashedTask.user_id == OWNER, TrashedTask.id == _bind_new("id"))
    return select(TrashedTask.id).where(*is_same).exists()


LOCK_OWNER = select(User.id).where(User.id == OWNER).with_for_update()
"""Locks the owner's row: later statements of the transaction see the previous writers' commits."""

LOCK_COUNT = select(User.task_count).where(User.id == OWNER).with_for_update()
"""Locks as `LOCK_OWNER` does; the count may be too high, and is never too low."""

RECOUNT = (
    update(User)
    .where(User.id == OWNER)
    .values(
        task_count=select(func.count()).where(Task.user_id == OWNER).scalar_subquery()
        + select(func.count()).where(TrashedTask.user_id == OWNER).scalar_subquery()
    )
    .returning(User.task_count)
)

GET = select(*COLUMNS).where(*IS_OWN)


def _match_ids(model: type[Content]) -> tuple[ColumnElement[bool], ...]:
    ids = bindparam("ids", type_=ARRAY(Uuid(as_uuid=False)))
    return (model.user_id == OWNER, model.id == func.any(ids))


FIND = select(*COLUMNS).where(*_match_ids(Task))
FIND_IN_TRASH = select(TrashedTask.id).where(*_match_ids(TrashedTask))
