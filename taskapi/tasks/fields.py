"""Declare the fields of a task, each exactly once.

The declarations generate the columns of tasks and trash, the input and output schemas, the
statements that create, update, batch and import, the filters and sort orders of lists, the columns
of a CSV file, the OpenAPI document, and the types of the JavaScript client. docs/design.md ("To add
a field") lists the remaining steps.
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

MAX_TITLE_LENGTH: Final = 500
MAX_DESCRIPTION_LENGTH: Final = 2000
DESCRIPTION_COLUMN_LENGTH: Final = 10_000
"""The length of the column: the highest limit of all contracts, in characters."""

INT32: Final = 2**31

_FIELD: Final = "field"
_WORDS: Final = "words"


@dataclass(frozen=True)
class TaskField:
    """The declaration of a field beside its column.

    `accept` makes the marshmallow field that validates a client's value; without it, only the
    service writes the field. `default` is the value in a new task if the client sends none, unless
    the field `is_required`. `sorted_by` names the column that sorts lists by this field. `ranges`
    is the verb in the descriptions of the query parameters `<name>_after` and `<name>_before` of a
    time; `value_filter` makes the query parameter for an exact value. `is_imported` lets an
    imported file set a field that otherwise only the service writes. `in_contract_a` makes the
    field writable for clients of contract A.
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


def _declare_words(name: str) -> MappedColumn[str]:
    """Declare the column with the folded words of a field, which makes the field searchable."""
    return mapped_column(Text, server_default="", info={_WORDS: name})


class TaskFields:
    """The columns that tasks and trash share, in the order of the members of a JSON task."""

    title: Mapped[str] = _declare(
        String(MAX_TITLE_LENGTH),
        accept=partial(json.Text, MAX_TITLE_LENGTH, shortest=1, trim=True),
        example="Buy milk",
        is_required=True,
        sorted_by="title_key",
        in_contract_a=True,
    )
    description: Mapped[str | None] = _declare(
        String(DESCRIPTION_COLUMN_LENGTH),
        accept=partial(json.Text, MAX_DESCRIPTION_LENGTH, allow_none=True, empty_is_null=True),
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
        ranges="Created",
        is_imported=True,
    )
    updated_at: Mapped[datetime] = _declare(
        DateTime(timezone=True),
        server_default=func.now(),
        example=EXAMPLE_TIME,
        sorted_by="version",  # Versions increase with it, and are unique.
        ranges="Updated",
    )

    title_words: Mapped[str] = _declare_words("title")
    description_words: Mapped[str] = _declare_words("description")


COMPLETED: Final = TaskField(accept=json.Boolean, example=False, default=False)
"""`completed` is not a column: it is true if `completed_at` is set."""


def _collect_info(key: str) -> dict[str, Any]:
    columns = {
        name: attribute.column
        for name, attribute in vars(TaskFields).items()
        if isinstance(attribute, MappedColumn)
    }
    return {name: column.info[key] for name, column in columns.items() if key in column.info}


COLUMN_FIELDS: Final[Mapping[str, TaskField]] = _collect_info(_FIELD)
"""The fields that are columns, by name."""

FIELDS: Final[Mapping[str, TaskField]] = {
    name: field
    for column, declared in COLUMN_FIELDS.items()
    for name, field in ([("completed", COMPLETED)] if column == "completed_at" else [])
    + [(column, declared)]
}
"""All fields except owner, id and version, in the order of the members of a JSON task."""

WRITABLE: Final = tuple(name for name, field in FIELDS.items() if field.accept)
"""The names of the fields that clients write."""

STORED: Final = tuple(name for name in WRITABLE if name in COLUMN_FIELDS)
"""The writable fields that are stored as sent: all except `completed`."""

WORDS: Final[Mapping[str, str]] = _collect_info(_WORDS)
"""The names of searchable fields, by the column that holds their folded words."""

IMPORTED: Final = tuple(name for name, field in FIELDS.items() if field.is_imported)
"""The fields that only the service and imported files write."""

DEFAULTS: Final[Mapping[str, Any]] = {
    name: FIELDS[name].default for name in WRITABLE if not FIELDS[name].is_required
}
"""The values of the optional fields in a new task, if the client sends none."""
