"""Read, create, update, complete and delete single tasks.

With `versions`, a write takes effect only if the task's version is one of them.
"""

from __future__ import annotations

from typing import Any

import structlog
from flask import current_app
from sqlalchemy import ClauseElement, select
from uuid_utils import uuid7

from taskapi.db.execute import Actor, Row, execute, transaction
from taskapi.exceptions import SessionEnded
from taskapi.tasks import quota, sql
from taskapi.tasks.exceptions import TaskChanged, TaskExists, TaskInTrash, TaskNotFound
from taskapi.tasks.fields import DEFAULTS, WORDS
from taskapi.tasks.models import TrashedTask
from taskapi.tasks.words import fold

log = structlog.get_logger()


def get_task(actor: Actor, task_id: str) -> Row:
    """Return a task. Raises `TaskNotFound`."""
    found = execute(sql.GET, {"owner": actor.user_id, "task": task_id}, acting_as=actor)
    if not found:
        raise TaskNotFound
    return found[0]


def create_task(actor: Actor, fields: dict[str, Any], requested_id: str | None = None) -> Row:
    """Create a task with the client's `requested_id`, or with a new UUID (RFC 9562, version 7).

    Raises `TaskChanged` if the id exists, `TaskInTrash`, `TaskQuotaExceeded`, and `SessionEnded`
    if the account is being deleted concurrently.
    """
    task_id = requested_id or str(uuid7())
    statement = sql.insert_task(
        may_be_first=actor.session_id is None, has_requested_id=requested_id is not None
    )
    new = add_words({**DEFAULTS, **fields})
    values = {
        "owner": actor.user_id,
        "quota": quota.get_task_quota(),
        "new_id": task_id,
        **_prefix_new(new),
    }
    if requested_id is None:
        created = execute(statement, values, acting_as=actor)
        if not created:
            with transaction(acting_as=actor):
                quota.require_room(actor, 1)
                created = execute(statement, values, acting_as=actor)
    else:
        with transaction(acting_as=actor):
            execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
            created = execute(statement, values, acting_as=actor)
            if not created:
                raise_if_id_taken(actor, requested_id)
                quota.require_room(actor, 1)
                created = execute(statement, values, acting_as=actor)
    if not created:
        raise SessionEnded
    log.info("task_created", user_id=actor.user_id, task_id=task_id)
    return created[0]


def raise_if_id_taken(actor: Actor, task_id: str) -> None:
    """Raise `TaskInTrash` or `TaskChanged` if the id is taken in the trash or by a task."""
    in_trash = select(TrashedTask.id).where(
        TrashedTask.user_id == actor.user_id, TrashedTask.id == task_id
    )
    if execute(in_trash, acting_as=actor):
        raise TaskInTrash
    found = execute(sql.GET, {"owner": actor.user_id, "task": task_id}, acting_as=actor)
    if found:
        raise TaskChanged(TaskExists.message, current=found[0])


def update_task(
    actor: Actor, task_id: str, changes: dict[str, Any], versions: list[int] | None = None
) -> Row:
    """Update the fields in `changes` and return the task.

    Raises `TaskNotFound`, `TaskChanged`.
    """
    if not changes:
        task = get_task(actor, task_id)
        if versions is not None and task["version"] not in versions:
            raise TaskChanged(current=task)
        return task
    new = add_words(changes)
    statement = sql.update_task(frozenset(new), conditional=versions is not None)
    task = _execute_change(actor, task_id, statement, versions, _prefix_new(new))
    is_completion = "completed" in changes and task["completed"]
    _log_change(actor, task_id, is_completion=is_completion)
    return task


def complete_task(
    actor: Actor, task_id: str, completed: bool | None, versions: list[int] | None = None
) -> Row:
    """Complete or reopen a task, or toggle it if `completed` is None.

    Raises `TaskNotFound`, `TaskChanged`.
    """
    if completed is not None:
        return update_task(actor, task_id, {"completed": completed}, versions)
    statement = sql.toggle_completed(conditional=versions is not None)
    task = _execute_change(actor, task_id, statement, versions, {})
    _log_change(actor, task_id, is_completion=task["completed"])
    return task


def delete_task(
    actor: Actor, task_id: str, versions: list[int] | None = None, *, permanent: bool = False
) -> None:
    """Move a task to the trash, or delete it permanently, as always with `TRASH_DAYS=0`.

    Raises `TaskNotFound`, `TaskChanged`.
    """
    permanent = permanent or not current_app.config["TRASH_DAYS"]
    statement = sql.delete_task(conditional=versions is not None, permanent=permanent)
    _execute_change(actor, task_id, statement, versions, {})
    log.info("task_deleted", user_id=actor.user_id, task_id=task_id, for_good=permanent)


def add_words(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields together with the folded words of those that are searchable."""
    words = {column: fold(fields[name]) for column, name in WORDS.items() if name in fields}
    return {**fields, **words}


def _execute_change(
    actor: Actor,
    task_id: str,
    statement: ClauseElement,
    versions: list[int] | None,
    values: dict[str, Any],
) -> Row:
    key = {"owner": actor.user_id, "task": task_id}
    expected = {} if versions is None else {"versions": versions}
    changed = execute(statement, {**key, **expected, **values}, acting_as=actor)
    if not changed and versions is not None:
        raise TaskChanged(current=get_task(actor, task_id))
    if not changed:
        raise TaskNotFound
    return changed[0]


def _prefix_new(fields: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in fields.items()}


def _log_change(actor: Actor, task_id: str, *, is_completion: bool) -> None:
    event = "task_completed" if is_completion else "task_updated"
    log.info(event, user_id=actor.user_id, task_id=task_id)
