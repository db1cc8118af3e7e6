"""Compose responses of lists: pages, or complete lists that are streamed in batches.

A complete list is charged by its size, like the pages it would take. The first batch is prefetched
before the response begins, so its errors are problem documents. A later error closes the connection
within the JSON text, so that no client accepts a truncated list.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

import orjson
from flask import Response, stream_with_context

from taskapi.http.app import json_response
from taskapi.http.rate_limits import charge, charge_streamed

BATCH_SIZE: Final = 500
"""The number of items in a statement, and in memory at a time."""

MAX_PAGE_SIZE: Final = 200
"""The maximum number of items of a page, which costs one request of the rate limit."""

Batches = Iterator[list[dict[str, Any]]]


def array_response(
    first: list[dict[str, Any]], rest: Batches | None, headers: Mapping[str, str]
) -> Response:
    """Return a response with a bare array. `rest` iterates over further batches; None if none.

    Raises `RateLimited` if the first batch exceeds the rate limit.
    """
    charge(_cost(first) - 1)
    if rest is None:
        return json_response(first, 200, headers)
    return _stream(_write_array(first, rest), headers)


def list_response(
    first: list[dict[str, Any]], rest: Batches | None, headers: Mapping[str, str]
) -> Response:
    """Return a response with `{tasks, next_cursor, count, total}` of a complete list.

    Parameters and exceptions are those of `array_response`.
    """
    charge(_cost(first) - 1)
    if rest is None:
        return json_response(compose_page(first, None, is_first=True, count_all=None), 200, headers)
    return _stream(_write_list(first, rest), headers)


def compose_page(
    items: list[dict[str, Any]],
    next_cursor: str | None,
    *,
    is_first: bool,
    count_all: Callable[[], int] | None,
) -> dict[str, Any]:
    """Compose `{tasks, next_cursor, count, total?}` of a page.

    `total` is present if the page has all items, or is the result of `count_all`.
    """
    page = {"tasks": items, "next_cursor": next_cursor, "count": len(items)}
    if is_first and next_cursor is None:
        page["total"] = len(items)
    elif count_all:
        page["total"] = count_all()
    return page


def _cost(items: list[dict[str, Any]]) -> int:
    return max(1, -(-len(items) // MAX_PAGE_SIZE))


def _stream(chunks: Iterator[bytes], headers: Mapping[str, str]) -> Response:
    return Response(stream_with_context(chunks), headers=headers, content_type="application/json")


def _write_array(first: list[dict[str, Any]], rest: Batches) -> Generator[bytes, None, int]:
    """Yield a JSON array in chunks and return its length."""
    count = len(first)
    yield orjson.dumps(first)[:-1]
    for batch in rest:
        if batch:  # Its items may have been deleted meanwhile.
            charge_streamed(_cost(batch))
            count += len(batch)
            yield b"," + orjson.dumps(batch)[1:-1]
    yield b"]"
    return count


def _write_list(first: list[dict[str, Any]], rest: Batches) -> Iterator[bytes]:
    yield b'{"tasks":'
    count = yield from _write_array(first, rest)
    yield b',"next_cursor":null,"count":%d,"total":%d}' % (count, count)
