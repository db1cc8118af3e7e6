"""Files of tasks as CSV (RFC 4180), in which no spreadsheet finds a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from taskapi.db.execute import Row
from taskapi.settings import IMPORT_LIMIT
from taskapi.tasks.fields import FIELDS, STORED
from taskapi.tasks.models import Task
from taskapi.text import INVISIBLE_RANGES
from taskapi.transfer.json_files import TASK_LIMIT, refuse

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

csv.field_size_limit(IMPORT_LIMIT)  # A cell that is too long is one bad row, not the end.


def write_csv(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write a line of names and a line for each task (RFC 4180)."""
    yield _lines([COLUMNS])
    for tasks in batches:
        yield _lines([_cell(name, task[name]) for name in COLUMNS] for task in tasks)


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
            raise refuse("wrong_columns", detail)
        for cells in reader:
            lines.begin_record()
            while len(cells) > len(names) and not cells[-1]:
                del cells[-1]
            if len(cells) == len(names):
                yield _task(dict(zip(names, cells, strict=True)))
            elif cells:
                detail = f"The line has {len(cells)} cells; there are {len(names)} columns."
                yield refuse("wrong_columns", detail)
    except UnicodeDecodeError as error:
        detail = f"What follows line {reader.line_num} is not text in UTF-8: {error.reason}."
        raise refuse("malformed_csv", detail) from None
    except csv.Error as error:
        detail = f"Line {reader.line_num} is not CSV: {error}."
        raise refuse("malformed_csv", detail) from None


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
                raise refuse("too_long", detail)
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
