"""Read and validate the query and the body of a request."""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from flask import request
from marshmallow import EXCLUDE, ValidationError
from werkzeug.exceptions import ClientDisconnected, UnsupportedMediaType

from taskapi.exceptions import (
    MAX_ERRORS_PER_OBJECT,
    BodyEncoded,
    FieldError,
    MalformedJSON,
    ValidationFailed,
)
from taskapi.http.fields import Fault
from taskapi.http.inputs import Input, flatten_errors

MAX_VALUES: Final = 20_000
"""The maximum number of values in a body: ten times those of the largest valid batch."""

# Possessive and with an optional end, so the time is linear in the length. Before 3.11.5, Python
# loses matches of ambiguous possessive groups; these are unambiguous.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?', re.DOTALL)


def validate_unrepeated(query: Input) -> None:
    """Raise `ValidationFailed` if a query parameter is repeated, unless it is ignored."""
    # The second value would be dropped silently.
    faults = {
        name: [Fault("repeated", f"This came {len(values)} times; send it once.")]
        for name, values in request.args.lists()
        if len(values) > 1 and (query.unknown != EXCLUDE or name in query.fields)
    }
    if faults:
        raise ValidationFailed(flatten_errors(faults, "/query"))


def validate_content_encoding() -> None:
    """Raise `BodyEncoded` if the body has a Content-Encoding."""
    # The limits apply to the encoded size; the decoded size would have none.
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise BodyEncoded


def read_body() -> bytes:
    """Read the body. Raises `ClientDisconnected` if it is shorter than its Content-Length."""
    body = request.get_data(cache=False)
    # After a disconnect, werkzeug returns the received part, which may be valid by itself.
    if len(body) < (request.content_length or 0):
        raise ClientDisconnected
    return body


def parse_body() -> Any:
    """Parse the body as JSON.

    Raises `BodyEncoded`, `UnsupportedMediaType`, `ClientDisconnected`, `MalformedJSON`, and
    `ValidationFailed` above `MAX_VALUES`.
    """
    validate_content_encoding()
    if not request.is_json:
        raise UnsupportedMediaType
    body = read_body()
    _validate_value_count(body)
    try:
        return parse_json(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not JSON in UTF-8: {error}.") from None


def _validate_value_count(body: bytes) -> None:
    # 25 MiB for 350,000 lists in 1 MiB, part of which stays with the process.
    if body.count(b",") > MAX_VALUES and _STRINGS.sub(b"", body).count(b",") > MAX_VALUES:
        detail = f"This has more than {MAX_VALUES} values; send less at once."
        raise ValidationFailed([FieldError("", "too_many", detail)])


def parse_json(data: bytes) -> Any:
    """Parse JSON with the garbage collector disabled, since JSON has no cycles.

    1 MiB of `[]` takes 36 ms instead of 155, during which the interpreter serves no other request.
    """
    gc.disable()
    try:
        return orjson.loads(data)
    finally:
        gc.enable()


def load(
    schema: Input, data: Mapping[str, Any], pointer: str = "", limit: int = MAX_ERRORS_PER_OBJECT
) -> Any:
    """Validate input. Raises `ValidationFailed` with JSON Pointers (RFC 6901) below `pointer`.

    Unknown members above `limit` errors are counted but not reported.
    """
    # marshmallow would report them in set order, which differs between processes.
    unknown = schema.find_unknown(data)
    errors: list[FieldError] = []
    try:
        loaded = schema.load(data, unknown=EXCLUDE)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        errors = flatten_errors(messages, pointer)
        # The traceback holds marshmallow's frame, which holds the error and all of the input.
        error.__traceback__ = None
    reported = unknown[: max(limit - len(errors), not errors)]
    errors += schema.unknown_errors(reported, pointer)
    if errors:
        raise ValidationFailed(errors, len(unknown) - len(reported))
    return loaded
