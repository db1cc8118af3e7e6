"""Batches: as many operations in one statement as can be.

Operations on different tasks do not see each other, so that one statement does all of them.
Where a task comes again, or one is moved, what came before must have been done: there a new
statement begins, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import nullcontext
from typing import Any

import orjson
import structlog
from flask import current_app
from sqlalchemy import ClauseElement
from uuid_utils import uuid7

from taskapi.batch.schemas import Operation
from taskapi.batch.sql import batch
from taskapi.db.execute import Actor, Row, execute, transaction
from taskapi.exceptions import SessionEnded, TaskapiError, ValidationFailed
from taskapi.tasks import quota, reordering, service, sql
from taskapi.tasks.exceptions import (
    TaskChanged,
    TaskExists,
    TaskInTrash,
    TaskNotFound,
    TaskQuotaExceeded,
)
from taskapi.tasks.fields import WRITABLE

Outcome = Row | TaskapiError | None
"""The task after an operation, None where it is gone, or why the operation was refused."""

log = structlog.get_logger()


def run_batch(
    actor: Actor, operations: Sequence[Operation | ValidationFailed], *, atomic: bool
) -> list[Outcome]:
    """Run operations in their order and return what became of each.

    With `atomic` a refusal is raised, with its `index`, and nothing is done.
    """
    outcomes: list[Outcome] = [
        one if isinstance(one, ValidationFailed) else None for one in operations
    ]
    _refuse_all(outcomes, atomic=atomic)
    waves = list(_waves(operations))
    names = any(isinstance(one, Operation) and one.op == "create" and one.id for one in operations)
    together = atomic or names or len(waves) > 1
    with transaction(acting_as=actor) if together else nullcontext():
        if names:
            # Whether an id is taken must not change between the look and the write.
            execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
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
        return {first[0]: _run_alone(actor, *first)}
    named = {index: one if one.id else one._replace(id=str(uuid7())) for index, one in wave.items()}
    creates = sum(one.op == "create" for one in named.values())
    done = _send(actor, named, creates)
    refused = [one for one in named.values() if one.id not in done]
    here = _find(actor, sql.FIND, refused)
    trashed = _find(actor, sql.FIND_IN_TRASH, [one for one in refused if one.op == "create"])
    excess: dict[int, Outcome] = {}
    if not done:
        excess, done = _run_what_fits(actor, named, here.keys() | trashed.keys())
    return {index: _outcome(one, done, here, trashed) for index, one in named.items()} | excess


def _run_what_fits(
    actor: Actor, wave: dict[int, Operation], taken: Set[str]
) -> tuple[dict[int, Outcome], dict[str, Row]]:
    """Run a wave that was perhaps refused for the quota; return what exceeds it, and the rest.

    Creates whose id is `taken` were refused for that.
    """
    creates = [i for i, one in wave.items() if one.op == "create" and one.id not in taken]
    if not creates:
        return {}, {}
    with transaction(acting_as=actor):
        room = quota.find_room(actor, len(creates))
        refusal = TaskQuotaExceeded(quota.get_task_quota(), room)
        fits = set(creates[:room])
        rest = {i: one for i, one in wave.items() if one.op != "create" or i in fits}
        return dict.fromkeys(creates[room:], refusal), _send(actor, rest, room) if rest else {}


def _send(actor: Actor, wave: dict[int, Operation], creates: int) -> dict[str, Row]:
    """Send operations as one statement; return the rows of those that were done, by id."""
    operations = [_as_row(place, one) for place, one in enumerate(wave.values(), 1)]
    rows = execute(
        batch(
            may_be_first=actor.session_id is None,
            permanent=not current_app.config["TRASH_DAYS"],
        ),
        {
            "owner": actor.user_id,
            "quota": quota.get_task_quota(),
            "count": len(operations),
            "creates": creates,
            "operations": orjson.dumps(operations).decode(),
        },
        acting_as=actor,
    )
    return {row["id"]: row for row in rows}


def _find(actor: Actor, statement: ClauseElement, refused: list[Operation]) -> dict[str, Row]:
    if not refused:
        return {}
    values = {"owner": actor.user_id, "ids": [one.id for one in refused]}
    return {row["id"]: row for row in execute(statement, values, acting_as=actor)}


def _outcome(
    operation: Operation, done: dict[str, Row], here: dict[str, Row], trashed: dict[str, Row]
) -> Outcome:
    assert operation.id
    if operation.id in done:
        return None if operation.op == "delete" else done[operation.id]
    current = here.get(operation.id)
    if operation.op != "create":
        # What is there all the same has another version.
        is_changed = current and operation.versions is not None
        return TaskChanged(current=current) if is_changed else TaskNotFound()
    if operation.id in trashed:
        return TaskInTrash()
    return TaskChanged(TaskExists.message, current=current) if current else SessionEnded()


def _run_alone(actor: Actor, index: int, operation: Operation) -> Outcome:
    assert operation.id
    try:
        if operation.op == "update":
            return service.update_task(actor, operation.id, operation.data, operation.versions)
        before = "before" in operation.data
        anchor = operation.data["before" if before else "after"]
        return reordering.move_task(
            actor, operation.id, anchor, before=before, versions=operation.versions
        )[0]
    except ValidationFailed as refusal:
        return refusal.below(f"/operations/{index}/data")
    except TaskapiError as refusal:
        return refusal.with_traceback(None)  # Its frames hold the outcomes, and so itself.


def _as_row(place: int, operation: Operation) -> dict[str, Any]:
    row = {"place": place, "op": operation.op, "id": operation.id, "versions": operation.versions}
    data = service.add_words(operation.data)
    sets = {f"sets_{name}": name in data for name in WRITABLE}
    if operation.op == "complete":
        sets["sets_completed"] = True  # To nothing said: the other of what it is.
    return {**row, **sets, **data}
