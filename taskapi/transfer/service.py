"""Export all tasks, and import the tasks that do not exist yet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ClauseElement,
    Column,
    DateTime,
    Integer,
    Uuid,
    bindparam,
    case,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from uuid_utils import uuid7

from taskapi.auth.models import User
from taskapi.db.execute import Actor, Row, execute, transaction
from taskapi.exceptions import Busy, ErrorBudget, FieldError, ValidationFailed
from taskapi.http.payload import load
from taskapi.tasks import quota, sql
from taskapi.tasks.fields import IMPORTED
from taskapi.tasks.listing import TaskQuery, list_tasks, read_remaining
from taskapi.tasks.models import Task, TrashedTask
from taskapi.tasks.records import record_columns, record_values
from taskapi.tasks.service import add_words
from taskapi.transfer.schemas import ImportedTask

MAX_TASKS_PER_FILE: Final = 10_000

_BATCH_SIZE: Final = 500
"""The number of tasks in a statement, and in memory during an export."""

_OLDEST_FIRST: Final = TaskQuery({}, "created_at")

_LOCK_TIMEOUT_SECONDS: Final = 1.0
_READ_LOCK: Final = Lock()

log = structlog.get_logger()


def export_tasks(actor: Actor) -> tuple[list[Row], Iterator[list[Row]]]:
    """Return the first batch of tasks, oldest first, and a lazy iterator over the others."""
    first = list_tasks(actor, _OLDEST_FIRST, _BATCH_SIZE, None)
    return first.tasks or [], read_remaining(actor, _OLDEST_FIRST, first, _BATCH_SIZE) or iter(())


def import_tasks(
    actor: Actor,
    items: Iterable[Any],
    schema: ImportedTask,
    *,
    dry_run: bool,
    deduplicate: bool = False,
) -> list[Row]:
    """Import the tasks that do not exist yet; return a row of the report for each item.

    `schema` validates the items; an item may be the `ValidationFailed` of its row. With
    `deduplicate`, missing ids are derived from the fields. Raises `Busy`, `TaskQuotaExceeded`, and
    `ValidationFailed` if the file is invalid or has more than `MAX_TASKS_PER_FILE` tasks.
    """
    with _exclusive_read():
        identify = _DerivedIds(actor.user_id) if deduplicate else _generate_id
        report, accepted = _load_all(items, schema, identify, dry_run=dry_run)
    with transaction(acting_as=actor):
        if actor.session_id is None:
            execute(_PROVIDE_OWNER, {"owner": actor.user_id}, acting_as=actor)
        # Concurrent imports of this user wait here, and then see the committed tasks.
        execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
        _insert_new(actor, accepted, dry_run=dry_run)
    created = sum(line["status"] == "created" for line in report)
    if not dry_run:
        log.info("tasks_imported", user_id=actor.user_id, rows=len(report), created=created)
    return report


@contextmanager
def _exclusive_read() -> Iterator[None]:
    """Read one file at a time per process, since each takes a second and much memory."""
    if not _READ_LOCK.acquire(timeout=_LOCK_TIMEOUT_SECONDS):
        raise Busy("Another file is being imported. Try again in a moment.")
    try:
        yield
    finally:
        _READ_LOCK.release()


class _DerivedIds:
    """Derive ids from a task's fields: UUIDs of version 8 (RFC 9562, 5.8) from a SHA-256 digest.

    Equal tasks of a file are numbered, so that each has an id of its own.
    """

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self._seen: Counter[bytes] = Counter()

    def __call__(self, task: dict[str, Any]) -> str:
        fields = orjson.dumps([self._user_id, task], option=orjson.OPT_SORT_KEYS)
        content = hashlib.sha256(fields).digest()
        self._seen[content] += 1
        digest = hashlib.sha256(content + b"%d" % self._seen[content]).digest()
        number = int.from_bytes(digest[:16])
        number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
        return str(UUID(int=number))


def _generate_id(_task: dict[str, Any]) -> str:
    return str(uuid7())


def _load_all(
    items: Iterable[Any],
    schema: ImportedTask,
    identify: Callable[[dict[str, Any]], str],
    *,
    dry_run: bool,
) -> tuple[list[Row], list[tuple[Row, dict[str, Any]]]]:
    """Return the report with a row for each item, and the valid tasks with their rows."""
    report: list[Row] = []
    accepted: list[tuple[Row, dict[str, Any]]] = []
    budget = ErrorBudget()
    for number, item in enumerate(items, 1):
        if number > MAX_TASKS_PER_FILE:
            detail = f"There are more than {MAX_TASKS_PER_FILE} tasks; send them in several files."
            raise ValidationFailed([FieldError("", "too_many", detail)])
        line: Row = {"row": number, "status": "created"}
        report.append(line)
        try:
            task = _load_task(item, schema, identify, budget.limit)
        except ValidationFailed as error:
            line |= {"status": "refused", **budget.spend(error).members}
            error.__traceback__ = None  # Its frames hold the error, a reference cycle.
        else:
            # A dry run reports no generated id, since the import would generate another one.
            if not dry_run or "id" in item or identify is not _generate_id:
                line["id"] = task["id"]
            # Words are folded here, outside the transaction that blocks the owner's other writes.
            accepted.append((line, task if dry_run else add_words(task)))
    return report, accepted


def _load_task(
    item: Any, schema: ImportedTask, identify: Callable[[dict[str, Any]], str], limit: int
) -> dict[str, Any]:
    if isinstance(item, ValidationFailed):
        raise item
    task = load(schema, item, limit=limit)
    if task.get("completed_at"):
        task["completed"] = True
    return task if "id" in task else {"id": identify(task), **task}


def _insert_new(actor: Actor, accepted: list[tuple[Row, dict[str, Any]]], *, dry_run: bool) -> None:
    known: dict[str, str] = {}
    ids = {"owner": actor.user_id, "ids": [task["id"] for _, task in accepted]}
    for row in execute(_KNOWN, ids, acting_as=actor):
        known[row["id"]] = row["status"]
    new = []
    for line, task in accepted:
        line["status"] = known.get(task["id"], "created")
        if line["status"] == "created":
            known[task["id"]] = "exists"  # For later items of the file with the same id.
            new.append(task)
    quota.require_room(actor, len(new))
    for start in range(0, 0 if dry_run else len(new), _BATCH_SIZE):
        batch = [
            {"position": position, **task}
            for position, task in enumerate(new[start:][:_BATCH_SIZE], 1)
        ]
        values = {
            "owner": actor.user_id,
            "quota": quota.get_task_quota(),
            "count": len(batch),
            "tasks": orjson.dumps(batch).decode(),
        }
        execute(_INSERT, values, acting_as=actor)


def _insert_tasks() -> ClauseElement:
    count = bindparam("count", type_=BigInteger())
    change = sql.next_change(by=count, adding=count)
    time = DateTime(timezone=True)
    record = (
        func.jsonb_to_recordset(bindparam("tasks", type_=JSONB()))
        .table_valued(
            *(Column("position", Integer), Column("id", Uuid(as_uuid=False))),
            *record_columns(),
            *(Column(name, time) for name in IMPORTED),
        )
        .render_derived("record", with_types=True)
        .c
    )
    values = {
        "user_id": sql.OWNER,
        "id": record.id,
        **record_values(record),
        "completed_at": case((record.completed, func.coalesce(record.completed_at, change.time))),
        "created_at": func.coalesce(record.created_at, change.time),
        "updated_at": change.time,
        "version": change.number - count + record.position,
    }
    rows = select(*values.values()).where(change.number.is_not(None))
    return insert(Task).from_select(list(values), rows)


_IDS = bindparam("ids", type_=ARRAY(Uuid(as_uuid=False)))
_INSERT = _insert_tasks()
_PROVIDE_OWNER = insert(User).values(id=sql.OWNER).on_conflict_do_nothing()
_KNOWN: Final[ClauseElement] = union_all(
    *(
        select(kind.id, literal_column(f"'{status}'").label("status")).where(
            kind.user_id == sql.OWNER, kind.id == func.any(_IDS)
        )
        for kind, status in ((Task, "exists"), (TrashedTask, "in_trash"))
    )
)
