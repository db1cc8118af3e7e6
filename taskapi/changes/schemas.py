"""The input and output schemas of the change feed."""

from __future__ import annotations

from marshmallow import Schema, fields

from taskapi.http.fields import Integer, Text
from taskapi.http.inputs import Input
from taskapi.tasks.schemas import EXAMPLE_CURSOR, MAX_CURSOR_LENGTH, Task

MAX_WAIT_SECONDS = 25  # Proxies time out after 30 or 60 seconds.


class ChangesQuery(Input):
    since = Text(
        MAX_CURSOR_LENGTH,
        shortest=1,
        metadata={
            "description": "The `next` of the previous response; without it, all tasks come.",
            "example": EXAMPLE_CURSOR,
        },
    )
    limit = Integer(
        1,
        1000,
        in_text=True,
        load_default=500,
        metadata={"description": "Maximum number of changes in the response.", "example": 100},
    )
    wait = Integer(
        0,
        MAX_WAIT_SECONDS,
        in_text=True,
        load_default=0,
        metadata={
            "description": "Seconds to wait for a change if there is none (long poll).",
            "example": 1,
        },
    )


class Change(Schema):
    """A created or updated task in its present state, or a deletion."""

    op = fields.String(required=True, metadata={"enum": ["upsert", "delete"], "example": "upsert"})
    task = fields.Nested(Task, metadata={"description": "With `upsert`."})
    id = fields.UUID(metadata={"description": "With `delete`."})
    deleted_at = fields.DateTime(metadata={"description": "With `delete`."})


class Changes(Schema):
    changes = fields.List(
        fields.Nested(Change),
        required=True,
        metadata={"description": "The changes in commit order."},
    )
    next = fields.String(
        required=True,
        metadata={
            "description": "The position after this response; send it as `since`.",
            "example": EXAMPLE_CURSOR,
        },
    )
    has_more = fields.Boolean(
        required=True,
        metadata={"description": "Whether further changes are available now.", "example": False},
    )
