"""Lists of tasks: sought, sorted, and page by page.

A page begins behind the last task of the one before (keyset pagination): an index leads
there, so the last page costs what the first does. With it comes the number of the owner's
last change, which says whether a client has the page already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flask import current_app
from psycopg2.errors import QueryCanceled
from sqlalchemy import (
    ClauseElement,
)

from taskapi.db.execute import Actor, Row, execute
from taskapi.exceptions import DatabaseUnavailable, FieldError, ValidationFailed
from taskapi.tasks import list_statements
from taskapi.tasks.exceptions import SearchTimeout
from taskapi.tasks.list_statements import HIDDEN_KEYS, KEYS, NEWEST_FIRST


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
    statement = list_statements.page(wanted.sort, filters, _kind(after))
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
    key = keys[limit - 1] if KEYS[name].name in HIDDEN_KEYS else last[KEYS[name].name]
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
    [row] = _run(actor, wanted, list_statements.count(frozenset(wanted.filters)), values)
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
