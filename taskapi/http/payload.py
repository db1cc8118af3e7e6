"""Read and validate what a request sends: its query and its body."""

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
from taskapi.http.inputs import Input, field_errors

MAX_VALUES: Final = 20_000
"""How many values a body may have: ten times what the longest batch can use."""

# Possessive, and with an end that may be missing: the time is linear in the length. Before 3.11.5
# Python loses matches where a possessive group could match in two ways; none does here.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?', re.DOTALL)


def refuse_repeated(query: Input) -> None:
    """Refuse query parameters that come more than once. Raises `ValidationFailed`."""
    # Of two values one would silently not count; of what is ignored none does.
    faults = {
        name: [Fault("repeated", f"This came {len(values)} times; send it once.")]
        for name, values in request.args.lists()
        if len(values) > 1 and (query.unknown != EXCLUDE or name in query.fields)
    }
    if faults:
        raise ValidationFailed(field_errors(faults, "/query"))


def refuse_encoded() -> None:
    """Refuse a body with a Content-Encoding. Raises `BodyEncoded`."""
    # The limits are for what is sent; what it would be unpacked into has none.
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise BodyEncoded


def read_body() -> bytes:
    """Read the whole body. Raises `ClientDisconnected` where less came than was announced."""
    body = request.get_data(cache=False)
    # From a client that hung up comes what had arrived, which may well look like all of it.
    if len(body) < (request.content_length or 0):
        raise ClientDisconnected
    return body


def parse_body() -> Any:
    """Parse a body of JSON. Raises `MalformedJSON`, `ValidationFailed`, `UnsupportedMediaType`."""
    refuse_encoded()
    if not request.is_json:
        raise UnsupportedMediaType
    body = read_body()
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
