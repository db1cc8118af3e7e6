"""The output schemas of the trash."""

from __future__ import annotations

from marshmallow import Schema, fields

from taskapi.auth.schemas import EXAMPLE_TIME
from taskapi.tasks.schemas import COUNT, NEXT_CURSOR, TOTAL, Task


class TrashedTask(Task):
    """A deleted task; `version` is the change number of its deletion."""

    deleted_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})


class Trash(Schema):
    tasks = fields.List(fields.Nested(TrashedTask), required=True)
    next_cursor = NEXT_CURSOR
    count = COUNT
    total = TOTAL
