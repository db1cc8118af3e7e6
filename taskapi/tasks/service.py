"""Tasks: the only place that touches their table.

Every write is one statement, which takes the next number of its owner's change counter
before it touches a task: that number is the task's version, the counter's row lock makes
the numbers commit in order, and no two writes can wait for each other in a circle. The time
of the change is read behind the same lock, so that times follow versions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import (
    ColumnElement,
    Update,
    case,
    delete,
    func,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from uuid_utils.compat import uuid7

from taskapi.auth.models import User
from taskapi.database import Actor, execute
from taskapi.exceptions import SessionEnded, TaskNotFound
from taskapi.tasks.models import Task

_COLUMNS = (
    *(Task.id, Task.user_id, Task.title, Task.description),
    *(Task.completed_at.is_not(None).label("completed"), Task.completed_at),
    *(Task.order, Task.created_at, Task.updated_at, Task.version),
)


class Change(NamedTuple):
    """The number of a change among those of its owner, and when it was its turn."""

    number: ColumnElement[int]
    time: ColumnElement[datetime]


log = structlog.get_logger()


def list_tasks(
    actor: Actor, limit: int, after: UUID | None
) -> tuple[list[dict[str, Any]], UUID | None]:
    """Return a page of the newest tasks, and the task that the next page comes after."""
    page = select(*_COLUMNS).where(Task.user_id == actor.user_id)
    if after is not None:
        page = page.where(Task.id < after)
    tasks = execute(page.order_by(Task.id.desc()).limit(limit + 1), acting_as=actor)
    there_is_more = len(tasks) > limit
    return tasks[:limit], tasks[limit - 1]["id"] if there_is_more else None


def get_task(actor: Actor, task_id: UUID) -> dict[str, Any]:
    """Return one task. Raises `TaskNotFound`."""
    statement = select(*_COLUMNS).where(*_is_own(actor, task_id))
    return _the_only(execute(statement, acting_as=actor))


def create_task(
    actor: Actor,
    title: str,
    description: str | None = None,
    completed: bool = False,
    order: int = 0,
) -> dict[str, Any]:
    """Add a task."""
    change = _next_change(actor, may_be_first=True)
    values = {
        Task.id: literal(uuid7(), Task.id.type),
        Task.user_id: literal(actor.user_id),
        Task.title: literal(title),
        Task.description: literal(description, Task.description.type),
        Task.completed_at: change.time if completed else null(),
        Task.order: literal(order),
        Task.created_at: change.time,
        Task.updated_at: change.time,
        Task.version: change.number,
    }
    # From the counter, so that whose account is being deleted at this moment adds nothing.
    row = select(*values.values()).where(change.number.is_not(None))
    created = execute(
        insert(Task).from_select(list(values), row).returning(*_COLUMNS), acting_as=actor
    )
    if not created:
        raise SessionEnded
    [task] = created
    log.info("task_created", user_id=actor.user_id, task_id=task["id"])
    return task


def update_task(actor: Actor, task_id: UUID, changes: dict[str, Any]) -> dict[str, Any]:
    """Change the fields that `changes` names, and no others. Raises `TaskNotFound`."""
    if not changes:
        return get_task(actor, task_id)
    change, values = _next_change(actor), dict(changes)
    if "completed" in values:
        values["completed_at"] = _completed_at(values.pop("completed"), change)
    return _update(actor, task_id, change, values)


def complete_task(actor: Actor, task_id: UUID, completed: bool | None) -> dict[str, Any]:
    """Complete a task, reopen it, or with None do the other. Raises `TaskNotFound`."""
    change = _next_change(actor)
    return _update(actor, task_id, change, {"completed_at": _completed_at(completed, change)})


def delete_task(actor: Actor, task_id: UUID) -> None:
    """Delete a task. Raises `TaskNotFound`."""
    _the_only(
        execute(
            delete(Task)
            .where(*_is_own(actor, task_id), _next_change(actor).number.is_not(None))
            .returning(Task.id),
            acting_as=actor,
        )
    )
    log.info("task_deleted", user_id=actor.user_id, task_id=task_id)


def _update(actor: Actor, task_id: UUID, change: Change, values: dict[str, Any]) -> dict[str, Any]:
    task = _the_only(
        execute(
            update(Task)
            .where(*_is_own(actor, task_id))
            .values(**values, updated_at=change.time, version=change.number)
            .returning(*_COLUMNS),
            acting_as=actor,
        )
    )
    event = "task_completed" if "completed_at" in values and task["completed"] else "task_updated"
    log.info(event, user_id=actor.user_id, task_id=task_id)
    return task


def _is_own(actor: Actor, task_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return Task.user_id == actor.user_id, Task.id == task_id


def _next_change(actor: Actor, *, may_be_first: bool = False) -> Change:
    counted: Insert | Update = (
        update(User).where(User.id == actor.user_id).values(change_seq=User.change_seq + 1)
    )
    if may_be_first and actor.session_id is None:
        # Whose accounts are elsewhere has a row here from the first task on.
        counted = (
            insert(User)
            .values(id=actor.user_id, change_seq=1)
            .on_conflict_do_update(
                index_elements=[User.id], set_={"change_seq": User.change_seq + 1}
            )
        )
    counter = counted.returning(User.change_seq, func.clock_timestamp().label("time")).cte(
        "counter"
    )
    return Change(
        select(counter.c.change_seq).scalar_subquery(), select(counter.c.time).scalar_subquery()
    )


def _completed_at(completed: bool | None, change: Change) -> ColumnElement[Any]:
    """Say when the task was completed: a completed task keeps its first time."""
    if completed is None:
        return case((Task.completed_at.is_(None), change.time), else_=null())
    return func.coalesce(Task.completed_at, change.time) if completed else null()


def _the_only(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    if not tasks:
        raise TaskNotFound
    return tasks[0]
