"""Files of tasks: JSON, JSON lines, and CSV in which no spreadsheet finds a formula."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from taskapi.config import IMPORT_LIMIT
from taskapi.database import Row
from taskapi.exceptions import FieldError, MalformedJSON, ValidationFailed

COLUMNS: Final = (
    *("id", "title", "description", "completed", "completed_at"),
    *("order", "created_at", "updated_at", "version"),
)
_TEXTS: Final = ("title", "description")
# What a spreadsheet may run (OWASP, CSV Injection), behind any number of our own marks. White
# space hides nothing: some take it away before they look.
_FORMULA: Final = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
_MARK: Final = "'"

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
    """Read an array. Raises `MalformedJSON`, and `ValidationFailed` where it is something else."""
    try:
        tasks = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None
    if not isinstance(tasks, list):
        raise _refused("wrong_type", "This must be an array of tasks.")
    yield from tasks


def read_json_lines(body: bytes) -> Iterator[Any]:
    """Read a value from each line; a line that is no JSON is a `ValidationFailed`."""
    for line in body.removeprefix(codecs.BOM_UTF8).splitlines():
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield _refused("malformed_json", f"This is not JSON in UTF-8: {error}.")


def read_csv(body: bytes) -> Iterator[Any]:
    """Read the lines below one of names. Raises `ValidationFailed` where there is no such line."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("malformed_csv", f"This is not text in UTF-8: {error}.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, [])
        if "title" not in names or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
            detail = f"The first line must name the columns: title, and of {', '.join(COLUMNS)}."
            raise _refused("wrong_columns", detail)
        for cells in reader:
            if len(cells) == len(names):
                yield _task(dict(zip(names, cells, strict=True)))
            elif cells:
                detail = f"The line has {len(cells)} cells; there are {len(names)} columns."
                yield _refused("wrong_columns", detail)
    except csv.Error as error:
        detail = f"Line {reader.line_num} is not CSV: {error}."
        raise _refused("malformed_csv", detail) from None


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    is_unsafe = name in _TEXTS and _FORMULA.match(value)
    return f"{_MARK}{value}" if is_unsafe else str(value)


def _task(cells: dict[str, str]) -> dict[str, Any]:
    task: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in _TEXTS:
            is_marked = cell.startswith(_MARK) and _FORMULA.match(cell)
            task[name] = cell.removeprefix(_MARK) if is_marked else cell
        elif name == "completed" and cell:
            task[name] = {"true": True, "false": False}.get(cell.lower(), cell)
        elif name == "order" and cell:
            is_number = re.fullmatch(r"[+-]?[0-9]{1,18}", cell)
            task[name] = int(cell) if is_number else cell
        elif cell:
            task[name] = cell
    return task


def _refused(code: str, detail: str) -> ValidationFailed:
    return ValidationFailed([FieldError("", code, detail)])
