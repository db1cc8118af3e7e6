"""Export and import: everything out, and in what is not here yet."""

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

MOST: Final = 10_000
"""How many tasks may come in one file."""

_BATCH: Final = 500  # tasks in a statement, and in memory while they are sent
_OLDEST_FIRST: Final = TaskQuery({}, "created_at")

_PATIENCE_SECONDS: Final = 1.0
_READING: Final = Lock()

log = structlog.get_logger()


def export_tasks(actor: Actor) -> tuple[list[Row], Iterator[list[Row]]]:
    """Return the first tasks, the oldest first, and read the others as they are asked for."""
    first = list_tasks(actor, _OLDEST_FIRST, _BATCH, None)
    return first.tasks or [], read_remaining(actor, _OLDEST_FIRST, first, _BATCH) or iter(())


def import_tasks(
    actor: Actor,
    said: Iterable[Any],
    schema: ImportedTask,
    *,
    dry_run: bool,
    deduplicate: bool = False,
) -> list[Row]:
    """Add the tasks that are not here yet; return what became of each.

    `schema` validates each of them. With `deduplicate` the id of a task that has none follows
    from its fields. Raises `ValidationFailed` where there are more than `MOST`,
    or what is read cannot be.
    """
    with _one_at_a_time():
        identify = _DerivedIds(actor.user_id) if deduplicate else _new_id
        report, wanted = _read_all(said, schema, identify, dry_run=dry_run)
    with transaction(acting_as=actor):
        if actor.session_id is None:
            execute(_PROVIDE_OWNER, {"owner": actor.user_id}, acting_as=actor)
        # Whoever else imports waits here, and then sees what has been added.
        execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
        _add(actor, wanted, dry_run=dry_run)
    created = sum(line["status"] == "created" for line in report)
    if not dry_run:
        log.info("tasks_imported", user_id=actor.user_id, rows=len(report), created=created)
    return report


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Read one file at a time in this process, since each takes a second and much memory."""
    if not _READING.acquire(timeout=_PATIENCE_SECONDS):
        raise Busy("Another file is being imported. Try again in a moment.")
    try:
        yield
    finally:
        _READING.release()


class _DerivedIds:
    """Ids that follow from a task's fields: UUIDs of version 8 (RFC 9562, 5.8), of a SHA-256.

    Of equal tasks in a file the first, the second and so on have ids of their own.
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


def _new_id(_task: dict[str, Any]) -> str:
    return str(uuid7())


def _read_all(
    said: Iterable[Any],
    schema: ImportedTask,
    identify: Callable[[dict[str, Any]], str],
    *,
    dry_run: bool,
) -> tuple[list[Row], list[tuple[Row, dict[str, Any]]]]:
    """Return a line of the report for each task, and with it those that can be added."""
    report: list[Row] = []
    wanted: list[tuple[Row, dict[str, Any]]] = []
    budget = ErrorBudget()
    for number, one in enumerate(said, 1):
        if number > MOST:
            detail = f"There are more than {MOST} tasks; send them in several files."
            raise ValidationFailed([FieldError("", "too_many", detail)])
        line: Row = {"row": number, "status": "created"}
        report.append(line)
        try:
            task = _read(one, schema, identify, budget.limit)
        except ValidationFailed as refusal:
            line |= {"status": "refused", **budget.spend(refusal).members}
            refusal.__traceback__ = None  # The frame that raised what a reader made holds it.
        else:
            # What a trial would make is made anew the next time.
            if not dry_run or "id" in one or identify is not _new_id:
                line["id"] = task["id"]
            # Here, and not while the owner's other writes wait.
            wanted.append((line, task if dry_run else add_words(task)))
    return report, wanted


def _read(
    said: Any, schema: ImportedTask, identify: Callable[[dict[str, Any]], str], limit: int
) -> dict[str, Any]:
    if isinstance(said, ValidationFailed):
        raise said
    task = load(schema, said, limit=limit)
    if task.get("completed_at"):
        task["completed"] = True
    return task if "id" in task else {"id": identify(task), **task}


def _add(actor: Actor, wanted: list[tuple[Row, dict[str, Any]]], *, dry_run: bool) -> None:
    known: dict[str, str] = {}
    ids = {"owner": actor.user_id, "ids": [task["id"] for _, task in wanted]}
    for row in execute(_KNOWN, ids, acting_as=actor):
        known[row["id"]] = row["status"]
    new = []
    for line, task in wanted:
        line["status"] = known.get(task["id"], "created")
        if line["status"] == "created":
            known[task["id"]] = "exists"  # For whoever has the same id further down.
            new.append(task)
    quota.require_room(actor, len(new))
    for start in range(0, 0 if dry_run else len(new), _BATCH):
        batch = [{"place": place, **task} for place, task in enumerate(new[start:][:_BATCH], 1)]
        values = {
            "owner": actor.user_id,
            "quota": quota.get_task_quota(),
            "count": len(batch),
            "tasks": orjson.dumps(batch).decode(),
        }
        execute(_ADD, values, acting_as=actor)


def _adding() -> ClauseElement:
    count = bindparam("count", type_=BigInteger())
    change = sql.next_change(by=count, adding=count)
    time = DateTime(timezone=True)
    said = (
        func.jsonb_to_recordset(bindparam("tasks", type_=JSONB()))
        .table_valued(
            *(Column("place", Integer), Column("id", Uuid(as_uuid=False))),
            *record_columns(),
            *(Column(name, time) for name in IMPORTED),
        )
        .render_derived("said", with_types=True)
        .c
    )
    values = {
        "user_id": sql.OWNER,
        "id": said.id,
        **record_values(said),
        "completed_at": case((said.completed, func.coalesce(said.completed_at, change.time))),
        "created_at": func.coalesce(said.created_at, change.time),
        "updated_at": change.time,
        "version": change.number - count + said.place,
    }
    rows = select(*values.values()).where(change.number.is_not(None))
    return insert(Task).from_select(list(values), rows)


_IDS = bindparam("ids", type_=ARRAY(Uuid(as_uuid=False)))
_ADD = _adding()
_PROVIDE_OWNER = insert(User).values(id=sql.OWNER).on_conflict_do_nothing()
_KNOWN: Final[ClauseElement] = union_all(
    *(
        select(kind.id, literal_column(f"'{status}'").label("status")).where(
            kind.user_id == sql.OWNER, kind.id == func.any(_IDS)
        )
        for kind, status in ((Task, "exists"), (TrashedTask, "in_trash"))
    )
)
