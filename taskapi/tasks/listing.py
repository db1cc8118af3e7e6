"""Lists of tasks: sought, sorted, and page by page.

A page begins behind the last task of the one before (keyset pagination): an index leads
there, so the last page costs what the first does. With it comes the number of the owner's
last change, which says whether a client has the page already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache, reduce
from typing import Any, Final, NamedTuple

from flask import current_app
from psycopg2.errors import QueryCanceled
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
from taskapi.db.execute import Actor, Row, execute
from taskapi.exceptions import DatabaseUnavailable, FieldError, ValidationFailed
from taskapi.tasks.exceptions import SearchTimeout
from taskapi.tasks.fields import COLUMN_FIELDS, WORDS
from taskapi.tasks.models import Task
from taskapi.tasks.sql import COLUMNS, OWNER

_KEYS: Final = {
    name: Task.__table__.c[field.sorted_by]
    for name, field in COLUMN_FIELDS.items()
    if field.sorted_by
}
_HIDDEN_KEYS: Final = {key.name for key in _KEYS.values()} - {column.name for column in COLUMNS}
SORTS: Final = tuple(sign + name for name in _KEYS for sign in ("", "-"))
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


class Wanted(NamedTuple):
    """Which tasks, and in which order: names of `_FILTERS` with their values, one of `SORTS`."""

    filters: dict[str, Any]
    sort: str = NEWEST_FIRST


class Place(NamedTuple):
    """The last task of a page: what it is sorted by, its id, and the owner's last change."""

    key: Any
    id: str
    last_change: int | None = None


class Page(NamedTuple):
    """Some tasks in their order, and where the next ones begin, if there are any.

    `tasks` is None where the owner has changed nothing since the changes that are `known`.
    """

    tasks: list[Row] | None
    next: Place | None
    last_change: int


def list_tasks(
    actor: Actor, wanted: Wanted, limit: int, after: Place | None, known: Sequence[int] = ()
) -> Page:
    """Return a page of the actor's tasks.

    Raises `ValidationFailed` where the page that `after` ends is of an earlier incarnation.
    """
    filters = frozenset(wanted.filters) | ({"known"} if known else set())
    statement = _page(wanted.sort, filters, _kind(after))
    values = {
        "owner": actor.user_id,
        **({"known": list(known)} if known else {}),
        "count": limit + 1,
        **wanted.filters,
        **({"after_key": after.key, "after_id": after.id} if after else {}),
    }
    rows = _run(actor, wanted, statement, values)
    # Whose accounts are elsewhere has no row here before their first task.
    last_change, floor = (rows[0]["change_seq"], rows[0]["feed_floor"]) if rows else (0, 0)
    if after:
        refuse_outdated(after.last_change, last_change, floor)
    if rows and rows[0]["id"] is None:
        rows = []
    keys = [row.pop("sort_key", None) for row in rows]
    for row in rows:
        del row["change_seq"], row["feed_floor"]
    if last_change in known:
        return Page(None, None, last_change)
    if len(rows) <= limit:
        return Page(rows, None, last_change)
    last = rows[limit - 1]
    name = wanted.sort.removeprefix("-")
    key = keys[limit - 1] if _KEYS[name].name in _HIDDEN_KEYS else last[_KEYS[name].name]
    return Page(rows[:limit], Place(key, last["id"], last_change), last_change)


def refuse_outdated(known: int | None, last_change: int, floor: int) -> None:
    """Refuse a cursor that was given out after the change `known`, if that is none of today's.

    The numbers of changes since are `floor` to `last_change`. Raises `ValidationFailed`.
    """
    if known is not None and not floor <= known <= last_change:
        detail = "The database has been restored since this cursor was given out; start without it."
        raise ValidationFailed([FieldError("/query/cursor", "outdated", detail)])


def read_rest(actor: Actor, wanted: Wanted, page: Page, size: int) -> Iterator[list[Row]] | None:
    """Read the pages behind a page, `size` tasks each, as they are asked for.

    Returns None where there is none.
    """
    return None if page.next is None else _read_on(actor, wanted, page, size)


def _read_on(actor: Actor, wanted: Wanted, page: Page, size: int) -> Iterator[list[Row]]:
    while page.next is not None:
        page = list_tasks(actor, wanted, size, page.next)
        yield page.tasks or []


def count_tasks(actor: Actor, wanted: Wanted) -> int:
    """Return how many there are on all pages together."""
    values = {"owner": actor.user_id, **wanted.filters}
    [row] = _run(actor, wanted, _total(frozenset(wanted.filters)), values)
    return int(row["total"])


def _run(
    actor: Actor, wanted: Wanted, statement: ClauseElement, values: dict[str, Any]
) -> list[Row]:
    """Run the statement of a list; a search has a shorter time limit. Raises `SearchTimeout`."""
    if "patterns" not in wanted.filters:
        return execute(statement, values, acting_as=actor)
    limit: float = current_app.config["SEARCH_TIMEOUT"]
    try:
        return execute(statement, values, acting_as=actor, time_limit=limit)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise SearchTimeout from None
        raise


def _kind(after: Place | None) -> str:
    if after is None:
        return "first"
    return "after null" if after.key is None else "after value"


@lru_cache(_SHAPES)
def _total(filters: frozenset[str]) -> ClauseElement:
    total = select(func.count().label("total")).select_from(Task).where(*_conditions(filters))
    return total.execution_options(prepare=not filters)


@lru_cache(_SHAPES)
def _page(sort: str, filters: frozenset[str], kind: str) -> ClauseElement:
    name = sort.removeprefix("-")
    descending = sort != name
    if _KEYS[name].nullable:
        page = _nulls_last(filters, _KEYS[name], kind, descending=descending)
        first_of_all = [page.c.part]
    else:
        page = _in_order(filters, _KEYS[name], kind, descending=descending).subquery("page")
        first_of_all = []
    keys = [*first_of_all, *(_turned([page.c.sort_key, page.c.id], descending=descending))]
    hidden = {"part"} if _KEYS[name].name in _HIDDEN_KEYS else {"part", "sort_key"}
    return (
        select(*(column for column in page.c if column.name not in hidden), *COUNTERS)
        .select_from(User)
        .outerjoin(page, true())
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
