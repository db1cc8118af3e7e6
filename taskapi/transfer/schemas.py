"""What JSON says of tasks that come in a file."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from taskapi.exceptions import MAX_ERRORS_PER_OBJECT, MAX_ERRORS_PER_REQUEST
from taskapi.http.fields import Boolean, Choice, Fault, Id, Time
from taskapi.http.inputs import Input
from taskapi.tasks.schemas import EXAMPLE_ID, TaskInput


class ExportQuery(Input):
    format = Choice(
        ["json", "csv"],
        load_default="json",
        metadata={"description": "What the file is.", "example": "csv"},
    )


class ImportQuery(Input):
    dry_run = Boolean(
        in_text=True,
        load_default=False,
        metadata={"description": "Report, and add nothing.", "example": True},
    )
    deduplicate = Boolean(
        in_text=True,
        load_default=False,
        metadata={
            "description": "Give a task without an id one that follows from what it says, so that "
            "importing the file again adds nothing.",
            "example": True,
        },
    )


class ImportedTask(TaskInput):
    """A task as it was elsewhere, with its id and its times if they are to be kept."""

    ignored = ("user_id", "version", "updated_at", "deleted_at")

    id = Id()
    created_at = Time()
    completed_at = Time(allow_none=True)

    @validates_schema
    def _say_one_thing(self, data: dict[str, Any], **_kwargs: Any) -> None:
        if data.get("completed") is False and data.get("completed_at"):
            fault = Fault("contradiction", "An open task has no time of completion.")
            raise ValidationError([fault], "completed_at")


class FieldError(Schema):
    pointer = fields.String(required=True, metadata={"example": "/title"})
    code = fields.String(required=True, metadata={"example": "blank"})
    detail = fields.String(required=True, metadata={"example": "This may not be blank."})


class ImportedRow(Schema):
    row = fields.Integer(
        required=True, metadata={"description": "Which task of the file, from 1.", "example": 1}
    )
    status = fields.String(
        required=True,
        metadata={"enum": ["created", "exists", "in_trash", "refused"], "example": "created"},
    )
    id = fields.UUID(metadata={"example": EXAMPLE_ID})
    errors = fields.List(
        fields.Nested(FieldError),
        metadata={
            "description": f"With `refused`: why. At most {MAX_ERRORS_PER_OBJECT} errors for a row "
            f"and {MAX_ERRORS_PER_REQUEST} for a file."
        },
    )
    errors_left_out = fields.Integer(
        metadata={"description": "With `refused`: how many more errors there are."}
    )


class ImportReport(Schema):
    dry_run = fields.Boolean(required=True, metadata={"example": False})
    created = fields.Integer(required=True, metadata={"example": 1})
    existing = fields.Integer(
        required=True,
        metadata={"description": "Here or in the trash already, and left alone.", "example": 0},
    )
    refused = fields.Integer(required=True, metadata={"example": 0})
    rows = fields.List(fields.Nested(ImportedRow), required=True)
