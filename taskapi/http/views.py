"""Make views from functions and their declarations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import request
from werkzeug.exceptions import UnsupportedMediaType

from taskapi.http import idempotency
from taskapi.http.endpoint import Endpoint, View, endpoint_of
from taskapi.http.payload import (
    load,
    parse_body,
    read_body,
    validate_content_encoding,
    validate_unrepeated,
)
from taskapi.http.problems import describe_media


def endpoint(**declaration: Any) -> Callable[[View], View]:
    """Declare a view by the fields of `Endpoint`.

    The function gets the path parameters and validated input: `query`, `body`, the media type of
    an upload as `media`, and a `KeyedRequest` as `keyed` if its service stores the
    `Idempotency-Key`.
    """
    declared = Endpoint(**declaration)
    return lambda function: _make_view(function, declared)


def redeclare(view: View, **changes: Any) -> View:
    """Make a view of the same function with a changed declaration, without modifying `view`."""
    return _make_view(view.__wrapped__, replace(endpoint_of(view), **changes))  # type: ignore[attr-defined]


def _make_view(function: View, declared: Endpoint) -> View:
    wrapped = function
    if declared.idempotency == "stored_answer":
        wrapped = idempotency.store_response(wrapped)
    elif declared.idempotency == "by_service":
        wrapped = idempotency.pass_keyed_request(wrapped)

    @functools.wraps(function)
    def view(**arguments: Any) -> Any:
        if declared.query is not None:
            validate_unrepeated(declared.query)
            arguments["query"] = load(declared.query, request.args, "/query")
        if declared.body is not None:
            is_empty = declared.body_is_optional and not request.content_length
            arguments["body"] = load(declared.body, {} if is_empty else parse_body())
        elif declared.upload is not None:
            validate_content_encoding()
            if request.mimetype not in declared.upload:
                raise UnsupportedMediaType(describe_media(declared.upload))
            arguments |= {"body": read_body(), "media": request.mimetype}
        return wrapped(**arguments)

    view.endpoint = declared  # type: ignore[attr-defined]
    return view
