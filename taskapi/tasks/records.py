"""Map tasks to records of `jsonb_to_recordset`: batches and imports send many in one parameter."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, String, Text, func

from taskapi.tasks.fields import DEFAULTS, STORED, WORDS
from taskapi.tasks.models import Task


def record_columns() -> list[Column[Any]]:
    """Return the columns of a task in a record: its fields and their folded words."""
    return [
        Column("completed", Boolean),
        *(Column(name, _record_type(Task.__table__.c[name])) for name in (*STORED, *WORDS)),
    ]


def _record_type(column: Any) -> Any:
    return Text() if isinstance(column.type, String) else column.type


def record_values(record: Any) -> dict[str, Any]:
    """Return the values of a new task by column, except `completed_at`, from a record."""
    defaults = {**DEFAULTS, **dict.fromkeys(WORDS, "")}
    return {
        name: record[name]
        if defaults.get(name) is None
        else func.coalesce(record[name], defaults[name])
        for name in (*STORED, *WORDS)
    }
