"""What JSON may say of tasks."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from taskapi.auth.schemas import EXAMPLE_TIME, EXAMPLE_USER_ID
from taskapi.fields import Boolean, Coded, Input, Integer, Text
from taskapi.tasks.models import DESCRIPTION_LENGTH, TITLE_LENGTH

SERVER_WRITTEN: tuple[str, ...] = (
    "id",
    "user_id",
    "version",
    "created_at",
    "updated_at",
    "completed_at",
)
"""Accepted and ignored, so that a client may send back what it has read."""

_INT32 = 2**31
_CURSOR = "^[A-Za-z0-9_-]{21}[AQgw]$"  # 16 bytes in base64url: two bits remain of the last.
_EXAMPLE_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"


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
    order = Integer(-_INT32, _INT32 - 1, metadata={"example": 0})


class Completion(Input):
    """What to make of a task's completion; nothing flips it."""

    ignored = SERVER_WRITTEN

    completed = Boolean(metadata={"example": True})


class Cursor(Coded):
    """The place after the last task of a page, opaque to the client."""

    default_error_messages = {
        "invalid": "This is not a cursor that this list gave out; start without one.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "string", "pattern": _CURSOR, **self.metadata}

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        # The decoder itself would pass over characters that are not of its alphabet.
        if not re.fullmatch(_CURSOR, value):
            raise self.make_error("invalid")
        return str(UUID(bytes=urlsafe_b64decode(value + "==")))


def encode_cursor(task_id: str) -> str:
    """Make the cursor of the page that follows this task."""
    return urlsafe_b64encode(UUID(task_id).bytes).rstrip(b"=").decode()


class TaskListQuery(Input):
    limit = Integer(1, 200, in_text=True, load_default=50)
    cursor = Cursor()


class Task(Schema):
    """A task as the service answers it."""

    id = fields.UUID(required=True, metadata={"example": _EXAMPLE_ID})
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
            "example": 1,
        },
    )


class TaskList(Schema):
    tasks = fields.List(fields.Nested(Task), required=True)
    next_cursor = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "null on the last page.", "example": None},
    )
