"""What a view declares of itself.

The guard, the rate limits, the validation, the idempotency and the OpenAPI document read it.
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
    """The declaration of one view. Raises ValueError for a combination that makes no sense.

    Problems that follow from the token, the body, the query and the conditions are not named in
    `problems`: the document adds them.
    """

    access: Literal["token", "refresh_token", "optional_token", "public"] = "token"
    """Which credential the view needs; with `optional_token` a valid one counts."""

    bucket: str | None = None
    """The rate limit that counts its requests, apart from other reading and writing."""

    search_parameter: str | None = None
    """The query parameter that makes a request a search, of which a user runs few at a time."""

    body: Input | None = None
    body_is_optional: bool = False
    body_limit: int = BODY_LIMIT
    """In bytes."""

    request_example: Any = None
    """A body that says more than the examples of its fields together."""

    query: Input | None = None
    upload: Mapping[str, Any] | None = None
    """The media types of a body that is a file, each with an example."""

    idempotency: Literal["stored_answer", "by_service"] | None = None
    """How an `Idempotency-Key` is kept: with the answer, or by the service, for what it did."""

    conditions: tuple[str, ...] = ()
    """The headers by which the request may be conditional."""

    status: int = 200
    returns: Schema | None = None
    media: Mapping[str, Any] = field(default_factory=dict)
    """Types that are answered besides JSON, with an example of each."""

    headers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Codes of the problems that are its own."""

    problem_members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What its problems say besides or instead, by code."""

    description: str = "Done."
    response_example: Any = None
    """How the answer differs from the example of its schema."""

    needs_database: bool = True
    unavailable: Schema | None = None
    """What is answered instead of a problem while the database is away."""

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
"""What holds for a view that declares nothing: it needs a token, and takes no body of its own."""


def endpoint_of(view: View | None) -> Endpoint:
    """Return what a view has declared."""
    declared: Endpoint = getattr(view, "endpoint", UNDECLARED)
    return declared


@functools.cache
def template_of(rule: str) -> str:
    """Write a route as OpenAPI does: /tasks/{task_id}."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def component_name(schema: Any) -> str:
    """Name a schema, or a class of schemas, among the components of the document."""
    partial = getattr(schema, "partial", False)
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return name.replace("Input", "Patch") if partial else name
