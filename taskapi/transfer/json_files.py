"""Write and read files of tasks as JSON and JSON Lines."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from taskapi.db.execute import Row
from taskapi.exceptions import FieldError, MalformedJSON, ValidationFailed
from taskapi.http.payload import parse_json
from taskapi.settings import BODY_LIMIT
from taskapi.transfer.service import MAX_TASKS_PER_FILE

TASK_LIMIT: Final = BODY_LIMIT
"""The maximum size of a task in a file, in bytes: the same as for a single request."""

_BLANK: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,%d}" % TASK_LIMIT)
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# The tokens that delimit elements; an object or array of scalars is one token.
_TOKEN: Final = re.compile(
    rb'[\[{][^"\[\]{}]*+(?:%(string)b[^"\[\]{}]*+)*+[\]}]|%(string)b|["\[\]{},]'
    % {b"string": _STRING},
    re.DOTALL,
)
_ARRAY_END: Final = ord("]")


def write_json(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write a JSON array with a task on each line."""
    begin = b"[\n"
    for tasks in batches:
        if tasks:
            yield begin + b",\n".join(orjson.dumps(task) for task in tasks)
            begin = b",\n"
    yield b"[]\n" if begin == b"[\n" else b"\n]\n"


def read_json(body: bytes) -> Iterator[Any]:
    """Read a JSON array, one task at a time.

    Raises `MalformedJSON`, and `ValidationFailed` if it is not an array or a task exceeds
    `TASK_LIMIT`.
    """
    for number, (start, end) in enumerate(_find_elements(body), 1):
        try:
            yield parse_json(body[start:end])
        except orjson.JSONDecodeError as error:
            raise MalformedJSON(f"Task {number} is not JSON in UTF-8: {error}.") from None


def _find_elements(body: bytes) -> Iterator[tuple[int, int]]:
    """Find the start and end of each array element without parsing it.

    Parsed at once, 16 MiB of `[[]],` take 0.6 GiB of lists, and block the interpreter for 4 s.
    """
    end = _BLANK.match(body).end()  # type: ignore[union-attr]  # It also matches the empty string.
    if body[end : end + 1] != b"[":
        if not body[end : end + 1] or len(body) <= TASK_LIMIT:
            _validate_json(body[end:])
        raise make_file_error("wrong_type", "This must be an array of tasks.")
    number = 0
    while body[end] != _ARRAY_END:
        start, number = end + 1, number + 1
        end = _find_element_end(body, start, number)
        if number > 1 or body[end] != _ARRAY_END or body[start:end].strip():
            yield start, end
    if body[end + 1 :].strip(b" \t\r\n"):
        raise MalformedJSON("There is more in the body than an array of tasks.")


def _find_element_end(body: bytes, start: int, number: int) -> int:
    """Return the offset of the comma or bracket after an element."""
    depth = 0
    for token in _TOKEN.finditer(body, start, start + TASK_LIMIT):
        if token.end() - token.start() > 1:
            continue
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"," | b"]" if not depth:
                return token.start()
            case b"]" | b"}":
                depth -= 1
            case b'"':
                break
    if start + TASK_LIMIT < len(body):
        raise make_file_error(
            "too_long", f"Task {number} is longer than {TASK_LIMIT} bytes; shorten it."
        )
    raise MalformedJSON("The body is not JSON in UTF-8: its array does not end.")


def _validate_json(body: bytes) -> None:
    try:
        parse_json(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def read_json_lines(body: bytes) -> Iterator[Any]:
    """Read a value from each line (JSON Lines); yields a `ValidationFailed` for a malformed line.

    Raises `ValidationFailed` if there are more than twice `MAX_TASKS_PER_FILE` lines.
    """
    if body.count(b"\n") > 2 * MAX_TASKS_PER_FILE:
        raise make_file_error(
            "too_many", f"There are more than {2 * MAX_TASKS_PER_FILE} lines; send several files."
        )
    for line in io.BytesIO(body.removeprefix(codecs.BOM_UTF8)):
        if not line.strip():
            continue
        if len(line) > TASK_LIMIT:
            yield make_file_error(
                "too_long", f"This is longer than {TASK_LIMIT} bytes; shorten it."
            )
            continue
        try:
            yield parse_json(line)
        except orjson.JSONDecodeError as error:
            yield make_file_error("malformed_json", f"This is not JSON in UTF-8: {error}.")


def make_file_error(code: str, detail: str) -> ValidationFailed:
    """Make the error of a file or of one row."""
    return ValidationFailed([FieldError("", code, detail)])
