"""Move tasks in the manual order.

A moved task gets the midpoint of its neighbours' orders. If there is no number between them, a
window of tasks around the position is renumbered with gaps; the window grows eightfold, so that
thousands of moves to one position stay cheap.
"""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ClauseElement,
    Column,
    Integer,
    Uuid,
    bindparam,
    func,
    select,
    tuple_,
    update,
)

from taskapi.db.execute import Actor, Row, execute, transaction
from taskapi.exceptions import FieldError, ValidationFailed
from taskapi.tasks import sql
from taskapi.tasks.exceptions import NoRoom, TaskChanged, TaskNotFound
from taskapi.tasks.models import Task

_ORDER_GAP: Final = 2**16
"""The difference between the orders of two tasks, where the range allows it."""

_MIN_RENUMBERED_GAP: Final = 16
"""The smallest difference within a renumbered window; below it, a larger window is tried."""

_MIN_ORDER: Final = -(2**31)
_MAX_ORDER: Final = 2**31 - 1
_WINDOW_SIZES: Final = (8, 64, 512, 8192)
"""Numbers of tasks on each side of the position."""

log = structlog.get_logger()


def move_task(
    actor: Actor,
    task_id: str,
    anchor: str | None,
    *,
    before: bool,
    versions: list[int] | None = None,
) -> tuple[Row, list[Row]]:
    """Move a task before or after the task `anchor`; after None is before all others.

    Return the task and the other renumbered tasks. Raises `TaskNotFound`, `TaskChanged` if the
    version is not one of `versions`, `ValidationFailed` if the anchor does not exist, and `NoRoom`.
    """
    name = "before" if before else "after"
    if anchor == task_id:
        detail = "A task cannot be moved to a place next to itself."
        raise ValidationFailed([FieldError(f"/{name}", "itself", detail)])
    with transaction(acting_as=actor):
        # Concurrent moves of this user wait here, and then see the committed orders.
        execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
        ids = [task_id] + ([anchor] if anchor else [])
        values = {"owner": actor.user_id, "ids": ids}
        found = {row["id"]: row for row in execute(sql.FIND, values, acting_as=actor)}
        if task_id not in found:
            raise TaskNotFound
        task = found[task_id]
        if versions is not None and task["version"] not in versions:
            raise TaskChanged(current=task)
        if anchor and anchor not in found:
            detail = "You have no task with this id."
            raise ValidationFailed([FieldError(f"/{name}", "task_not_found", detail)])
        position = _Position(actor, task, found[anchor] if anchor else None, before=before)
        orders = position.compute_orders()
        renumbered = _write_orders(actor, orders) if orders else []
    moved = next((row for row in renumbered if row["id"] == task_id), task)
    log.info("task_moved", user_id=actor.user_id, task_id=task_id, renumbered=len(renumbered))
    return moved, [row for row in renumbered if row["id"] != task_id]


class _Position:
    """The new position of a task, between its left and right neighbours."""

    def __init__(self, actor: Actor, task: Row, anchor: Row | None, *, before: bool) -> None:
        self._actor = actor
        self._task = task
        self._anchor = anchor
        self._before = before

    def compute_orders(self) -> dict[str, int]:
        """Return the changed orders by id, empty if the task already has the position.

        Raises `NoRoom`.
        """
        left, right = self._read_neighbours(1)
        lower, upper = _nearest_order(left), _nearest_order(right)
        if self._is_in_position(left, right):
            return {}
        if lower is None and upper is None:
            return {}  # The only task.
        middle = _find_midpoint(lower, upper)
        if middle is not None:
            return {self._task["id"]: middle}
        for size in _WINDOW_SIZES:
            left, right = self._read_neighbours(size + 1)
            orders = _renumber_window(left, self._task, right, size)
            if orders is not None:
                return orders
        raise NoRoom

    def _is_in_position(self, left: list[Row], right: list[Row]) -> bool:
        here = (self._task["order"], self._task["id"])
        is_behind = not left or (left[0]["order"], left[0]["id"]) < here
        return is_behind and (not right or here < (right[0]["order"], right[0]["id"]))

    def _read_neighbours(self, count: int) -> tuple[list[Row], list[Row]]:
        """Return up to `count` neighbours on the left and on the right, nearest first."""
        values = {"owner": self._actor.user_id, "task": self._task["id"], "count": count}
        if self._anchor is None:
            return [], execute(_FIRST, values, acting_as=self._actor)
        values |= {"order": self._anchor["order"], "id": self._anchor["id"]}
        left = execute(_LEFT, values, acting_as=self._actor)
        right = execute(_RIGHT, values, acting_as=self._actor)
        anchor = [{"id": self._anchor["id"], "order": self._anchor["order"]}]
        return (left, anchor + right) if self._before else (anchor + left, right)


