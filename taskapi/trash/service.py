"""List, restore and permanently delete the tasks in the trash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import structlog
from psycopg2.errors import UniqueViolation
from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Integer,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB

from taskapi.auth.models import User
from taskapi.db.execute import Actor, Row, execute
from taskapi.tasks.exceptions import TaskExists, TaskNotFound
from taskapi.tasks.list_statements import COUNTERS
from taskapi.tasks.listing import PageKey, validate_cursor_change
from taskapi.tasks.models import Task, Tombstone, TrashedTask
from taskapi.tasks.sql import CHANGE, OWNER, list_output_columns

log = structlog.get_logger()


def list_trash(actor: Actor, limit: int, after: PageKey | None) -> tuple[list[Row], PageKey | None]:
    """Return a page of deleted tasks, latest first, and the key of the next page or None.

    Raises `ValidationFailed` if `after` comes from an earlier incarnation.
    """
    values: dict[str, Any] = {"owner": actor.user_id, "count": limit + 1}
    if after:
        values |= {"after_time": after.key, "after_id": after.id}
    found = execute(_NEXT_PAGE if after else _FIRST_PAGE, values, acting_as=actor)
    last_change, floor = (found[0]["change_seq"], found[0]["feed_floor"]) if found else (0, 0)
    if after:
        validate_cursor_change(after.last_change, last_change, floor)
    if found and found[0]["id"] is None:
        found = []
    for row in found:
        del row["change_seq"], row["feed_floor"]
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], PageKey(last["deleted_at"], last["id"], last_change)


def read_remaining(actor: Actor, last: PageKey | None, size: int) -> Iterator[list[Row]] | None:
    """Return a lazy iterator over the pages after `last`, `size` tasks each; None without any."""
    return None if last is None else _read_pages(actor, last, size)


def _read_pages(actor: Actor, last: PageKey | None, size: int) -> Iterator[list[Row]]:
    while last is not None:
        tasks, last = list_trash(actor, size, last)
        yield tasks


def count_trash(actor: Actor) -> int:
    """Return the number of tasks in the trash."""
    [row] = execute(_COUNT, {"owner": actor.user_id}, acting_as=actor)
    return int(row["total"])


def restore_task(actor: Actor, task_id: str) -> Row:
    """Restore a task, as a change of it. Raises `TaskNotFound`, `TaskExists`."""
    try:
        restored = execute(_RESTORE, {"owner": actor.user_id, "task": task_id}, acting_as=actor)
    except UniqueViolation:
        raise TaskExists from None
    if not restored:
        raise TaskNotFound(NOT_IN_TRASH)
    log.info("task_restored", user_id=actor.user_id, task_id=task_id)
    return restored[0]


def delete_for_good(actor: Actor, task_id: str) -> None:
    """Delete a task in the trash permanently. Raises `TaskNotFound`."""
    if not execute(_DELETE, {"owner": actor.user_id, "task": task_id}, acting_as=actor):
        raise TaskNotFound(NOT_IN_TRASH)
    log.info("task_deleted_for_good", user_id=actor.user_id, task_id=task_id)


def empty_trash(actor: Actor) -> None:
    """Delete all tasks in the trash permanently."""
    deleted = execute(_EMPTY, {"owner": actor.user_id}, acting_as=actor)
    log.info("trash_emptied", user_id=actor.user_id, tasks=len(deleted))


def _restore() -> ClauseElement:
    # Like every write, it locks the change counter first, so writers of one user cannot deadlock.
    deleted = (
        delete(TrashedTask)
        .where(*_IS_OWN, CHANGE.number.is_not(None))
        .returning(
            *(TrashedTask.user_id, TrashedTask.id, TrashedTask.other_columns),
            func.to_jsonb(literal_column("trash")).label("columns"),
        )
        .cte("deleted")
    )
    change = func.jsonb_build_object("updated_at", CHANGE.time, "version", CHANGE.number)
    row = deleted.c.columns.op("||")(deleted.c.other_columns).op("||")(change)
    # An SQL function, since a later release may have added columns unknown to this one.
    restored = (
        func.taskapi_insert_task(row, type_=JSONB())
        .table_valued(*(Column(column.name, column.type) for column in Task.__table__.c))
        .alias("restored")
        .lateral()
    )
    # The task exists again, so the change feed must not report its deletion.
    revoked = delete(Tombstone).where(
        Tombstone.user_id == deleted.c.user_id, Tombstone.id == deleted.c.id
    )
    return (
        select(*list_output_columns(restored.c))
        .select_from(deleted, restored)
        .add_cte(revoked.cte("revoked"))
    )


NOT_IN_TRASH: Final = "There is no task with this id in your trash."
_IS_OWN = (TrashedTask.user_id == OWNER, TrashedTask.id == bindparam("task"))


def _select_page(*after: ColumnElement[bool]) -> ClauseElement:
    page = (
        select(*list_output_columns(TrashedTask), TrashedTask.deleted_at)
        .where(TrashedTask.user_id == OWNER, *after)
        .order_by(TrashedTask.deleted_at.desc(), TrashedTask.id.desc())
        .limit(bindparam("count", type_=Integer()))
        .subquery("page")
    )
    # The counters tell whether the database has been restored since the previous page.
    return (
        select(page, *COUNTERS)
        .select_from(User)
        .outerjoin(page, true())
        .where(User.id == OWNER)
        .order_by(page.c.deleted_at.desc(), page.c.id.desc())
    )


_FIRST_PAGE = _select_page()
_NEXT_PAGE = _select_page(
    tuple_(TrashedTask.deleted_at, TrashedTask.id)
    < tuple_(
        bindparam("after_time", type_=TrashedTask.deleted_at.type),
        bindparam("after_id", type_=TrashedTask.id.type),
    )
)
_COUNT = (
    select(func.count().label("total")).select_from(TrashedTask).where(TrashedTask.user_id == OWNER)
)
_RESTORE = _restore()
_DELETE = delete(TrashedTask).where(*_IS_OWN).returning(TrashedTask.id)
_EMPTY = (
    delete(TrashedTask)
    .where(TrashedTask.user_id == OWNER, CHANGE.number.is_not(None))
    .returning(TrashedTask.id)
)
