"""What JSON may say of tasks."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from taskapi.auth.schemas import EXAMPLE_TIME, EXAMPLE_USER_ID
from taskapi.http.fields import Boolean, Choice, Id, Input, Integer, Text, Time
from taskapi.http.pagination import LARGEST_PAGE
from taskapi.tasks.listing import NEWEST_FIRST, SORTS
from taskapi.tasks.models import DESCRIPTION_LENGTH, TITLE_LENGTH
from taskapi.tasks.words import patterns

SERVER_WRITTEN: tuple[str, ...] = (
    "id",
    "user_id",
    "version",
    "created_at",
    "updated_at",
    "completed_at",
)
"""Accepted and ignored, so that a client may send back what it has read."""

INT32 = 2**31
SEARCH_LENGTH = 200
CURSOR_LENGTH = 2000
DEFAULT_LIMIT = 50
EXAMPLE_CURSOR = "WyJDVVM0dE5ZSiIsMTddrQ.nX2v0pDe3gQk7zYl5mWc"
EXAMPLE_ANCHOR = "01936b2e-8a11-7d0e-b6a4-90f2c1d3e5b7"
EXAMPLE_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
EXAMPLE_VERSION = 42
EXAMPLE_PATCH = {"title": "Buy oat milk", "description": None}
EXAMPLE_COMPLETION = {"completed": True, "completed_at": EXAMPLE_TIME}


class TaskText(Input):
    """A task as contract A's clients write it: of their completion they say elsewhere."""

    ignored: tuple[str, ...] = (*SERVER_WRITTEN, "completed", "order")

    title = Text(
        TITLE_LENGTH, shortest=1, trim=True, required=True, metadata={"example": "Buy milk"}
    )
    description = Text(
        DESCRIPTION_LENGTH,
        allow_none=True,
        empty_is_null=True,
        load_default=None,
        metadata={"example": "Oat, two of them"},
    )


class TaskInput(TaskText):
    """A task as a client writes it."""

    ignored = SERVER_WRITTEN

    completed = Boolean(metadata={"example": False})
    order = Integer(-INT32, INT32 - 1, metadata={"example": 0})


class Completion(Input):
    """What to make of a task's completion; nothing flips it."""

    ignored = SERVER_WRITTEN

    completed = Boolean(metadata={"example": True})


class Move(Input):
    """Where to put a task: before or after another."""

    one_of = ("after", "before")

    after = Id(
        allow_none=True,
        metadata={"description": "null: before all others.", "example": EXAMPLE_ANCHOR},
    )
    before = Id()


class Search(Text):
    """Words to search for, each as the beginning of a word; loads what finds them."""

    default_error_messages = {"no_words": "This has no letter or digit to search for."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(SEARCH_LENGTH, not_blank=True, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        found = patterns(super()._deserialize(value, *args, **kwargs) or "")
        if not found:
            raise self.make_error("no_words")
        return found


class PageQuery(Input):
    limit = Integer(
        1,
        LARGEST_PAGE,
        in_text=True,
        metadata={
            "description": f"How many on a page; with a cursor alone {DEFAULT_LIMIT}. Without both "
            "all are answered.",
            "example": 20,
        },
    )
    cursor = Text(
        CURSOR_LENGTH,
        shortest=1,
        metadata={
            "description": "The `next_cursor` of the page before.",
            "example": EXAMPLE_CURSOR,
        },
    )
    include = Choice(
        ["total"],
        metadata={"description": "Count those of all pages as well.", "example": "total"},
    )


def _time(description: str) -> Time:
    return Time(metadata={"description": description, "example": EXAMPLE_TIME})


class TaskFilters(Input):
    completed = Boolean(
        in_text=True,
        metadata={"description": "Only completed, or only open ones.", "example": False},
    )
    q = Search(
        metadata={
            "description": "Words in title and description, or their beginnings; case and "
            "accents do not count.",
            "example": "milk oat",
        }
    )
    created_after = _time("Made later than this.")
    created_before = _time("Made earlier than this.")
    updated_after = _time("Changed later than this.")
    updated_before = _time("Changed earlier than this.")
    completed_after = _time("Completed later than this.")
    completed_before = _time("Completed earlier than this.")
    sort = Choice(
        SORTS,
        load_default=NEWEST_FIRST,
        metadata={
            "description": "`-` for descending. Open ones come last by `completed_at`.",
            "example": "order",
        },
    )


class TaskListQuery(TaskFilters, PageQuery):
    pass


class DeletionQuery(Input):
    permanent = Boolean(
        in_text=True,
        load_default=False,
        metadata={"description": "Past the trash, for good.", "example": True},
    )


class Task(Schema):
    """A task as the service answers it."""

    id = fields.UUID(required=True, metadata={"example": EXAMPLE_ID})
    user_id = fields.String(required=True, metadata={"example": EXAMPLE_USER_ID})
    title = fields.String(required=True, metadata={"example": "Buy milk"})
    description = fields.String(
        required=True, allow_none=True, metadata={"example": "Oat, two of them"}
    )
    completed = fields.Boolean(required=True, metadata={"example": False})
    completed_at = fields.DateTime(required=True, allow_none=True, metadata={"example": None})
    order = fields.Integer(required=True, metadata={"example": 0})
    created_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})
    updated_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})
    version = fields.Integer(
        required=True,
        metadata={
            "description": "The number of the last change, among all changes of the owner.",
            "example": EXAMPLE_VERSION,
        },
    )


NEXT_CURSOR = fields.String(
    required=True,
    allow_none=True,
    metadata={"description": "null on the last page.", "example": None},
)
COUNT = fields.Integer(
    required=True,
    metadata={"description": "How many this answer has.", "minimum": 0, "example": 1},
)
TOTAL = fields.Integer(
    metadata={
        "description": "How many there are on all pages: with `include=total`, and where this "
        "answer has all of them.",
        "minimum": 0,
        "example": 1,
    }
)


class MovedTask(Schema):
    task = fields.Nested(Task, required=True)
    renumbered = fields.List(
        fields.Nested(Task),
        required=True,
        metadata={"description": "The others whose `order` had to change to make room."},
    )


class TaskList(Schema):
    tasks = fields.List(fields.Nested(Task), required=True)
    next_cursor = NEXT_CURSOR
    count = COUNT
    total = TOTAL
