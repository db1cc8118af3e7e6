"""What a view declares of itself: who may call it, what it accepts and what it answers.

The guard, the validation and the OpenAPI document go by these declarations.
"""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import orjson
from flask import request
from marshmallow import EXCLUDE, Schema, ValidationError
from werkzeug.exceptions import ClientDisconnected, UnsupportedMediaType

from taskapi.exceptions import (
    MAX_ERRORS_PER_OBJECT,
    BodyEncoded,
    FieldError,
    MalformedJSON,
    ValidationFailed,
)
from taskapi.http.fields import Fault, Input, field_errors
from taskapi.http.problems import describe_media
from taskapi.settings import BODY_LIMIT

View = TypeVar("View", bound=Callable[..., Any])

MAX_VALUES: Final = 20_000
"""How many values a body may have: ten times what the longest batch can use."""

# Possessive, and with an end that may be missing: the time is linear in the length. Before 3.11.5
# Python loses matches where a possessive group could match in two ways; none does here.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?', re.DOTALL)


def public(view: View) -> View:
    """Let anybody call this view."""
    view.token_kind = None  # type: ignore[attr-defined]
    return view


def takes_optional_token(view: View) -> View:
    """Let anybody call this view; an access token that comes along counts if it is good."""
    view.token_kind = "optional"  # type: ignore[attr-defined]  # noqa: S105 -- a kind
    return view


def takes_refresh_token(view: View) -> View:
    """Let this view be called with a refresh token, and with nothing else."""
    view.token_kind = "refresh"  # type: ignore[attr-defined]  # noqa: S105 -- a kind
    return view


def body_limit_of(view: Callable[..., Any] | None) -> int:
    """How many bytes of a body a view takes."""
    limit: int = getattr(view, "accepts", {}).get("body_limit", BODY_LIMIT)
    return limit


@functools.cache
def template_of(rule: str) -> str:
    """Write a route as OpenAPI does: /tasks/{task_id}."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def component_name(schema: Any) -> str:
    """Name a schema, or a class of schemas, among the components of the document."""
    partial = getattr(schema, "partial", False)
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return name.replace("Input", "Patch") if partial else name


def counted_as(bucket: str) -> Callable[[View], View]:
    """Count a view's requests apart from other reading and writing, by this name."""

    def decorate(view: View) -> View:
        view.bucket = bucket  # type: ignore[attr-defined]
        return view

    return decorate


def bucket_of(view: Callable[..., Any] | None) -> str | None:
    """By which name a view's requests are counted; None where as reading or writing."""
    return getattr(view, "bucket", None)


def token_kind_of(view: Callable[..., Any]) -> str | None:
    """Which kind of token a view asks for; None where it is public."""
    return getattr(view, "token_kind", "access")


def answers(
    status: int,
    schema: Schema | None = None,
    *,
    media: Mapping[str, Any] = {},
    headers: Iterable[str] = (),
    problems: Iterable[str] = (),
    conditions: Iterable[str] = (),
    description: str = "Done.",
    example: Any = None,
    members: Mapping[str, Mapping[str, Any]] = {},
    needs_database: bool = True,
    unavailable: Schema | None = None,
) -> Callable[[View], View]:
    """Declare what a view answers, and the problems that are its own.

    Those that follow from its token, its body, its query and its conditions are added by
    themselves. `media` are types that it answers besides JSON, with an example of each;
    `conditions` names the headers by which the request may be conditional. `example` is how
    the answer differs from the schema's own, and `members` is what its problems say besides or
    instead, by code.
    `unavailable` is what it answers instead of a problem while the database is away.
    """

    def decorate(view: View) -> View:
        view.answers = {  # type: ignore[attr-defined]
            "status": status,
            "schema": schema,
            "media": dict(media),
            "headers": tuple(headers),
            "problems": tuple(problems),
            "conditions": tuple(conditions),
            "description": description,
            "example": example,
            "members": members,
            "needs_database": needs_database,
            "unavailable": unavailable,
        }
        return view

    return decorate


