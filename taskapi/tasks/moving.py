"""The order that somebody gives their tasks by hand.

Between two neighbours there usually is a number free, and the moved task gets it. Where
there is none, as many tasks around the place as are needed are numbered anew, with room
between them; the window grows eightfold, so that thousands of moves to one spot stay cheap.
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

_GAP: Final = 2**16  # between two tasks, where there is room
_ROOM: Final = 16  # between two tasks of a window that is numbered anew
_LOWEST: Final = -(2**31)
_HIGHEST: Final = 2**31 - 1
_WINDOWS: Final = (8, 64, 512, 8192)  # tasks on each side of the place

log = structlog.get_logger()


def move_task(
    actor: Actor,
    task_id: str,
    anchor: str | None,
    *,
    before: bool,
    versions: list[int] | None = None,
) -> tuple[Row, list[Row]]:
    """Put a task before or after another one, or after None: before all.

    Return it, and the others that were numbered anew. Raises `TaskNotFound`, `TaskChanged`,
    `ValidationFailed` where the other one is not there, and `NoRoom`.
    """
    name = "before" if before else "after"
    if anchor == task_id:
        detail = "A task cannot be moved to a place next to itself."
        raise ValidationFailed([FieldError(f"/{name}", "itself", detail)])
    with transaction(acting_as=actor):
        # Whoever else moves something waits here, and then sees what has been done.
        execute(sql.LOCK_OWNER, {"owner": actor.user_id}, acting_as=actor)
        wanted = [task_id] + ([anchor] if anchor else [])
        values = {"owner": actor.user_id, "ids": wanted}
        found = {row["id"]: row for row in execute(sql.FIND, values, acting_as=actor)}
        if task_id not in found:
            raise TaskNotFound
        task = found[task_id]
        if versions is not None and task["version"] not in versions:
            raise TaskChanged(current=task)
        if anchor and anchor not in found:
            detail = "You have no task with this id."
            raise ValidationFailed([FieldError(f"/{name}", "task_not_found", detail)])
        place = _Place(actor, task, found[anchor] if anchor else None, before=before)
        orders = place.number_anew()
        renumbered = _write(actor, orders) if orders else []
    moved = next((row for row in renumbered if row["id"] == task_id), task)
    log.info("task_moved", user_id=actor.user_id, task_id=task_id, renumbered=len(renumbered))
    return moved, [row for row in renumbered if row["id"] != task_id]


class _Place:
    """Where a task is to go: between those on the left of the place and those on its right."""

    def __init__(self, actor: Actor, task: Row, anchor: Row | None, *, before: bool) -> None:
        self._actor = actor
        self._task = task
        self._anchor = anchor
        self._before = before

    def number_anew(self) -> dict[str, int]:
        """Return the numbers that change, by id; none where the task is in its place already."""
        left, right = self._neighbours(1)
        lower, upper = _order(left), _order(right)
        if self._fits(left, right):
            return {}
        if lower is None and upper is None:
            return {}  # It is the only one.
        middle = _between(lower, upper)
        if middle is not None:
            return {self._task["id"]: middle}
        for size in _WINDOWS:
            left, right = self._neighbours(size + 1)
            orders = _spread(left, self._task, right, size)
            if orders is not None:
                return orders
        raise NoRoom

    def _fits(self, left: list[Row], right: list[Row]) -> bool:
        here = (self._task["order"], self._task["id"])
        is_behind = not left or (left[0]["order"], left[0]["id"]) < here
        return is_behind and (not right or here < (right[0]["order"], right[0]["id"]))

    def _neighbours(self, count: int) -> tuple[list[Row], list[Row]]:
        """Read those on the left and on the right, the nearest first."""
        values = {"owner": self._actor.user_id, "task": self._task["id"], "count": count}
        if self._anchor is None:
            return [], execute(_FIRST, values, acting_as=self._actor)
        values |= {"order": self._anchor["order"], "id": self._anchor["id"]}
        left = execute(_LEFT, values, acting_as=self._actor)
        right = execute(_RIGHT, values, acting_as=self._actor)
        anchor = [{"id": self._anchor["id"], "order": self._anchor["order"]}]
        return (left, anchor + right) if self._before else (anchor + left, right)


def _order(nearest: list[Row]) -> int | None:
    return nearest[0]["order"] if nearest else None


def _between(lower: int | None, upper: int | None) -> int | None:
    """Return a number between two; None where there is none."""
    if lower is None:
        assert upper is not None
        return upper - _GAP if upper - _GAP >= _LOWEST else None
    if upper is None:
        return lower + _GAP if lower + _GAP <= _HIGHEST else None
    middle = (lower + upper) // 2
    return middle if lower < middle < upper else None


def _spread(left: list[Row], task: Row, right: list[Row], size: int) -> dict[str, int] | None:
    """Give out new numbers to up to `size` on each side; None where there is not the room."""
    lower = left[size]["order"] if len(left) > size else None
    upper = right[size]["order"] if len(right) > size else None
    window = [*reversed(left[:size]), task, *right[:size]]
    if lower is not None and upper is not None:
        step = (upper - lower) // (len(window) + 1)
        first = lower + step
        if step < _ROOM:
            return None
    else:
        step = min(_GAP, (_HIGHEST - _LOWEST) // (len(window) + 1))
        if lower is not None:
            first = lower + step
        elif upper is not None:
            first = upper - step * len(window)
        else:
            first = -step * (len(window) // 2)
        if first < _LOWEST or first + step * (len(window) - 1) > _HIGHEST:
            return None
    numbered = {row["id"]: first + step * place for place, row in enumerate(window)}
    old = {row["id"]: row["order"] for row in window}
    return {task_id: order for task_id, order in numbered.items() if order != old[task_id]}


def _write(actor: Actor, orders: dict[str, int]) -> list[Row]:
    values = {
        "owner": actor.user_id,
        "ids": list(orders),
        "orders": list(orders.values()),
        "count": len(orders),
    }
    return execute(_RENUMBER, values, acting_as=actor)


def _neighbours(*, left: bool) -> ClauseElement:
    here = tuple_(Task.order, Task.id)
    there = tuple_(bindparam("order", type_=Task.order.type), bindparam("id", type_=Task.id.type))
    statement = select(Task.id, Task.order).where(
        Task.user_id == sql.OWNER,
        Task.id != bindparam("task", type_=Task.id.type),
        here < there if left else here > there,
    )
    turned = [Task.order.desc(), Task.id.desc()] if left else [Task.order, Task.id]
    return statement.order_by(*turned).limit(_COUNT)


def _renumbering() -> ClauseElement:
    change = sql.changing(by=_COUNT)
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
_LEFT = _neighbours(left=True)
_RIGHT = _neighbours(left=False)
_RENUMBER = _renumbering()
