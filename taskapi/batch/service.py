"""Run batches with as few statements as possible.

Operations on different tasks are independent, so one statement executes them all: a group. An
operation that depends on an earlier one, on the same task or as a move, begins a new group, in the
same transaction.
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
from taskapi.batch.sql import run_operations
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
"""The task after an operation, None after a deletion, or the error of a failed operation."""

log = structlog.get_logger()


def run_batch(
    actor: Actor, operations: Sequence[Operation | ValidationFailed], *, atomic: bool
) -> list[Outcome]:
    """Run operations in order and return the outcome of each.

    With `atomic`, raises the first error with its `index` after rolling everything back.
    """
    outcomes: list[Outcome] = [
        operation if isinstance(operation, ValidationFailed) else None for operation in operations
    ]
    if atomic:
        _raise_first_error(outcomes)
    groups = list(_group_independent(operations))
    has_requested_ids = any(
        isinstance(operation, Operation) and operation.op == "create" and operation.id
        for operation in operations
    )
    needs_transaction = atomic or has_requested_ids or len(groups) > 1
    with transaction(acting_as=actor) if needs_transaction else nullcontext():
        if has_requested_ids:
            # No other writer may take one of the ids between the check and the insert.
            execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
        for group in groups:
            for index, outcome in _run_group(actor, group).items():
                outcomes[index] = outcome
            if atomic:
                _raise_first_error(outcomes)
    failed = sum(isinstance(outcome, TaskapiError) for outcome in outcomes)
    log.info("batch_done", user_id=actor.user_id, operations=len(operations), refused=failed)
    return outcomes


def _raise_first_error(outcomes: Sequence[Outcome]) -> None:
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, TaskapiError):
            outcome.members["index"] = index
            raise outcome


def _group_independent(
    operations: Sequence[Operation | ValidationFailed],
) -> Iterator[dict[int, Operation]]:
    """Split the operations into groups of independent ones, each by index."""
    group: dict[int, Operation] = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, ValidationFailed):
            continue
        is_alone = operation.op == "move" or (operation.op == "update" and not operation.data)
        ids = {member.id for member in group.values()}
        if group and (is_alone or operation.id in ids - {None}):
            yield group
            group = {}
        group[index] = operation
        if is_alone:
            yield group
            group = {}
    if group:
        yield group


def _run_group(actor: Actor, group: dict[int, Operation]) -> dict[int, Outcome]:
    [first, *others] = group.items()
    if not others and first[1].op in ("move", "update"):
        return {first[0]: _run_alone(actor, *first)}
    identified = {
        index: operation if operation.id else operation._replace(id=str(uuid7()))
        for index, operation in group.items()
    }
    creates = sum(operation.op == "create" for operation in identified.values())
    done = _execute_group(actor, identified, creates)
    failed = [operation for operation in identified.values() if operation.id not in done]
    existing = _find(actor, sql.FIND, failed)
    failed_creates = [operation for operation in failed if operation.op == "create"]
    trashed = _find(actor, sql.FIND_IN_TRASH, failed_creates)
    excess: dict[int, Outcome] = {}
    if not done:
        excess, done = _run_within_quota(actor, identified, existing.keys() | trashed.keys())
    return {
        index: _find_outcome(operation, done, existing, trashed)
        for index, operation in identified.items()
    } | excess


def _run_within_quota(
    actor: Actor, group: dict[int, Operation], taken: Set[str]
) -> tuple[dict[int, Outcome], dict[str, Row]]:
    """Run again a group that may have exceeded the quota, with as many creates as fit.

    Creates with a `taken` id failed for that reason. Return the errors of the excess creates by
    index, and the rows of successful operations by id.
    """
    creates = [
        index
        for index, operation in group.items()
        if operation.op == "create" and operation.id not in taken
    ]
    if not creates:
        return {}, {}
    with transaction(acting_as=actor):
        room = quota.find_room(actor, len(creates))
        error = TaskQuotaExceeded(quota.get_task_quota(), room)
        fitting = set(creates[:room])
        rest = {
            index: operation
            for index, operation in group.items()
            if operation.op != "create" or index in fitting
        }
        done = _execute_group(actor, rest, room) if rest else {}
        return dict.fromkeys(creates[room:], error), done


def _execute_group(actor: Actor, group: dict[int, Operation], creates: int) -> dict[str, Row]:
    """Execute independent operations as one statement; return the rows of successful ones by id."""
    operations = [_as_record(position, item) for position, item in enumerate(group.values(), 1)]
    rows = execute(
        run_operations(
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


def _find(actor: Actor, statement: ClauseElement, operations: list[Operation]) -> dict[str, Row]:
    if not operations:
        return {}
    values = {"owner": actor.user_id, "ids": [operation.id for operation in operations]}
    return {row["id"]: row for row in execute(statement, values, acting_as=actor)}


def _find_outcome(
    operation: Operation, done: dict[str, Row], existing: dict[str, Row], trashed: dict[str, Row]
) -> Outcome:
    assert operation.id
    if operation.id in done:
        return None if operation.op == "delete" else done[operation.id]
    current = existing.get(operation.id)
    if operation.op != "create":
        # The task exists, so its version did not match.
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
    except ValidationFailed as error:
        return error.below(f"/operations/{index}/data")
    except TaskapiError as error:
        # The traceback's frames would hold the list of outcomes, a reference cycle.
        return error.with_traceback(None)


def _as_record(position: int, operation: Operation) -> dict[str, Any]:
    record = {
        "position": position,
        "op": operation.op,
        "id": operation.id,
        "versions": operation.versions,
    }
    data = service.add_words(operation.data)
    sets = {f"sets_{name}": name in data for name in WRITABLE}
    if operation.op == "complete":
        sets["sets_completed"] = True  # A missing `completed` toggles it.
    return {**record, **sets, **data}
