"""Files of tasks: JSON, JSON lines, and CSV in which no spreadsheet finds a formula."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from taskapi.db.execute import Row
from taskapi.exceptions import FieldError, MalformedJSON, ValidationFailed
from taskapi.http.payload import parse_json
from taskapi.settings import BODY_LIMIT, IMPORT_LIMIT
from taskapi.tasks.fields import FIELDS, STORED
from taskapi.tasks.models import Task
from taskapi.text import INVISIBLE_RANGES
from taskapi.transfer.service import MOST

TASK_LIMIT: Final = BODY_LIMIT
"""How many bytes a task of a file may have: as many as when it is sent alone."""

COLUMNS: Final = ("id", *FIELDS, "version")
_TYPES: Final = {
    "completed": bool,
    **{name: Task.__table__.c[name].type.python_type for name in STORED},
}
"""What a client writes, by name; all else is text that is read as it is."""

_DELIMITERS: Final = ",;\t"
# What a spreadsheet may run (OWASP, CSV Injection), behind any number of our own marks: at the
# beginning of a cell, and where one that splits at other delimiters or lines would begin another.
# White space, controls and what is invisible hide nothing: some take it away before they look. Nor
# does a quotation mark within: doubled, it opens and closes the cell that begins there.
# As one class of characters, tab and ends of lines excepted: before 3.11.5 Python loses matches of
# possessive groups that have alternatives.
_HIDDEN: Final = (
    r"\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    + INVISIBLE_RANGES
)
_AT_START: Final = rf"('*(?=[{_HIDDEN}]*+[=+\-@＝＋－＠\t\r\n]))"
_WITHIN: Final = rf"('*(?=[{_HIDDEN}\"]*+[=+\-@＝＋－＠]))"
_UNMARKED: Final = re.compile(rf"^{_AT_START}|(?<=[;\t\r\n]){_WITHIN}")
_MARKED: Final = re.compile(rf"^'{_AT_START}|(?<=[;\t\r\n])'{_WITHIN}")

_BLANK: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,%d}" % TASK_LIMIT)
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# What matters for the end of an element; an object or array of scalars is one token.
_TOKEN: Final = re.compile(
    rb'[\[{][^"\[\]{}]*+(?:%(string)b[^"\[\]{}]*+)*+[\]}]|%(string)b|["\[\]{},]'
    % {b"string": _STRING},
    re.DOTALL,
)
_END_OF_ARRAY: Final = ord("]")

csv.field_size_limit(IMPORT_LIMIT)  # A cell that is too long is one bad row, not the end.


def write_json(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write an array with a task on each line."""
    begin = b"[\n"
    for tasks in batches:
        if tasks:
            yield begin + b",\n".join(orjson.dumps(task) for task in tasks)
            begin = b",\n"
    yield b"[]\n" if begin == b"[\n" else b"\n]\n"


def write_csv(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write a line of names and a line for each task (RFC 4180)."""
    yield _lines([COLUMNS])
    for tasks in batches:
        yield _lines([_cell(name, task[name]) for name in COLUMNS] for task in tasks)


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
        raise _refused("wrong_type", "This must be an array of tasks.")
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
        raise _refused("too_long", f"Task {number} is longer than {TASK_LIMIT} bytes; shorten it.")
    raise MalformedJSON("The body is not JSON in UTF-8: its array does not end.")


def _refuse_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def read_json_lines(body: bytes) -> Iterator[Any]:
    """Read a value from each line; a line that is no JSON is a `ValidationFailed`."""
    if body.count(b"\n") > 2 * MOST:
        raise _refused("too_many", f"There are more than {2 * MOST} lines; send several files.")
    for line in io.BytesIO(body.removeprefix(codecs.BOM_UTF8)):
        if not line.strip():
            continue
        if len(line) > TASK_LIMIT:
            yield _refused("too_long", f"This is longer than {TASK_LIMIT} bytes; shorten it.")
            continue
        try:
            yield parse_json(line)
        except orjson.JSONDecodeError as error:
            yield _refused("malformed_json", f"This is not JSON in UTF-8: {error}.")


def read_csv(body: bytes) -> Iterator[Any]:
    """Read the lines below one of names, as spreadsheets write them.

    The delimiter is a comma, a semicolon or a tab. Names may be in any case, with white space
    around them, and a delimiter may end each line. Raises `ValidationFailed` where there is no
    line of names.
    """
    lines = _Lines(body)
    reader = csv.reader(lines, strict=True, delimiter=_find_delimiter(body))
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        while names and not names[-1]:
            del names[-1]
        if "title" not in names or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
            detail = f"The first line must name the columns: title, and of {', '.join(COLUMNS)}."
            raise _refused("wrong_columns", detail)
        for cells in reader:
            lines.begin_record()
            while len(cells) > len(names) and not cells[-1]:
                del cells[-1]
            if len(cells) == len(names):
                yield _task(dict(zip(names, cells, strict=True)))
            elif cells:
                detail = f"The line has {len(cells)} cells; there are {len(names)} columns."
                yield _refused("wrong_columns", detail)
    except UnicodeDecodeError as error:
        detail = f"What follows line {reader.line_num} is not text in UTF-8: {error.reason}."
        raise _refused("malformed_csv", detail) from None
    except csv.Error as error:
        detail = f"Line {reader.line_num} is not CSV: {error}."
        raise _refused("malformed_csv", detail) from None


def _find_delimiter(body: bytes) -> str:
    """Return the delimiter that the first line has most of, where it ends no cell's quotes."""
    first = re.split(rb"[\r\n]", body[:TASK_LIMIT], maxsplit=1)[0]
    return max(_DELIMITERS, key=lambda delimiter: first.count(delimiter.encode()))


class _Lines:
    """The lines of a file, decoded one by one, whose records have at most `TASK_LIMIT` characters.

    Of 16 MiB of commas or quoted lines csv would make one record, and hold the interpreter for it.
    """

    def __init__(self, body: bytes) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
        self._left = TASK_LIMIT

    def begin_record(self) -> None:
        """Count anew."""
        self._left = TASK_LIMIT

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                detail = f"A line, or a quoted cell, has more than {TASK_LIMIT} characters."
                raise _refused("too_long", detail)
            yield line


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNMARKED.sub(_mark, value) if _TYPES.get(name) is str else str(value)


def _mark(found: re.Match[str]) -> str:
    return f"'{found[0]}"


def _unmark(found: re.Match[str]) -> str:
    return found[0][1:]


def _task(cells: dict[str, str]) -> dict[str, Any]:
    task: dict[str, Any] = {}
    for name, cell in cells.items():
        kind = _TYPES.get(name)
        if kind is str:
            task[name] = _MARKED.sub(_unmark, cell)
        elif kind is bool and cell:
            task[name] = {"true": True, "false": False}.get(cell.lower(), cell)
        elif kind is int and cell:
            is_number = re.fullmatch(r"[+-]?[0-9]{1,18}", cell)
            task[name] = int(cell) if is_number else cell
        elif cell:
            task[name] = cell
    return task


def _refused(code: str, detail: str) -> ValidationFailed:
    return ValidationFailed([FieldError("", code, detail)])
