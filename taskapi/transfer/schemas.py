"""The input and output schemas of export and import."""

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
        metadata={"description": "The format of the file.", "example": "csv"},
    )


class ImportQuery(Input):
    dry_run = Boolean(
        in_text=True,
        load_default=False,
        metadata={"description": "Report the result without importing.", "example": True},
    )
    deduplicate = Boolean(
        in_text=True,
        load_default=False,
        metadata={
            "description": "Derive missing ids from the content of the tasks, so that importing "
            "the file again adds nothing.",
            "example": True,
        },
    )


class ImportedTask(TaskInput):
    """A task of an imported file, optionally with its id and its times."""

    ignored = ("user_id", "version", "updated_at", "deleted_at")

    id = Id()
    created_at = Time()
    completed_at = Time(allow_none=True)

    @validates_schema
    def _validate_completion(self, data: dict[str, Any], **_kwargs: Any) -> None:
        if data.get("completed") is False and data.get("completed_at"):
            fault = Fault("contradiction", "An open task has no time of completion.")
            raise ValidationError([fault], "completed_at")


class FieldError(Schema):
    pointer = fields.String(required=True, metadata={"example": "/title"})
    code = fields.String(required=True, metadata={"example": "blank"})
    detail = fields.String(required=True, metadata={"example": "This may not be blank."})


class ImportedRow(Schema):
    row = fields.Integer(
        required=True,
        metadata={"description": "The number of the task in the file, from 1.", "example": 1},
    )
    status = fields.String(
        required=True,
        metadata={"enum": ["created", "exists", "in_trash", "refused"], "example": "created"},
    )
    id = fields.UUID(metadata={"example": EXAMPLE_ID})
    errors = fields.List(
        fields.Nested(FieldError),
        metadata={
            "description": f"With `refused`: the errors, at most {MAX_ERRORS_PER_OBJECT} for a row "
            f"and {MAX_ERRORS_PER_REQUEST} for a file."
        },
    )
    errors_left_out = fields.Integer(
        metadata={"description": "With `refused`: the number of further errors."}
    )


class ImportReport(Schema):
    dry_run = fields.Boolean(required=True, metadata={"example": False})
    created = fields.Integer(required=True, metadata={"example": 1})
    existing = fields.Integer(
        required=True,
        metadata={
            "description": "Tasks that exist already, also in the trash, and stay unchanged.",
            "example": 0,
        },
    )
    refused = fields.Integer(required=True, metadata={"example": 0})
    rows = fields.List(fields.Nested(ImportedRow), required=True)
