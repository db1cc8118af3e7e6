"""The declaration of a view.

The guard, rate limits, validation, idempotency and the OpenAPI document read it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from marshmallow import Schema

from taskapi.http.inputs import Input
from taskapi.settings import BODY_LIMIT

View = Callable[..., Any]

_NO_CONTENT: Final = HTTPStatus.NO_CONTENT


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The declaration of one view. Raises ValueError for an inconsistent combination.

    The OpenAPI document adds the problems that follow from token, body, query and conditions;
    `problems` does not list them.
    """

    access: Literal["token", "refresh_token", "optional_token", "public"] = "token"
    """The credential that the view requires; `optional_token` uses a valid one if it is sent."""

    bucket: str | None = None
    """The bucket of the rate limit, if it is not `read` or `write`."""

    search_parameter: str | None = None
    """The query parameter that makes a request a search, with its own concurrency limit."""

    body: Input | None = None
    body_is_optional: bool = False
    body_limit: int = BODY_LIMIT
    """In bytes."""

    request_example: Any = None
    """An example body, if the examples of the fields do not compose a good one."""

    query: Input | None = None
    upload: Mapping[str, Any] | None = None
    """The media types of an uploaded file, each with an example."""

    idempotency: Literal["stored_answer", "by_service"] | None = None
    """How an `Idempotency-Key` is stored: with the response, or by the service with its result."""

    conditions: tuple[str, ...] = ()
    """The supported headers of conditional requests."""

    status: int = 200
    returns: Schema | None = None
    media: Mapping[str, Any] = field(default_factory=dict)
    """The media types of responses besides JSON, each with an example."""

    headers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """The codes of problems that are specific to this view."""

    problem_members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Additional or different members of its problem documents, by code."""

    description: str = "Done."
    response_example: Any = None
    """Members of the example response that differ from the example of its schema."""

    needs_database: bool = True
    unavailable: Schema | None = None
    """The schema of the response while the database is unavailable, instead of a problem."""

    is_documented: bool = True

    def __post_init__(self) -> None:
        for is_wrong, what in (
            (self.body and self.upload, "a body is JSON or a file"),
            (self.body_is_optional and not self.body, "there is no body that could be optional"),
            (self.request_example and not self.body, "there is no body to have an example"),
            (self.status == _NO_CONTENT and (self.returns or self.media), "204 has no content"),
            (
                self.is_documented
                and self.status != _NO_CONTENT
                and not (self.returns or self.media),
                "an answer with content has a schema or a media type",
            ),
            (
                self.idempotency == "stored_answer" and self.access != "token",
                "an answer is stored for the user whom the token names",
            ),
            (self.unavailable and not self.needs_database, "what needs no database is never away"),
        ):
            if is_wrong:
                raise ValueError(f"An endpoint makes no sense: {what}.")


UNDECLARED: Final = Endpoint(is_documented=False)
"""The declaration of a view without one: it requires a token and accepts no body."""


def endpoint_of(view: View | None) -> Endpoint:
    """Return the declaration of a view."""
    declared: Endpoint = getattr(view, "endpoint", UNDECLARED)
    return declared


@functools.cache
def template_of(rule: str) -> str:
    """Convert a Flask route to an OpenAPI path template such as /tasks/{task_id}."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def component_name(schema: Any) -> str:
    """Return the name of a schema or schema class in the OpenAPI components."""
    partial = getattr(schema, "partial", False)
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return name.replace("Input", "Patch") if partial else name
