"""What JSON says of changes."""

from __future__ import annotations

from marshmallow import Schema, fields

from taskapi.http.fields import Integer, Text
from taskapi.http.inputs import Input
from taskapi.tasks.schemas import EXAMPLE_CURSOR, MAX_CURSOR_LENGTH, Task

LONGEST_WAIT = 25  # seconds; proxies give up after 30 or 60


class ChangesQuery(Input):
    since = Text(
        MAX_CURSOR_LENGTH,
        shortest=1,
        metadata={
            "description": "The `next` of the answer before; without it all tasks come.",
            "example": EXAMPLE_CURSOR,
        },
    )
    limit = Integer(
        1,
        1000,
        in_text=True,
        load_default=500,
        metadata={"description": "How many at once.", "example": 100},
    )
    wait = Integer(
        0,
        LONGEST_WAIT,
        in_text=True,
        load_default=0,
        metadata={"description": "Seconds to wait for a change while there is none.", "example": 1},
    )


class Change(Schema):
    """A task as it is now, or that it is gone."""

    op = fields.String(required=True, metadata={"enum": ["upsert", "delete"], "example": "upsert"})
    task = fields.Nested(Task, metadata={"description": "With `upsert`."})
    id = fields.UUID(metadata={"description": "With `delete`."})
    deleted_at = fields.DateTime(metadata={"description": "With `delete`."})


class Changes(Schema):
    changes = fields.List(
        fields.Nested(Change),
        required=True,
        metadata={"description": "In the order in which they were made."},
    )
    next = fields.String(
        required=True,
        metadata={"description": "Where to go on, now or later.", "example": EXAMPLE_CURSOR},
    )
    has_more = fields.Boolean(
        required=True, metadata={"description": "Whether to go on now.", "example": False}
    )
