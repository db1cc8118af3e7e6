"""Files of tasks as JSON and JSON lines."""

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
from taskapi.transfer.service import MOST

TASK_LIMIT: Final = BODY_LIMIT
"""How many bytes a task of a file may have: as many as when it is sent alone."""

_BLANK: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,%d}" % TASK_LIMIT)
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# What matters for the end of an element; an object or array of scalars is one token.
_TOKEN: Final = re.compile(
    rb'[\[{][^"\[\]{}]*+(?:%(string)b[^"\[\]{}]*+)*+[\]}]|%(string)b|["\[\]{},]'
    % {b"string": _STRING},
    re.DOTALL,
)
_END_OF_ARRAY: Final = ord("]")


def write_json(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write an array with a task on each line."""
    begin = b"[\n"
    for tasks in batches:
        if tasks:
            yield begin + b",\n".join(orjson.dumps(task) for task in tasks)
            begin = b",\n"
    yield b"[]\n" if begin == b"[\n" else b"\n]\n"


def read_json(body: bytes) -> Iterator[Any]:
    """Read an array, one task at a time.

    Raises `MalformedJSON`, and `ValidationFailed` where it is something else or has a task that
    is too long.
    """
    for number, (start, end) in enumerate(_elements(body), 1):
        try:
            yield parse_json(body[start:end])
        except orjson.JSONDecodeError as error:
            raise MalformedJSON(f"Task {number} is not JSON in UTF-8: {error}.") from None


def _elements(body: bytes) -> Iterator[tuple[int, int]]:
    """Find the elements of an array without parsing them.

    Parsed at once, 16 MiB of `[[]],` are 0.6 GiB of lists, and the interpreter does nothing
    else for 4 s.
    """
    end = _BLANK.match(body).end()  # type: ignore[union-attr]  # It matches nothing as well.
    if body[end : end + 1] != b"[":
        if not body[end : end + 1] or len(body) <= TASK_LIMIT:
            _refuse_malformed(body[end:])
        raise refuse("wrong_type", "This must be an array of tasks.")
    number = 0
    while body[end] != _END_OF_ARRAY:
        start, number = end + 1, number + 1
        end = _end_of_element(body, start, number)
        if number > 1 or body[end] != _END_OF_ARRAY or body[start:end].strip():
            yield start, end
    if body[end + 1 :].strip(b" \t\r\n"):
        raise MalformedJSON("There is more in the body than an array of tasks.")


def _end_of_element(body: bytes, start: int, number: int) -> int:
    """Return where the comma or bracket behind an element is."""
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
        raise refuse("too_long", f"Task {number} is longer than {TASK_LIMIT} bytes; shorten it.")
    raise MalformedJSON("The body is not JSON in UTF-8: its array does not end.")


def _refuse_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def read_json_lines(body: bytes) -> Iterator[Any]:
    """Read a value from each line; a line that is no JSON is a `ValidationFailed`."""
    if body.count(b"\n") > 2 * MOST:
        raise refuse("too_many", f"There are more than {2 * MOST} lines; send several files.")
    for line in io.BytesIO(body.removeprefix(codecs.BOM_UTF8)):
        if not line.strip():
            continue
        if len(line) > TASK_LIMIT:
            yield refuse("too_long", f"This is longer than {TASK_LIMIT} bytes; shorten it.")
            continue
        try:
            yield parse_json(line)
        except orjson.JSONDecodeError as error:
            yield refuse("malformed_json", f"This is not JSON in UTF-8: {error}.")


def refuse(code: str, detail: str) -> ValidationFailed:
    """Make the error of a file, or of a row of it."""
    return ValidationFailed([FieldError("", code, detail)])
