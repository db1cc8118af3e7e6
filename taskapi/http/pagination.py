"""Answer lists: page by page, or whole; long whole ones are streamed in batches.

A whole list is charged by its size, as if it had been read page by page. The first batch is read
before the answer begins: what goes wrong with it is a problem document. A later failure ends the
connection in the middle of the JSON text, so that no client takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

import orjson
from flask import Response, stream_with_context

from taskapi.http.app import json_response
from taskapi.http.rate_limits import charge, charge_sent

BATCH: Final = 500
"""The most items that are read, and held in memory, at a time."""

LARGEST_PAGE: Final = 200
"""The most items that count as one request."""

Batches = Iterator[list[dict[str, Any]]]


def array_response(
    first: list[dict[str, Any]], rest: Batches | None, headers: Mapping[str, str]
) -> Response:
    """Answer a bare array. `rest` reads the batches behind the first; None where there are none.

    Raises `RateLimited` where the first batch alone is too much.
    """
    charge(_cost(first) - 1)
    if rest is None:
        return json_response(first, 200, headers)
    return _stream(_write_array(first, rest), headers)


def list_response(
    first: list[dict[str, Any]], rest: Batches | None, headers: Mapping[str, str]
) -> Response:
    """Answer `{tasks, next_cursor, count, total}` with all tasks that there are.

    Parameters and errors are those of `array_response`.
    """
    charge(_cost(first) - 1)
    if rest is None:
        return json_response(page_of(first, None, is_first=True, count_all=None), 200, headers)
    return _stream(_write_list(first, rest), headers)


def page_of(
    items: list[dict[str, Any]],
    next_cursor: str | None,
    *,
    is_first: bool,
    count_all: Callable[[], int] | None,
) -> dict[str, Any]:
    """Compose `{tasks, next_cursor, count, total?}` of a page.

    `total` is there where the page has all items, or from `count_all`.
    """
    page = {"tasks": items, "next_cursor": next_cursor, "count": len(items)}
    if is_first and next_cursor is None:
        page["total"] = len(items)
    elif count_all:
        page["total"] = count_all()
    return page


def _cost(items: list[dict[str, Any]]) -> int:
    return max(1, -(-len(items) // LARGEST_PAGE))


def _stream(chunks: Iterator[bytes], headers: Mapping[str, str]) -> Response:
    return Response(stream_with_context(chunks), headers=headers, content_type="application/json")


def _write_array(first: list[dict[str, Any]], rest: Batches) -> Generator[bytes, None, int]:
    """Write the array and return its length."""
    count = len(first)
    yield orjson.dumps(first)[:-1]
    for batch in rest:
        if batch:  # Its items may have been deleted meanwhile.
            charge_sent(_cost(batch))
            count += len(batch)
            yield b"," + orjson.dumps(batch)[1:-1]
    yield b"]"
    return count


def _write_list(first: list[dict[str, Any]], rest: Batches) -> Iterator[bytes]:
    yield b'{"tasks":'
    count = yield from _write_array(first, rest)
    yield b',"next_cursor":null,"count":%d,"total":%d}' % (count, count)