def accepts(
    *,
    body: Input | None = None,
    query: Input | None = None,
    body_is_optional: bool = False,
    body_limit: int = BODY_LIMIT,
    example: Any = None,
    upload: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a view have what the request says, validated, as `body` and `query`.

    What is documented is what validates: both come from these schemas; `example` is a body
    that says more than the examples of all fields would. A body that is a file is handed on as
    it is, with its media type as `media`; `upload` has an example of each. The body may have
    `body_limit` bytes.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def validated(**path: Any) -> Any:
            if query is not None:
                _refuse_repeated(query)
                path["query"] = load(query, request.args, "/query")
            if body is not None:
                empty = body_is_optional and not request.content_length
                path["body"] = load(body, {} if empty else _parse_body())
            if upload is not None:
                _refuse_encoded()
                if request.mimetype not in upload:
                    raise UnsupportedMediaType(describe_media(upload))
                path |= {"body": _read_body(), "media": request.mimetype}
            return view(**path)

        validated.accepts = {  # type: ignore[attr-defined]
            "body": body,
            "query": query,
            "body_is_optional": body_is_optional,
            "body_limit": body_limit,
            "example": example,
            "upload": upload,
        }
        return validated

    return decorate


def redeclare(
    view: Callable[..., Any],
    *,
    accepted: Mapping[str, Any] = {},
    answered: Mapping[str, Any] = {},
) -> Callable[..., Any]:
    """Make a view that accepts and answers otherwise; `view` itself stays as it is.

    `accepted` and `answered` replace arguments of `accepts` and `answers`; all else that is
    declared holds for the new view as well.
    """
    new: Any
    if hasattr(view, "accepts"):
        new = accepts(**{**view.accepts, **accepted})(view.__wrapped__)  # type: ignore[attr-defined]
    else:
        new = functools.update_wrapper(functools.partial(view), view)
    for name, value in vars(view).items():
        if name not in ("accepts", "__wrapped__"):
            setattr(new, name, value)
    new.answers = {**new.answers, **answered}
    return new  # type: ignore[no-any-return]


def _refuse_repeated(query: Input) -> None:
    # Of two values one would silently not count; of what is ignored none does.
    faults = {
        name: [Fault("repeated", f"This came {len(values)} times; send it once.")]
        for name, values in request.args.lists()
        if len(values) > 1 and (query.unknown != EXCLUDE or name in query.fields)
    }
    if faults:
        raise ValidationFailed(field_errors(faults, "/query"))


def _refuse_encoded() -> None:
    # The limits are for what is sent; what it would be unpacked into has none.
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise BodyEncoded


def _read_body() -> bytes:
    body = request.get_data(cache=False)
    # From a client that hung up comes what had arrived, which may well look like all of it.
    if len(body) < (request.content_length or 0):
        raise ClientDisconnected
    return body


def _parse_body() -> Any:
    _refuse_encoded()
    if not request.is_json:
        raise UnsupportedMediaType
    body = _read_body()
    _refuse_too_many_values(body)
    try:
        return parse_json(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def _refuse_too_many_values(body: bytes) -> None:
    # 350,000 lists of 1 MiB would take 25 MiB, of which a part stays with the process.
    if body.count(b",") > MAX_VALUES and _STRINGS.sub(b"", body).count(b",") > MAX_VALUES:
        detail = f"This has more than {MAX_VALUES} values; send less at once."
        raise ValidationFailed([FieldError("", "too_many", detail)])


def parse_json(data: bytes) -> Any:
    """Parse JSON without the garbage collector, which finds no cycle in it.

    1 MiB of `[]` takes 36 ms instead of 155, in which no other request is answered.
    """
    gc.disable()
    try:
        return orjson.loads(data)
    finally:
        gc.enable()


def load(
    schema: Input, data: Mapping[str, Any], where: str = "", limit: int = MAX_ERRORS_PER_OBJECT
) -> Any:
    """Validate input; `where` is the JSON Pointer that it is below in a `ValidationFailed`.

    Unknown members beyond `limit` errors are counted and not looked at.
    """
    # marshmallow would report them in the order of a set, which differs between processes.
    unknown = schema.find_unknown(data)
    errors: list[FieldError] = []
    try:
        loaded = schema.load(data, unknown=EXCLUDE)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        errors = field_errors(messages, where)
        # marshmallow's frame, which the traceback holds, holds the error and all of the input.
        error.__traceback__ = None
    reported = unknown[: max(limit - len(errors), not errors)]
    errors += schema.refuse_unknown(reported, where)
    if errors:
        raise ValidationFailed(errors, len(unknown) - len(reported))
    return loaded
