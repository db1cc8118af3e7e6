"""Batches: as many operations in one statement as can be.

Operations on different tasks do not see each other, so that one statement does all of them.
Where a task comes again, or one is moved, what came before must have been done: there a new
statement begins, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, Final

import orjson
import structlog
from flask import current_app
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ClauseElement,
    Column,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    delete,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from uuid_utils import uuid7

from taskapi.batch.schemas import Operation
from taskapi.database import Actor, Row, execute, transaction
from taskapi.exceptions import SessionEnded, TaskapiError, TaskNotFound, ValidationFailed
from taskapi.tasks import moving, service, sql
from taskapi.tasks.models import Task, TrashedTask

Outcome = Row | TaskapiError | None
"""The task after an operation, None where it is gone, or why the operation was refused."""

log = structlog.get_logger()


def run_batch(
    actor: Actor, operations: Sequence[Operation | ValidationFailed], *, atomic: bool
) -> list[Outcome]:
    """Run operations in their order and return what became of each.

    With `atomic` the first refusal is raised, with its `index`, and nothing is done.
    """
    outcomes: list[Outcome] = [
        one if isinstance(one, ValidationFailed) else None for one in operations
    ]
    _refuse_all(outcomes, atomic=atomic)
    waves = list(_waves(operations))
    together = atomic or len(waves) > 1
    with transaction(acting_as=actor) if together else nullcontext():
        for wave in waves:
            for index, outcome in _run(actor, wave).items():
                outcomes[index] = outcome
            _refuse_all(outcomes, atomic=atomic)
    refused = sum(isinstance(outcome, TaskapiError) for outcome in outcomes)
    log.info("batch_done", user_id=actor.user_id, operations=len(operations), refused=refused)
    return outcomes


def _refuse_all(outcomes: Sequence[Outcome], *, atomic: bool) -> None:
    for index, outcome in enumerate(outcomes):
        if atomic and isinstance(outcome, TaskapiError):
            outcome.members["index"] = index
            raise outcome


def _waves(
    operations: Sequence[Operation | ValidationFailed],
) -> Iterator[dict[int, Operation]]:
    """Part the operations where one must see what another has done."""
    wave: dict[int, Operation] = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, ValidationFailed):
            continue
        is_alone = operation.op == "move" or (operation.op == "update" and not operation.data)
        ids = {one.id for one in wave.values()}
        if wave and (is_alone or operation.id in ids - {None}):
            yield wave
            wave = {}
        wave[index] = operation
        if is_alone:
            yield wave
            wave = {}
    if wave:
        yield wave


def _run(actor: Actor, wave: dict[int, Operation]) -> dict[int, Outcome]:
    [first, *others] = wave.items()
    if not others and first[1].op in ("move", "update"):
        return {first[0]: _run_alone(actor, first[1])}
    named = {index: one if one.id else one._replace(id=str(uuid7())) for index, one in wave.items()}
    rows = execute(
        _batch(
            perhaps_first=actor.session_id is None,
            for_good=not current_app.config["TRASH_DAYS"],
        ),
        {
            "owner": actor.user_id,
            "count": len(named),
            "operations": orjson.dumps(
                [_as_row(place, one) for place, one in enumerate(named.values(), 1)]
            ).decode(),
        },
        acting_as=actor,
    )
    by_id = {row["id"]: row for row in rows}
    return {index: _outcome(actor, one, by_id) for index, one in named.items()}


def _outcome(actor: Actor, operation: Operation, rows: dict[str, Row]) -> Outcome:
    assert operation.id
    if operation.id in rows:
        return None if operation.op == "delete" else rows[operation.id]
    try:
        if operation.op == "create":
            service.refuse_taken_id(actor, operation.id)
            return SessionEnded()
        # What is there all the same has another version.
        service.update_task(actor, operation.id, {}, operation.versions)
    except TaskapiError as refusal:
        return refusal
    return TaskNotFound()


def _run_alone(actor: Actor, operation: Operation) -> Outcome:
    assert operation.id
    try:
        if operation.op == "update":
            return service.update_task(actor, operation.id, operation.data, operation.versions)
        before = "before" in operation.data
        anchor = operation.data["before" if before else "after"]
        return moving.move_task(
            actor, operation.id, anchor, before=before, versions=operation.versions
        )[0]
    except TaskapiError as refusal:
        return refusal


def _as_row(place: int, operation: Operation) -> dict[str, Any]:
    row = {"place": place, "op": operation.op, "id": operation.id, "versions": operation.versions}
    data = service.stored(operation.data)
    sets = {f"sets_{name}": name in data for name in _SETTABLE}
    if operation.op == "complete":
        sets["sets_completed"] = True  # To nothing said: the other of what it is.
    return {**row, **sets, **data}


_SETTABLE: Final = ("title", "description", "completed", "order")
_OPERATION: Final = (
    func.jsonb_to_recordset(bindparam("operations", type_=JSONB(none_as_null=True)))
    .table_valued(
        *(Column("place", Integer), Column("op", Text), Column("id", Uuid(as_uuid=False))),
        Column("versions", ARRAY(BigInteger)),
        *(Column(f"sets_{name}", Boolean) for name in _SETTABLE),
        *(Column("title", Text), Column("title_words", Text)),
        *(Column("description", Text), Column("description_words", Text)),
        *(Column("completed", Boolean), Column("order", Integer)),
    )
    .render_derived("operation", with_types=True)
)


@cache
def _batch(*, perhaps_first: bool, for_good: bool) -> ClauseElement:
    count = bindparam("count", type_=BigInteger())
    change = sql.changing(by=count, perhaps_first=perhaps_first)
    said = _OPERATION.c
    number = change.number - count + said.place
    is_wanted = (
        *(Task.user_id == sql.OWNER, Task.id == said.id),
        or_(said.versions.is_(None), Task.version == func.any(said.versions)),
    )

    in_trash = select(TrashedTask.id).where(
        TrashedTask.user_id == sql.OWNER, TrashedTask.id == said.id
    )
    values = {
        "user_id": sql.OWNER,
        "id": said.id,
        "title": said.title,
        "title_words": said.title_words,
        "description": said.description,
        "description_words": func.coalesce(said.description_words, ""),
        "completed_at": case((said.completed, change.time)),
        "order": func.coalesce(said.order, 0),
        "created_at": change.time,
        "updated_at": change.time,
        "version": number,
    }
    created = (
        insert(Task)
        .from_select(
            list(values),
            select(*values.values()).where(
                said.op == "create", change.number.is_not(None), ~in_trash.exists()
            ),
        )
        .on_conflict_do_nothing(index_elements=[Task.user_id, Task.id])
        .returning(*sql.COLUMNS)
        .cte("created")
    )

    becomes_completed = func.coalesce(said.completed, Task.completed_at.is_(None))
    changed = (
        update(Task)
        .where(
            *(*is_wanted, or_(said.op == "update", said.op == "complete")),
            change.number.is_not(None),
        )
        .values(
            title=case((said.sets_title, said.title), else_=Task.title),
            title_words=case((said.sets_title, said.title_words), else_=Task.title_words),
            description=case((said.sets_description, said.description), else_=Task.description),
            description_words=case(
                (said.sets_description, said.description_words), else_=Task.description_words
            ),
            order=case((said.sets_order, said.order), else_=Task.order),
            completed_at=case(
                (~said.sets_completed, Task.completed_at),
                (becomes_completed, func.coalesce(Task.completed_at, change.time)),
            ),
            updated_at=change.time,
            version=number,
        )
        .returning(*sql.COLUMNS)
        .cte("changed")
    )

    gone = (
        delete(Task)
        .where(*is_wanted, said.op == "delete", change.number.is_not(None))
        .returning(*(Task.__table__.c[name] for name in sql.KEPT), number.label("number"))
        .cte("gone")
    )
    nothing = (cast(null(), column.type).label(column.name) for column in sql.COLUMNS[1:])
    done = union_all(created.select(), changed.select(), select(gone.c.id, *nothing))
    return done.add_cte(*sql.burying(gone, gone.c.number, change.time, for_good=for_good))
