"""Build the statements that list and count tasks, with filters, sort orders and keyset pages.

Each combination of sort order, filters and page kind is built once and cached.
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

SORT_COLUMNS: Final = {
    name: Task.__table__.c[field.sorted_by]
    for name, field in COLUMN_FIELDS.items()
    if field.sorted_by
}
HIDDEN_SORT_COLUMNS: Final = {key.name for key in SORT_COLUMNS.values()} - {
    column.name for column in COLUMNS
}
SORTS: Final = tuple(sign + name for name in SORT_COLUMNS for sign in ("", "-"))
NEWEST_FIRST: Final = "-created_at"
COUNTERS: Final = (User.change_seq, User.feed_floor)
_MAX_CACHED_STATEMENTS: Final = 256


def _bind_time(name: str) -> BindParameter[datetime]:
    return bindparam(name, type_=DateTime(timezone=True))


# Every word follows a space, including the first: the search patterns match it.
_SEARCHED: Final[ColumnElement[str]] = reduce(
    lambda text, name: text + " " + Task.__table__.c[name], WORDS, literal_column("''", Text)
)
_AFTER_ID: Final = bindparam("after_id", type_=Task.id.type)


def _build_field_filters() -> dict[str, ColumnElement[bool]]:
    """Build the conditions of the query parameters that fields declare, by parameter."""
    filters: dict[str, ColumnElement[bool]] = {}
    for name, field in COLUMN_FIELDS.items():
        column = Task.__table__.c[name]
        base = name.removesuffix("_at")
        if field.ranges:
            filters[f"{base}_after"] = column > _bind_time(f"{base}_after")
            filters[f"{base}_before"] = column < _bind_time(f"{base}_before")
        if field.value_filter:
            filters[name] = column == bindparam(name, type_=column.type)
    return filters


_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "completed": Task.completed_at.is_not(None),
    "open": Task.completed_at.is_(None),
    # PostgreSQL evaluates this once, before any scan: an unchanged list costs no scan.
    "known": select(User.change_seq).where(User.id == OWNER).scalar_subquery()
    != func.all(bindparam("known", type_=ARRAY(BigInteger))),
    "patterns": _SEARCHED.like(func.all(bindparam("patterns", type_=ARRAY(Text)))),
    **_build_field_filters(),
}


@lru_cache(_MAX_CACHED_STATEMENTS)
def select_count(filters: frozenset[str]) -> ClauseElement:
    """Build the statement that counts the tasks of all pages."""
    total = select(func.count().label("total")).select_from(Task).where(*_build_conditions(filters))
    return total.execution_options(prepare=not filters)


@lru_cache(_MAX_CACHED_STATEMENTS)
def select_page(sort: str, filters: frozenset[str], kind: str) -> ClauseElement:
    """Build the statement of a page, with the owner's change counter and feed floor.

    `kind` is "first", or depends on the sort key of the previous page's last task: "after value"
    or "after null".
    """
    name = sort.removeprefix("-")
    descending = sort != name
    if SORT_COLUMNS[name].nullable:
        tasks = _select_nulls_last(filters, SORT_COLUMNS[name], kind, descending=descending)
        leading_keys = [tasks.c.part]
    else:
        tasks = _select_sorted(filters, SORT_COLUMNS[name], kind, descending=descending).subquery(
            "page"
        )
        leading_keys = []
    keys = [
        *leading_keys,
        *(_apply_direction([tasks.c.sort_key, tasks.c.id], descending=descending)),
    ]
    hidden = {"part"} if SORT_COLUMNS[name].name in HIDDEN_SORT_COLUMNS else {"part", "sort_key"}
    return (
        select(*(column for column in tasks.c if column.name not in hidden), *COUNTERS)
        .select_from(User)
        .outerjoin(tasks, true())
        .where(User.id == OWNER)
        .order_by(*keys)
        # Other filters have thousands of combinations; the connection would keep each of them.
        .execution_options(prepare=filters <= {"completed", "open", "known"})
    )


def _select_sorted(
    filters: frozenset[str], key: ColumnElement[Any], kind: str, *, descending: bool
) -> Select[Any]:
    row_key = tuple_(key, Task.id)
    last_key = tuple_(
        bindparam("after_key", type_=key.type), bindparam("after_id", type_=Task.id.type)
    )
    after_key = row_key < last_key if descending else row_key > last_key
    return (
        select(*COLUMNS, key.label("sort_key"))
        .where(*_build_conditions(filters), *([] if kind == "first" else [after_key]))
        .order_by(*_apply_direction([key, Task.id], descending=descending))
        .limit(bindparam("count", type_=Integer()))
    )


def _select_nulls_last(
    filters: frozenset[str], key: ColumnElement[Any], kind: str, *, descending: bool
) -> Any:
    """Select tasks with a sort key before those without, both through the same index."""
    after_key = Task.id < _AFTER_ID if descending else Task.id > _AFTER_ID
    without_key = (
        select(*COLUMNS, key.label("sort_key"), literal_column("2", Integer).label("part"))
        .where(
            *_build_conditions(filters),
            key.is_(None),
            *([after_key] if kind == "after null" else []),
        )
        .order_by(*_apply_direction([key, Task.id], descending=descending))
        .limit(bindparam("count", type_=Integer()))
    )
    if kind == "after null":
        return without_key.subquery("page")
    with_key = _select_sorted(filters, key, kind, descending=descending)
    with_key = with_key.where(key.is_not(None)).add_columns(
        literal_column("1", Integer).label("part")
    )
    both_parts = union_all(
        with_key.subquery("with_key").select(), without_key.subquery("without_key").select()
    )
    return both_parts.subquery("page")


def _apply_direction(keys: Sequence[Any], *, descending: bool) -> list[Any]:
    return [key.desc() if descending else key.asc() for key in keys]


def _build_conditions(filters: frozenset[str]) -> list[ColumnElement[bool]]:
    return [Task.user_id == OWNER, *(_FILTERS[name] for name in sorted(filters))]
