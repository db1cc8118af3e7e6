"""The fields of a task: each is declared here, and nowhere else.

From a declaration follow the columns of tasks and trash, the input and output schemas, the
statements that create, update, batch and import, the filters and sorts of lists, the columns of a
CSV file, the document, and the types of the JavaScript client. docs/design.md ("To add a field")
names what does not follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import DateTime, Integer, String, Text, func
from sqlalchemy.orm import Mapped, MappedColumn, mapped_column

from taskapi.auth.schemas import EXAMPLE_TIME
from taskapi.http import fields as json

TITLE_LENGTH: Final = 500
DESCRIPTION_LENGTH: Final = 2000
LONGEST_DESCRIPTION: Final = 10_000
"""What the column holds: as much as any contract takes."""

INT32: Final = 2**31

_FIELD: Final = "field"
_WORDS_OF: Final = "words_of"


@dataclass(frozen=True)
class TaskField:
    """What is to be known of a field beside its column.

    `accept` makes the marshmallow field that validates what a client sends; the service alone
    writes a field that has none. `default` is the value of a task that is created without it,
    unless it `is_required`. `sorted_by` names the column by which lists can be sorted. `ranges` is
    the verb of the query parameters `<name>_after` and `<name>_before` of a time; `value_filter`
    makes the query parameter that wants one value. Of the service's own fields a file may have
    what `is_imported`. Contract A's clients write what is `in_contract_a`.
    """

    example: Any
    accept: Callable[..., json.Coded] | None = None
    default: Any = None
    is_required: bool = False
    sorted_by: str | None = None
    ranges: str | None = None
    value_filter: Callable[[], json.Coded] | None = None
    is_imported: bool = False
    in_contract_a: bool = False

    def make_input(self, **options: Any) -> json.Coded:
        """Make the marshmallow field that validates a client's value."""
        assert self.accept
        if self.is_required:
            options = {"required": True, **options}
        elif self.default is None:
            options = {"load_default": None, **options}
        return self.accept(metadata={"example": self.example}, **options)


def _declare(column: Any, *, server_default: Any = None, **field: Any) -> MappedColumn[Any]:
    return mapped_column(column, server_default=server_default, info={_FIELD: TaskField(**field)})


def _words_of(name: str) -> MappedColumn[str]:
    """Declare the words of a field, which make it searched: what `words.fold` makes of it."""
    return mapped_column(Text, server_default="", info={_WORDS_OF: name})


class TaskFields:
    """The columns that tasks and trash share, in the order in which a task is answered."""

    title: Mapped[str] = _declare(
        String(TITLE_LENGTH),
        accept=partial(json.Text, TITLE_LENGTH, shortest=1, trim=True),
        example="Buy milk",
        is_required=True,
        sorted_by="title_key",
        in_contract_a=True,
    )
    description: Mapped[str | None] = _declare(
        String(LONGEST_DESCRIPTION),
        accept=partial(json.Text, DESCRIPTION_LENGTH, allow_none=True, empty_is_null=True),
        example="Oat, two of them",
        in_contract_a=True,
    )
    completed_at: Mapped[datetime | None] = _declare(
        DateTime(timezone=True),
        example=None,
        sorted_by="completed_at",
        ranges="Completed",
        is_imported=True,
    )
    order: Mapped[int] = _declare(
        Integer,
        server_default="0",
        accept=partial(json.Integer, -INT32, INT32 - 1),
        example=0,
        default=0,
        sorted_by="order",
    )
    created_at: Mapped[datetime] = _declare(
        DateTime(timezone=True),
        server_default=func.now(),
        example=EXAMPLE_TIME,
        sorted_by="created_at",
        ranges="Made",
        is_imported=True,
    )
    updated_at: Mapped[datetime] = _declare(
        DateTime(timezone=True),
        server_default=func.now(),
        example=EXAMPLE_TIME,
        sorted_by="version",  # Versions rise as it does, and no two are the same.
        ranges="Changed",
    )

    title_words: Mapped[str] = _words_of("title")
    description_words: Mapped[str] = _words_of("description")


COMPLETED: Final = TaskField(accept=json.Boolean, example=False, default=False)
"""`completed` is no column: a task has a `completed_at` or it has not."""


def _with_info(key: str) -> dict[str, Any]:
    columns = {
        name: attribute.column
        for name, attribute in vars(TaskFields).items()
        if isinstance(attribute, MappedColumn)
    }
    return {name: column.info[key] for name, column in columns.items() if key in column.info}


COLUMN_FIELDS: Final[Mapping[str, TaskField]] = _with_info(_FIELD)
"""The fields that are columns, by name."""

FIELDS: Final[Mapping[str, TaskField]] = {
    name: field
    for column, declared in COLUMN_FIELDS.items()
    for name, field in ([("completed", COMPLETED)] if column == "completed_at" else [])
    + [(column, declared)]
}
"""All fields but the owner, the id and the version, in the order in which a task is answered."""

WRITABLE: Final = tuple(name for name, field in FIELDS.items() if field.accept)
"""The fields that clients write."""

STORED: Final = tuple(name for name in WRITABLE if name in COLUMN_FIELDS)
"""Those of them that are stored as they are sent."""

WORDS: Final[Mapping[str, str]] = _with_info(_WORDS_OF)
"""The columns that hold the words of searched fields, each with the name of its field."""

IMPORTED: Final = tuple(name for name, field in FIELDS.items() if field.is_imported)
"""Fields that the service writes, but for a file."""

DEFAULTS: Final[Mapping[str, Any]] = {
    name: FIELDS[name].default for name in WRITABLE if not FIELDS[name].is_required
}
"""What a task has where it is created without saying so."""
