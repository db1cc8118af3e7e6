"""The input and output schemas of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from marshmallow import Schema, fields

from taskapi.auth.schemas import EXAMPLE_TIME, EXAMPLE_USER_ID
from taskapi.http.fields import Boolean, Choice, Id, Integer, Text, Time
from taskapi.http.inputs import Input
from taskapi.http.pagination import MAX_PAGE_SIZE
from taskapi.tasks import models
from taskapi.tasks.fields import FIELDS, WRITABLE, TaskField
from taskapi.tasks.list_statements import NEWEST_FIRST, SORTS
from taskapi.tasks.words import patterns

SERVER_FIELDS: Final = (
    *("id", "user_id", "version"),
    *(name for name, field in FIELDS.items() if not field.accept),
)
"""Fields that input ignores, so that a client may send back a task as it was read."""

MAX_SEARCH_LENGTH = 200
MAX_CURSOR_LENGTH = 2000
DEFAULT_LIMIT = 50
EXAMPLE_CURSOR = "WyJDVVM0dE5ZSiIsMTddrQ.nX2v0pDe3gQk7zYl5mWc"
EXAMPLE_ANCHOR = "01936b2e-8a11-7d0e-b6a4-90f2c1d3e5b7"
EXAMPLE_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
EXAMPLE_VERSION = 42
EXAMPLE_PATCH = {"title": "Buy oat milk", "description": None}
EXAMPLE_COMPLETION = {"completed": True, "completed_at": EXAMPLE_TIME}


def _make_inputs(names: Iterable[str]) -> dict[str, fields.Field[Any]]:
    return {name: FIELDS[name].make_input() for name in names}


_CONTRACT_A: Final = tuple(name for name in WRITABLE if FIELDS[name].in_contract_a)


# mypy rejects a base class that a function returns.
class TaskText(Input.from_dict(_make_inputs(_CONTRACT_A))):  # type: ignore[misc]
    """The input of contract A, which sets completion by a request of its own."""

    ignored = (*SERVER_FIELDS, *(name for name in WRITABLE if name not in _CONTRACT_A))


class TaskInput(Input.from_dict(_make_inputs(WRITABLE))):  # type: ignore[misc]
    """The input that creates or updates a task."""

    ignored = SERVER_FIELDS


class Completion(Input):
    """The completion to set; without `completed` the request toggles it."""

    ignored = SERVER_FIELDS

    completed = Boolean(metadata={"example": True})


class Move(Input):
    """The new position of a task: before or after another."""

    one_of = ("after", "before")

    after = Id(
        allow_none=True,
        metadata={"description": "null: before all others.", "example": EXAMPLE_ANCHOR},
    )
    before = Id()


class Search(Text):
    """Search words, each a prefix of a word; deserialized to patterns of LIKE."""

    default_error_messages = {"no_words": "This has no letter or digit to search for."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MAX_SEARCH_LENGTH, not_blank=True, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = patterns(super()._deserialize(value, *args, **kwargs) or "")
        if not loaded:
            raise self.make_error("no_words")
        return loaded


class PageQuery(Input):
    limit = Integer(
        1,
        MAX_PAGE_SIZE,
        in_text=True,
        metadata={
            "description": f"Maximum number of items of the page; {DEFAULT_LIMIT} if only `cursor` "
            "is sent. Without both, the response has all items.",
            "example": 20,
        },
    )
    cursor = Text(
        MAX_CURSOR_LENGTH,
        shortest=1,
        metadata={
            "description": "The `next_cursor` of the previous page.",
            "example": EXAMPLE_CURSOR,
        },
    )
    include = Choice(
        ["total"],
        metadata={"description": "Add the total of all pages.", "example": "total"},
    )


def _time_filter(description: str) -> Time:
    return Time(metadata={"description": description, "example": EXAMPLE_TIME})


def _make_filters() -> dict[str, fields.Field[Any]]:
    """Build the query parameters that fields declare."""
    found: dict[str, fields.Field[Any]] = {}
    for name, field in FIELDS.items():
        if field.ranges:
            base = name.removesuffix("_at")
            found[f"{base}_after"] = _time_filter(f"{field.ranges} later than this.")
            found[f"{base}_before"] = _time_filter(f"{field.ranges} earlier than this.")
        if field.value_filter:
            found[name] = field.value_filter()
    return found


_COMPLETED: Final = Boolean(
    in_text=True,
    metadata={"description": "Only completed tasks, or only open ones.", "example": False},
)
_SEARCH: Final = Search(
    metadata={
        "description": "Words or prefixes of words in title and description, without regard to "
        "case and accents.",
        "example": "milk oat",
    }
)


_FILTERS: Final = {"completed": _COMPLETED, "q": _SEARCH, **_make_filters()}


class TaskFilters(Input.from_dict(_FILTERS)):  # type: ignore[misc]
    sort = Choice(
        SORTS,
        load_default=NEWEST_FIRST,
        metadata={
            "description": "`-` for descending. By `completed_at`, open tasks come last.",
            "example": "order",
        },
    )


class TaskListQuery(TaskFilters, PageQuery):
    pass


class DeletionQuery(Input):
    permanent = Boolean(
        in_text=True,
        load_default=False,
        metadata={"description": "Delete permanently, without the trash.", "example": True},
    )


_OUTPUT_FIELDS: Final[Mapping[type, type[fields.Field[Any]]]] = {
    str: fields.String,
    int: fields.Integer,
    datetime: fields.DateTime,
}


def _make_output(name: str, field: TaskField) -> fields.Field[Any]:
    metadata = {"example": field.example}
    if name == "completed":
        return fields.Boolean(required=True, metadata=metadata)
    column = models.Task.__table__.c[name]
    kind = _OUTPUT_FIELDS[column.type.python_type]
    return kind(required=True, allow_none=column.nullable or None, metadata=metadata)


_VERSION: Final = fields.Integer(
    required=True,
    metadata={
        "description": "The owner's change counter at the last change of the task.",
        "example": EXAMPLE_VERSION,
    },
)


_TASK: Final = {
    "id": fields.UUID(required=True, metadata={"example": EXAMPLE_ID}),
    "user_id": fields.String(required=True, metadata={"example": EXAMPLE_USER_ID}),
    **{name: _make_output(name, field) for name, field in FIELDS.items()},
    "version": _VERSION,
}


class Task(Schema.from_dict(_TASK)):  # type: ignore[misc]
    """A task in a response."""


NEXT_CURSOR = fields.String(
    required=True,
    allow_none=True,
    metadata={"description": "null on the last page.", "example": None},
)
COUNT = fields.Integer(
    required=True,
    metadata={"description": "Number of tasks in this response.", "minimum": 0, "example": 1},
)
TOTAL = fields.Integer(
    metadata={
        "description": "Number of tasks on all pages: with `include=total`, or if this response "
        "has all of them.",
        "minimum": 0,
        "example": 1,
    }
)


class MovedTask(Schema):
    task = fields.Nested(Task, required=True)
    renumbered = fields.List(
        fields.Nested(Task),
        required=True,
        metadata={"description": "Other tasks with a changed `order`, to make room."},
    )


class TaskList(Schema):
    tasks = fields.List(fields.Nested(Task), required=True)
    next_cursor = NEXT_CURSOR
    count = COUNT
    total = TOTAL
