"""What a contract is: a table of its differences from the service's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from marshmallow import Schema

from taskapi.http.problems import ErrorFormat
from taskapi.transfer.schemas import ImportedTask


@dataclass(frozen=True)
class Redeclared:
    """What a view accepts and answers otherwise; None where it is the same."""

    body: Schema | None = None
    schema: Schema | None = None
    problems: tuple[str, ...] = ()
    """Problems that the view has besides its own."""


@dataclass(frozen=True)
class Contract:
    """The differences of one contract.

    `members` maps a task's members in JSON to their names here, in every answer but those of
    contract A's paths and of files. `statuses` are statuses by problem code. `rewrite_error`
    makes the body of an error from a problem document, and `error_schema` describes it. `views`
    are the views that differ, by endpoint; `replaced_views` are other functions in their places.
    `imported_task` validates a task in a file, which has the service's own names. `replaced_text`
    is JSON text that answers of a blueprint have otherwise. `init_app` sets up what only this
    contract needs.
    """

    name: str
    members: Mapping[str, str]
    statuses: Mapping[str, int]
    rewrite_error: Callable[[dict[str, Any]], dict[str, Any]]
    error_schema: Mapping[str, Any]
    views: Mapping[str, Redeclared]
    replaced_views: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    replaced_text: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    imported_task: ImportedTask | None = None
    init_app: Callable[[Flask], None] = lambda _app: None

    def error_format(self, elsewhere: Mapping[str | None, Mapping[str, int]]) -> ErrorFormat:
        """Return the format of errors; `elsewhere` has the statuses of blueprints of their own."""
        return ErrorFormat(
            rewrite=self.rewrite_error,
            media_type="application/json",
            statuses={**elsewhere, None: self.statuses},
            schema=self.error_schema,
        )
