"""One task at a time: read, created, changed, deleted.

Where `versions` is given, a write takes place only if the task's version is one of them.
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
from taskapi.tasks.words import folded

log = structlog.get_logger()


def get_task(actor: Actor, task_id: str) -> Row:
    """Return one task. Raises `TaskNotFound`."""
    found = execute(sql.GET, {"owner": actor.user_id, "task": task_id}, acting_as=actor)
    if not found:
        raise TaskNotFound
    return found[0]


def create_task(actor: Actor, fields: dict[str, Any], named: str | None = None) -> Row:
    """Add a task, under an id that the client has made or one of ours.

    Raises `TaskChanged` where there is one with this id, `TaskInTrash`, `TaskQuotaExceeded`, and
    `SessionEnded` where the account is being deleted at this moment.
    """
    task_id = named or str(uuid7())
    statement = sql.creating(
        perhaps_first=actor.session_id is None, named_by_client=named is not None
    )
    new = stored({**DEFAULTS, **fields})
    values = {
        "owner": actor.user_id,
        "quota": quota.tasks_per_user(),
        "new_id": task_id,
        **_as_new(new),
    }
    if named is None:
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
                refuse_taken_id(actor, named)
                quota.require_room(actor, 1)
                created = execute(statement, values, acting_as=actor)
    if not created:
        raise SessionEnded
    log.info("task_created", user_id=actor.user_id, task_id=task_id)
    return created[0]


def refuse_taken_id(actor: Actor, task_id: str) -> None:
    """Say why there can be no new task with this id. Raises `TaskChanged`, `TaskInTrash`."""
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
    """Change the fields that `changes` names, and no others.

    Raises `TaskNotFound`, `TaskChanged`.
    """
    if not changes:
        task = get_task(actor, task_id)
        if versions is not None and task["version"] not in versions:
            raise TaskChanged(current=task)
        return task
    new = stored(changes)
    statement = sql.setting(frozenset(new), conditional=versions is not None)
    task = _change(actor, task_id, statement, versions, _as_new(new))
    is_completion = "completed" in changes and task["completed"]
    _log_change(actor, task_id, is_completion=is_completion)
    return task


def complete_task(
    actor: Actor, task_id: str, completed: bool | None, versions: list[int] | None = None
) -> Row:
    """Complete a task, reopen it, or with None do the other.

    Raises `TaskNotFound`, `TaskChanged`.
    """
    if completed is not None:
        return update_task(actor, task_id, {"completed": completed}, versions)
    statement = sql.flipping(conditional=versions is not None)
    task = _change(actor, task_id, statement, versions, {})
    _log_change(actor, task_id, is_completion=task["completed"])
    return task


def delete_task(
    actor: Actor, task_id: str, versions: list[int] | None = None, *, for_good: bool = False
) -> None:
    """Move a task to the trash, or delete it `for_good`. Raises `TaskNotFound`, `TaskChanged`."""
    for_good = for_good or not current_app.config["TRASH_DAYS"]
    statement = sql.deleting(conditional=versions is not None, for_good=for_good)
    _change(actor, task_id, statement, versions, {})
    log.info("task_deleted", user_id=actor.user_id, task_id=task_id, for_good=for_good)


def stored(fields: dict[str, Any]) -> dict[str, Any]:
    """Add to a task's fields what is stored of their words."""
    words = {column: folded(fields[name]) for column, name in WORDS.items() if name in fields}
    return {**fields, **words}


def _change(
    actor: Actor,
    task_id: str,
    statement: ClauseElement,
    versions: list[int] | None,
    values: dict[str, Any],
) -> Row:
    whose = {"owner": actor.user_id, "task": task_id}
    expected = {} if versions is None else {"versions": versions}
    changed = execute(statement, {**whose, **expected, **values}, acting_as=actor)
    if not changed and versions is not None:
        raise TaskChanged(current=get_task(actor, task_id))
    if not changed:
        raise TaskNotFound
    return changed[0]


def _as_new(fields: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in fields.items()}


def _log_change(actor: Actor, task_id: str, *, is_completion: bool) -> None:
    event = "task_completed" if is_completion else "task_updated"
    log.info(event, user_id=actor.user_id, task_id=task_id)