def _nearest_order(neighbours: list[Row]) -> int | None:
    return neighbours[0]["order"] if neighbours else None


def _find_midpoint(lower: int | None, upper: int | None) -> int | None:
    """Return an order between two orders, where None is open-ended; None if there is none."""
    if lower is None:
        assert upper is not None
        return upper - _ORDER_GAP if upper - _ORDER_GAP >= _MIN_ORDER else None
    if upper is None:
        return lower + _ORDER_GAP if lower + _ORDER_GAP <= _MAX_ORDER else None
    middle = (lower + upper) // 2
    return middle if lower < middle < upper else None


def _renumber_window(
    left: list[Row], task: Row, right: list[Row], size: int
) -> dict[str, int] | None:
    """Return new orders for up to `size` tasks on each side; None if the window is too dense."""
    lower = left[size]["order"] if len(left) > size else None
    upper = right[size]["order"] if len(right) > size else None
    window = [*reversed(left[:size]), task, *right[:size]]
    if lower is not None and upper is not None:
        step = (upper - lower) // (len(window) + 1)
        first = lower + step
        if step < _MIN_RENUMBERED_GAP:
            return None
    else:
        step = min(_ORDER_GAP, (_MAX_ORDER - _MIN_ORDER) // (len(window) + 1))
        if lower is not None:
            first = lower + step
        elif upper is not None:
            first = upper - step * len(window)
        else:
            first = -step * (len(window) // 2)
        if first < _MIN_ORDER or first + step * (len(window) - 1) > _MAX_ORDER:
            return None
    new = {row["id"]: first + step * position for position, row in enumerate(window)}
    old = {row["id"]: row["order"] for row in window}
    return {task_id: order for task_id, order in new.items() if order != old[task_id]}


def _write_orders(actor: Actor, orders: dict[str, int]) -> list[Row]:
    values = {
        "owner": actor.user_id,
        "ids": list(orders),
        "orders": list(orders.values()),
        "count": len(orders),
    }
    return execute(_RENUMBER, values, acting_as=actor)


def _select_neighbours(*, left: bool) -> ClauseElement:
    here = tuple_(Task.order, Task.id)
    there = tuple_(bindparam("order", type_=Task.order.type), bindparam("id", type_=Task.id.type))
    statement = select(Task.id, Task.order).where(
        Task.user_id == sql.OWNER,
        Task.id != bindparam("task", type_=Task.id.type),
        here < there if left else here > there,
    )
    nearest_first = [Task.order.desc(), Task.id.desc()] if left else [Task.order, Task.id]
    return statement.order_by(*nearest_first).limit(_COUNT)


def _update_orders() -> ClauseElement:
    change = sql.next_change(by=_COUNT)
    new = (
        func.unnest(
            bindparam("ids", type_=ARRAY(Uuid(as_uuid=False))),
            bindparam("orders", type_=ARRAY(Integer)),
        )
        .table_valued(
            Column("id", Uuid(as_uuid=False)),
            Column("order", Integer),
            with_ordinality="position",
        )
        .render_derived("new")
    )
    return (
        update(Task)
        .where(Task.user_id == sql.OWNER, Task.id == new.c.id)
        .values(
            order=new.c.order,
            updated_at=change.time,
            version=change.number - _COUNT + new.c.position,
        )
        .returning(*sql.COLUMNS)
    )


_COUNT = bindparam("count", type_=BigInteger())
_FIRST = (
    select(Task.id, Task.order)
    .where(Task.user_id == sql.OWNER, Task.id != bindparam("task", type_=Task.id.type))
    .order_by(Task.order, Task.id)
    .limit(_COUNT)
)
_LEFT = _select_neighbours(left=True)
_RIGHT = _select_neighbours(left=False)
_RENUMBER = _update_orders()
