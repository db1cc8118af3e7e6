"""Write and read CSV files of tasks (RFC 4180), safe from formula injection."""

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
from taskapi.transfer.json_files import TASK_LIMIT, make_file_error

COLUMNS: Final = ("id", *FIELDS, "version")
_TYPES: Final = {
    "completed": bool,
    **{name: Task.__table__.c[name].type.python_type for name in STORED},
}
"""The types of writable columns by name; the cells of all other columns are kept as text."""

_DELIMITERS: Final = ",;\t"
# The beginnings of formulas (OWASP, CSV Injection) after any number of apostrophes: at the start of
# a cell, and where a spreadsheet with other delimiters or line ends would start another cell.
# Leading white space, control and invisible characters do not count: some spreadsheets strip them.
# Nor does a quotation mark within a cell: doubled, it opens and closes the cell that starts there.
# One character class without tab and line ends: before 3.11.5, Python loses matches of possessive
# groups with alternatives.
_SKIPPED: Final = (
    r"\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    + INVISIBLE_RANGES
)
_AT_START: Final = rf"('*(?=[{_SKIPPED}]*+[=+\-@＝＋－＠\t\r\n]))"
_WITHIN: Final = rf"('*(?=[{_SKIPPED}\"]*+[=+\-@＝＋－＠]))"
_UNMARKED: Final = re.compile(rf"^{_AT_START}|(?<=[;\t\r\n]){_WITHIN}")
_MARKED: Final = re.compile(rf"^'{_AT_START}|(?<=[;\t\r\n])'{_WITHIN}")

csv.field_size_limit(IMPORT_LIMIT)  # A long cell is an error of its row, not of the file.


def write_csv(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    """Write a header and a line for each task (RFC 4180), in UTF-8."""
    yield _format_lines([COLUMNS])
    for tasks in batches:
        yield _format_lines([_format_cell(name, task[name]) for name in COLUMNS] for task in tasks)


def read_csv(body: bytes) -> Iterator[Any]:
    """Read tasks from a file with a header, as spreadsheets write it.

    The delimiter is a comma, a semicolon or a tab. The names of columns may be in any case, with
    white space around them, and a delimiter may end each line. Yields a `ValidationFailed` for a
    row with a wrong number of cells. Raises `ValidationFailed` without a valid header, and for a
    file that is not CSV in UTF-8.
    """
    lines = _Lines(body)
    reader = csv.reader(lines, strict=True, delimiter=_find_delimiter(body))
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        while names and not names[-1]:
            del names[-1]
        if "title" not in names or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
            detail = f"The first line must name the columns: title, and of {', '.join(COLUMNS)}."
            raise make_file_error("wrong_columns", detail)
        for cells in reader:
            lines.begin_record()
            while len(cells) > len(names) and not cells[-1]:
                del cells[-1]
            if len(cells) == len(names):
                yield _parse_task(dict(zip(names, cells, strict=True)))
            elif cells:
                detail = f"The line has {len(cells)} cells; there are {len(names)} columns."
                yield make_file_error("wrong_columns", detail)
    except UnicodeDecodeError as error:
        detail = f"What follows line {reader.line_num} is not text in UTF-8: {error.reason}."
        raise make_file_error("malformed_csv", detail) from None
    except csv.Error as error:
        detail = f"Line {reader.line_num} is not CSV: {error}."
        raise make_file_error("malformed_csv", detail) from None


def _find_delimiter(body: bytes) -> str:
    """Return the most frequent delimiter of the first line; the header needs no quotes."""
    first = re.split(rb"[\r\n]", body[:TASK_LIMIT], maxsplit=1)[0]
    return max(_DELIMITERS, key=lambda delimiter: first.count(delimiter.encode()))


class _Lines:
    """The lines of a file, decoded one by one, with at most `TASK_LIMIT` characters per record.

    Without the limit, csv would read 16 MiB of commas or quoted lines as one record and block the
    interpreter meanwhile.
    """

    def __init__(self, body: bytes) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
        self._left = TASK_LIMIT

    def begin_record(self) -> None:
        """Restart the count of characters."""
        self._left = TASK_LIMIT

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                detail = f"A line, or a quoted cell, has more than {TASK_LIMIT} characters."
                raise make_file_error("too_long", detail)
            yield line


def _format_lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _format_cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNMARKED.sub(_mark, value) if _TYPES.get(name) is str else str(value)


def _mark(match: re.Match[str]) -> str:
    return f"'{match[0]}"


def _unmark(match: re.Match[str]) -> str:
    return match[0][1:]


def _parse_task(cells: dict[str, str]) -> dict[str, Any]:
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
