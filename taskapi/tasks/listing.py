"""List tasks in filtered and sorted keyset pages.

A page begins after the sort key and id of the previous page's last task, which an index finds: the
last page costs as much as the first. Every page carries the owner's change counter, which tells
whether the client's copy is current.
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
from taskapi.tasks.list_statements import HIDDEN_SORT_COLUMNS, NEWEST_FIRST, SORT_COLUMNS


class TaskQuery(NamedTuple):
    """The filters of a list, as values by name in `_FILTERS`, and its sort order, of `SORTS`."""

    filters: dict[str, Any]
    sort: str = NEWEST_FIRST


class PageKey(NamedTuple):
    """The position after a page: sort key and id of its last task, and the change counter then."""

    key: Any
    id: str
    last_change: int | None = None


class Page(NamedTuple):
    """The tasks of a page in order, and the key of the next page or None.

    `tasks` is None if the change counter is one of the `known` ones: the client's copy is current.
    """

    tasks: list[Row] | None
    next: PageKey | None
    last_change: int


def list_tasks(
    actor: Actor, query: TaskQuery, limit: int, after: PageKey | None, known: Sequence[int] = ()
) -> Page:
    """Return a page of at most `limit` tasks of the actor, after the page that ended at `after`.

    `known` are the change counters of the client's copies. Raises `ValidationFailed` if `after`
    comes from an earlier incarnation.
    """
    filters = frozenset(query.filters) | ({"known"} if known else set())
    statement = list_statements.select_page(query.sort, filters, _page_kind(after))
    values = {
        "owner": actor.user_id,
        **({"known": list(known)} if known else {}),
        "count": limit + 1,
        **query.filters,
        **({"after_key": after.key, "after_id": after.id} if after else {}),
    }
    rows = _execute_list(actor, query, statement, values)
    # With AUTH_MODE external or path, a user has no row before the first task.
    last_change, floor = (rows[0]["change_seq"], rows[0]["feed_floor"]) if rows else (0, 0)
    if after:
        validate_cursor_change(after.last_change, last_change, floor)
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
    name = query.sort.removeprefix("-")
    key = (
        keys[limit - 1]
        if SORT_COLUMNS[name].name in HIDDEN_SORT_COLUMNS
        else last[SORT_COLUMNS[name].name]
    )
    return Page(rows[:limit], PageKey(key, last["id"], last_change), last_change)


def validate_cursor_change(known: int | None, last_change: int, floor: int) -> None:
    """Validate that a cursor, issued after the change `known`, belongs to this incarnation.

    Changes of this incarnation are numbered `floor` to `last_change`. Raises `ValidationFailed`.
    """
    if known is not None and not floor <= known <= last_change:
        detail = "The database has been restored since this cursor was given out; start without it."
        raise ValidationFailed([FieldError("/query/cursor", "outdated", detail)])


def read_remaining(
    actor: Actor, query: TaskQuery, page: Page, size: int
) -> Iterator[list[Row]] | None:
    """Return a lazy iterator over the pages after `page`, `size` tasks each; None if it is last."""
    return None if page.next is None else _read_pages(actor, query, page, size)


def _read_pages(actor: Actor, query: TaskQuery, page: Page, size: int) -> Iterator[list[Row]]:
    while page.next is not None:
        page = list_tasks(actor, query, size, page.next)
        yield page.tasks or []


def count_tasks(actor: Actor, query: TaskQuery) -> int:
    """Return the number of tasks on all pages."""
    values = {"owner": actor.user_id, **query.filters}
    [row] = _execute_list(
        actor, query, list_statements.select_count(frozenset(query.filters)), values
    )
    return int(row["total"])


def _execute_list(
    actor: Actor, query: TaskQuery, statement: ClauseElement, values: dict[str, Any]
) -> list[Row]:
    """Execute a list statement, a search with `SEARCH_TIMEOUT`. Raises `SearchTimeout`."""
    if "patterns" not in query.filters:
        return execute(statement, values, acting_as=actor)
    limit: float = current_app.config["SEARCH_TIMEOUT"]
    try:
        return execute(statement, values, acting_as=actor, time_limit=limit)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise SearchTimeout from None
        raise


def _page_kind(after: PageKey | None) -> str:
    if after is None:
        return "first"
    return "after null" if after.key is None else "after value"
