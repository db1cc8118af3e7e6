"""What every request has in common: its body's limits, its input, its answer in JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, request
from flask.json.provider import JSONProvider
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import (
    LengthRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from taskapi.config import BODY_LIMIT
from taskapi.exceptions import MalformedJSON, ValidationFailed
from taskapi.fields import field_errors


class JSON(JSONProvider):
    """orjson: strict (no NaN, bounded nesting), and times as the contract wants them."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """Serialise to text."""
        return dump_json(obj).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """Parse text or UTF-8 bytes; raises ValueError for anything else."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Make the response of a view that returned a dict or a list."""
        body = dump_json(self._prepare_response_obj(args, kwargs))
        return Response(body, mimetype="application/json")


def dump_json(obj: Any) -> bytes:
    """Serialise to UTF-8 bytes."""
    return orjson.dumps(obj, default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _default(obj: object) -> str:
    if isinstance(obj, datetime):
        # RFC 3339 in UTC; the microseconds are there even when they are zero.
        return obj.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    raise TypeError(f"{type(obj).__name__} has no form in JSON")


def init_app(app: Flask) -> None:
    """Speak JSON, and refuse bodies that are too long before they are read."""
    app.json = JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.before_request(_refuse_oversized)
    app.after_request(_forbid_guessing)


def _refuse_oversized() -> None:
    # Werkzeug cuts a body of unknown length off at the limit and says nothing.
    if "Transfer-Encoding" in request.headers and request.content_length is None:
        raise LengthRequired
    if (request.content_length or 0) > BODY_LIMIT:
        raise RequestEntityTooLarge


def _forbid_guessing(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Answers are made for one user; what may be kept says so itself.
    response.headers.setdefault("Cache-Control", "no-store")
    # What a page may read depends on its origin, also where it may read nothing.
    response.vary.add("Origin")
    return response


def no_content() -> Response:
    """Answer 204; what is not there has no type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def accepts(
    *, body: Schema | None = None, query: Schema | None = None, body_is_optional: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a view have what the request says, validated, as `body` and `query`.

    The schemas stand on the view for the OpenAPI document to find: what is documented is
    what validates.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def validated(**path: Any) -> Any:
            if query is not None:
                path["query"] = _load(query, request.args, "/query")
            if body is not None:
                empty = body_is_optional and not request.content_length
                path["body"] = _load(body, {} if empty else _parse_body())
            return view(**path)

        validated.accepts = {  # type: ignore[attr-defined]
            "body": body,
            "query": query,
            "body_is_optional": body_is_optional,
        }
        return validated

    return decorate


def _parse_body() -> Any:
    if not request.is_json:
        raise UnsupportedMediaType
    try:
        return orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def _load(schema: Schema, data: Mapping[str, Any], where: str = "") -> Any:
    try:
        return schema.load(data)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        raise ValidationFailed(field_errors(messages, where)) from None
