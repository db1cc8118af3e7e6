"""Tasks: the only place that touches their table.

Every write is one statement, which takes the next number of its owner's change counter
before it touches a task: that number is the task's version, the counter's row lock makes
the numbers commit in order, and no two writes can wait for each other in a circle. The time
of the change is read behind the same lock, so that times follow versions.

The statements are made once and sent with other values each time: making one takes longer
than PostgreSQL does to answer it.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import structlog
from sqlalchemy import (
    BindParameter,
    Boolean,
    ClauseElement,
    ColumnElement,
    Delete,
    Integer,
    Update,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from uuid_utils import uuid7

from taskapi.auth.models import User
from taskapi.database import Actor, Row, execute
from taskapi.exceptions import SessionEnded, TaskNotFound
from taskapi.tasks.models import Task

log = structlog.get_logger()


class Change(NamedTuple):
    """The number of a change among those of its owner, and when it was its turn."""

    number: ColumnElement[int]
    time: ColumnElement[datetime]


def list_tasks(actor: Actor, limit: int, after: str | None) -> tuple[list[Row], str | None]:
    """Return a page of the newest tasks, and the task that the next page comes after."""
    values = {"owner": actor.user_id, "count": limit + 1, "after": after}
    statement = _FIRST_PAGE if after is None else _NEXT_PAGE
    tasks = execute(statement, values, acting_as=actor)
    there_is_more = len(tasks) > limit
    return tasks[:limit], tasks[limit - 1]["id"] if there_is_more else None


def get_task(actor: Actor, task_id: str) -> Row:
    """Return one task. Raises `TaskNotFound`."""
    values = {"owner": actor.user_id, "task": task_id}
    return _the_only(execute(_GET, values, acting_as=actor))


def create_task(
    actor: Actor,
    title: str,
    description: str | None = None,
    completed: bool = False,
    order: int = 0,
) -> Row:
    """Add a task. Raises `SessionEnded` where the account is being deleted at this moment."""
    values = {
        "owner": actor.user_id,
        "new_id": str(uuid7()),
        "new_title": title,
        "new_description": description,
        "new_completed": completed,
        "new_order": order,
    }
    # Whose accounts are elsewhere has a row here from the first task on.
    statement = _CREATE if actor.session_id else _CREATE_PERHAPS_THE_FIRST
    created = execute(statement, values, acting_as=actor)
    if not created:
        raise SessionEnded
    [task] = created
    log.info("task_created", user_id=actor.user_id, task_id=task["id"])
    return task


def update_task(actor: Actor, task_id: str, changes: dict[str, Any]) -> Row:
    """Change the fields that `changes` names, and no others. Raises `TaskNotFound`."""
    if not changes:
        return get_task(actor, task_id)
    statement = _setting(frozenset(changes))
    task = _change(actor, task_id, statement, {f"new_{name}": changes[name] for name in changes})
    is_completion = "completed" in changes and task["completed"]
    _log_change(actor, task_id, is_completion=is_completion)
    return task


def complete_task(actor: Actor, task_id: str, completed: bool | None) -> Row:
    """Complete a task, reopen it, or with None do the other. Raises `TaskNotFound`."""
    if completed is not None:
        return update_task(actor, task_id, {"completed": completed})
    task = _change(actor, task_id, _FLIP, {})
    _log_change(actor, task_id, is_completion=task["completed"])
    return task


def delete_task(actor: Actor, task_id: str) -> None:
    """Delete a task. Raises `TaskNotFound`."""
    _change(actor, task_id, _DELETE, {})
    log.info("task_deleted", user_id=actor.user_id, task_id=task_id)


def _change(actor: Actor, task_id: str, statement: Update | Delete, values: dict[str, Any]) -> Row:
    whose = {"owner": actor.user_id, "task": task_id}
    return _the_only(execute(statement, {**whose, **values}, acting_as=actor))


def _the_only(tasks: list[Row]) -> Row:
    if not tasks:
        raise TaskNotFound
    return tasks[0]


def _log_change(actor: Actor, task_id: str, *, is_completion: bool) -> None:
    event = "task_completed" if is_completion else "task_updated"
    log.info(event, user_id=actor.user_id, task_id=task_id)


def _next_change(counted: Insert | Update) -> Change:
    counter = counted.returning(User.change_seq, func.clock_timestamp().label("time")).cte(
        "counter"
    )
    return Change(
        select(counter.c.change_seq).scalar_subquery(), select(counter.c.time).scalar_subquery()
    )


def _new(name: str) -> BindParameter[Any]:
    """Stand for the value that a column is to have."""
    return bindparam(f"new_{name}", type_=Task.__table__.c[name].type)


def _creating(change: Change) -> ClauseElement:
    values = {
        Task.id: _new("id"),
        Task.user_id: bindparam("owner", type_=Task.user_id.type),
        Task.title: _new("title"),
        Task.description: _new("description"),
        Task.completed_at: case((_NEW_COMPLETED, change.time)),
        Task.order: _new("order"),
        Task.created_at: change.time,
        Task.updated_at: change.time,
        Task.version: change.number,
    }
    # From the counter, so that whose account is being deleted at this moment adds nothing.
    row = select(*values.values()).where(change.number.is_not(None))
    return insert(Task).from_select(list(values), row).returning(*_COLUMNS)


@cache
def _setting(names: frozenset[str]) -> Update:
    """Make the statement that sets these fields."""
    values: dict[str, Any] = {name: _new(name) for name in names - {"completed"}}
    if "completed" in names:
        # A completed task keeps its first time.
        first = func.coalesce(Task.completed_at, _CHANGE.time)
        values["completed_at"] = case((_NEW_COMPLETED, first))
    return _updating(values)


def _updating(values: dict[str, Any]) -> Update:
    return (
        update(Task)
        .where(*_IS_OWN)
        .values(**values, updated_at=_CHANGE.time, version=_CHANGE.number)
        .returning(*_COLUMNS)
    )


_COLUMNS = (
    *(Task.id, Task.user_id, Task.title, Task.description),
    *(Task.completed_at.is_not(None).label("completed"), Task.completed_at),
    *(Task.order, Task.created_at, Task.updated_at, Task.version),
)
_NEW_COMPLETED = bindparam("new_completed", type_=Boolean())
_IS_OWN = (Task.user_id == bindparam("owner"), Task.id == bindparam("task"))
_CHANGE = _next_change(
    update(User).where(User.id == bindparam("owner")).values(change_seq=User.change_seq + 1)
)
_FIRST_CHANGE = _next_change(
    insert(User)
    .values(id=bindparam("owner", type_=User.id.type), change_seq=1)
    .on_conflict_do_update(index_elements=[User.id], set_={"change_seq": User.change_seq + 1})
)

_GET = select(*_COLUMNS).where(*_IS_OWN)
_FIRST_PAGE = (
    select(*_COLUMNS)
    .where(Task.user_id == bindparam("owner"))
    .order_by(Task.id.desc())
    .limit(bindparam("count", type_=Integer()))
)
_NEXT_PAGE = _FIRST_PAGE.where(Task.id < bindparam("after"))
_CREATE = _creating(_CHANGE)
_CREATE_PERHAPS_THE_FIRST = _creating(_FIRST_CHANGE)
_FLIP = _updating({"completed_at": case((Task.completed_at.is_(None), _CHANGE.time))})
_DELETE = delete(Task).where(*_IS_OWN, _CHANGE.number.is_not(None)).returning(Task.id)
