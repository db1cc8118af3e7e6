"""The statements that list tasks: filtered, sorted, and page by page.

Each combination of a sort, filters and a kind of page is made once and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, reduce
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    ClauseElement,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)

from taskapi.auth.models import User
from taskapi.tasks.fields import COLUMN_FIELDS, WORDS
from taskapi.tasks.models import Task
from taskapi.tasks.sql import COLUMNS, OWNER

KEYS: Final = {
    name: Task.__table__.c[field.sorted_by]
    for name, field in COLUMN_FIELDS.items()
    if field.sorted_by
}
HIDDEN_KEYS: Final = {key.name for key in KEYS.values()} - {column.name for column in COLUMNS}
SORTS: Final = tuple(sign + name for name in KEYS for sign in ("", "-"))
NEWEST_FIRST: Final = "-created_at"
COUNTERS: Final = (User.change_seq, User.feed_floor)
_SHAPES: Final = 256


def _time(name: str) -> BindParameter[datetime]:
    return bindparam(name, type_=DateTime(timezone=True))


# A space begins each word, the first as well.
_SEARCHED: Final[ColumnElement[str]] = reduce(
    lambda text, name: text + " " + Task.__table__.c[name], WORDS, literal_column("''", Text)
)
_AFTER_ID: Final = bindparam("after_id", type_=Task.id.type)


def _field_filters() -> dict[str, ColumnElement[bool]]:
    """Make the conditions of the query parameters that fields declare, by parameter."""
    filters: dict[str, ColumnElement[bool]] = {}
    for name, field in COLUMN_FIELDS.items():
        column = Task.__table__.c[name]
        base = name.removesuffix("_at")
        if field.ranges:
            filters[f"{base}_after"] = column > _time(f"{base}_after")
            filters[f"{base}_before"] = column < _time(f"{base}_before")
        if field.value_filter:
            filters[name] = column == bindparam(name, type_=column.type)
    return filters


_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "completed": Task.completed_at.is_not(None),
    "open": Task.completed_at.is_(None),
    # Asked before anything is sought: where nothing has changed, nothing is.
    "known": select(User.change_seq).where(User.id == OWNER).scalar_subquery()
    != func.all(bindparam("known", type_=ARRAY(BigInteger))),
    "patterns": _SEARCHED.like(func.all(bindparam("patterns", type_=ARRAY(Text)))),
    **_field_filters(),
}


@lru_cache(_SHAPES)
def count(filters: frozenset[str]) -> ClauseElement:
    """Make the statement that counts the tasks of all pages."""
    total = select(func.count().label("total")).select_from(Task).where(*_conditions(filters))
    return total.execution_options(prepare=not filters)


@lru_cache(_SHAPES)
def page(sort: str, filters: frozenset[str], kind: str) -> ClauseElement:
    """Make the statement of a page, with the owner's counters.

    `kind` is "first", or by the key of the last task before "after value" or "after null".
    """
    name = sort.removeprefix("-")
    descending = sort != name
    if KEYS[name].nullable:
        tasks = _nulls_last(filters, KEYS[name], kind, descending=descending)
        first_of_all = [tasks.c.part]
    else:
        tasks = _in_order(filters, KEYS[name], kind, descending=descending).subquery("page")
        first_of_all = []
    keys = [*first_of_all, *(_turned([tasks.c.sort_key, tasks.c.id], descending=descending))]
    hidden = {"part"} if KEYS[name].name in HIDDEN_KEYS else {"part", "sort_key"}
    return (
        select(*(column for column in tasks.c if column.name not in hidden), *COUNTERS)
        .select_from(User)
        .outerjoin(tasks, true())
        .where(User.id == OWNER)
        .order_by(*keys)
        # Of other filters there are thousands of combinations, each of which would be kept.
        .execution_options(prepare=filters <= {"completed", "open", "known"})
    )


def _in_order(
    filters: frozenset[str], key: ColumnElement[Any], kind: str, *, descending: bool
) -> Select[Any]:
    here = tuple_(key, Task.id)
    there = tuple_(
        bindparam("after_key", type_=key.type), bindparam("after_id", type_=Task.id.type)
    )
    beyond = here < there if descending else here > there
    return (
        select(*COLUMNS, key.label("sort_key"))
        .where(*_conditions(filters), *([] if kind == "first" else [beyond]))
        .order_by(*_turned([key, Task.id], descending=descending))
        .limit(bindparam("count", type_=Integer()))
    )


def _nulls_last(
    filters: frozenset[str], key: ColumnElement[Any], kind: str, *, descending: bool
) -> Any:
    """Put tasks without a key behind those that have one, both by the same index."""
    beyond = Task.id < _AFTER_ID if descending else Task.id > _AFTER_ID
    without = (
        select(*COLUMNS, key.label("sort_key"), literal_column("2", Integer).label("part"))
        .where(*_conditions(filters), key.is_(None), *([beyond] if kind == "after null" else []))
        .order_by(*_turned([key, Task.id], descending=descending))
        .limit(bindparam("count", type_=Integer()))
    )
    if kind == "after null":
        return without.subquery("page")
    with_one = _in_order(filters, key, kind, descending=descending)
    with_one = with_one.where(key.is_not(None)).add_columns(
        literal_column("1", Integer).label("part")
    )
    both = union_all(with_one.subquery("with_one").select(), without.subquery("without").select())
    return both.subquery("page")


def _turned(keys: Sequence[Any], *, descending: bool) -> list[Any]:
    return [key.desc() if descending else key.asc() for key in keys]


def _conditions(filters: frozenset[str]) -> list[ColumnElement[bool]]:
    return [Task.user_id == OWNER, *(_FILTERS[name] for name in sorted(filters))]
