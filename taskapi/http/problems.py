"""Return every error as a problem document (RFC 9457), or in the format of a contract."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from taskapi import exceptions
from taskapi.exceptions import TaskapiError
from taskapi.extension import Extension
from taskapi.settings import BODY_LIMIT

_STATUSES: dict[type[TaskapiError], int] = {
    exceptions.MalformedJSON: 400,
    exceptions.NotAuthenticated: 401,
    exceptions.Forbidden: 403,
    exceptions.NotFound: 404,
    exceptions.Conflict: 409,
    exceptions.Gone: 410,
    exceptions.PreconditionFailed: 412,
    exceptions.BodyEncoded: 415,
    exceptions.Unprocessable: 422,
    exceptions.TooManyRequests: 429,
    exceptions.Unavailable: 503,
}

_FORMAT: Final[Extension[ErrorFormat]] = Extension("error_format")


def describe_limit(limit: int) -> str:
    """Return the message for a body above `limit` bytes."""
    return f"The body is longer than {limit} bytes; send less at once."


def describe_media(media: Iterable[str]) -> str:
    """Return the message with the media types that an upload supports."""
    return f"Send the file with one of these as its Content-Type: {', '.join(media)}."


REFUSALS = {
    400: ("malformed_request", "The request cannot be understood."),
    404: ("route_not_found", "There is nothing at this URL; GET / lists what there is."),
    405: ("method_not_allowed", "This URL does not take this method; `Allow` lists those it does."),
    411: ("length_required", "Send the body with a Content-Length, not chunked."),
    413: ("body_too_large", describe_limit(BODY_LIMIT)),
    414: ("uri_too_long", "The URL is too long; send less in it."),
    415: (
        "unsupported_media_type",
        "Send the body as JSON, with Content-Type: application/json.",
    ),
    417: ("expectation_failed", "The header Expect can only ask for 100-continue."),
    431: ("headers_too_large", "The headers are too many or too long; send less in them."),
    500: ("internal_error", "Something went wrong here; the request id leads us to it."),
    501: ("transfer_coding_unsupported", "Send the body as it is, with a Content-Length."),
}
"""Code and message by status, of errors outside the domain: routing, headers, bodies, faults."""

_TITLES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Reason phrases of RFC 9110 that differ between versions of Python."""

_PROBLEM_JSON = "application/problem+json"

log = structlog.get_logger()


def _unchanged(document: dict[str, Any]) -> dict[str, Any]:
    return document


@dataclass(frozen=True)
class ErrorFormat:
    """The format of error responses: RFC 9457, or that of a contract.

    `rewrite` converts a problem document to a body of `media_type`. `statuses` maps problem codes
    to statuses, by blueprint; None is the key for all other blueprints. `schema` is the JSON Schema
    of a body that is not a problem document.
    """

    rewrite: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    media_type: str = _PROBLEM_JSON
    statuses: Mapping[str | None, Mapping[str, int]] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    def status_of(self, blueprint: str | None, code: str, usual: int) -> int:
        """Return the status of a problem code within a blueprint."""
        own = self.statuses.get(blueprint) or self.statuses.get(None) or {}
        return own.get(code, usual)


def init_app(app: Flask) -> None:
    """Register the error handlers for all errors, including those of routing."""
    set_format(app, ErrorFormat())
    app.register_error_handler(TaskapiError, respond)
    app.register_error_handler(HTTPException, _respond_to_http_error)
    app.register_error_handler(Exception, _respond_to_fault)


def set_format(app: Flask, error_format: ErrorFormat) -> None:
    """Set the format of an application's error responses."""
    _FORMAT.set(app, error_format)


def format_of(app: Flask) -> ErrorFormat:
    """Return the format of an application's error responses."""
    error_format = _FORMAT.find(app)
    assert error_format
    return error_format


def catalogue() -> dict[str, tuple[int, str]]:
    """Return the status and default message of every problem code."""
    domain = {
        kind.code: (status_of(kind), kind.message)
        for kind in _subclasses_of(TaskapiError)
        if hasattr(kind, "code")
    }
    return domain | {code: (status, text) for status, (code, text) in REFUSALS.items()}


def title_of(status: int) -> str:
    """Return the reason phrase of a status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_document(
    status: int, code: str, detail: str, request_id: str, **members: Any
) -> dict[str, Any]:
    """Compose a problem document (RFC 9457); `members` are its extension members."""
    return {
        "type": f"urn:problem-type:taskapi:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **members,
    }


def _subclasses_of(base: type[TaskapiError]) -> Iterator[type[TaskapiError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses_of(kind)


def status_of(error: TaskapiError | type[TaskapiError]) -> int:
    """Return the HTTP status of an error or error class."""
    kind = error if isinstance(error, type) else type(error)
    return next(_STATUSES[base] for base in kind.__mro__ if base in _STATUSES)


def describe(error: TaskapiError) -> dict[str, Any]:
    """Return the body of an error of this request, in the format of the application."""
    return _describe(status_of(error), error.code, str(error), **error.members)


def _describe(status: int, code: str, detail: str, **members: Any) -> dict[str, Any]:
    error_format = format_of(current_app)
    status = error_format.status_of(request.blueprint, code, status)
    return error_format.rewrite(problem_document(status, code, detail, g.request_id, **members))


def _answer(document: dict[str, Any]) -> Response:
    status = document["status"]
    response = Response(orjson.dumps(document), status)
    response.mimetype = format_of(current_app).media_type
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="taskapi"'
    return response


def respond(error: TaskapiError) -> Response:
    """Return the response to a domain error."""
    # A frame that holds the error, such as that of an atomic batch, would hold the input until the
    # garbage collector runs.
    error.__traceback__ = None
    response = _answer(describe(error))
    if isinstance(error, exceptions.Retryable):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, exceptions.BodyEncoded):
        response.headers["Accept-Encoding"] = "identity"  # RFC 9110, 15.5.16
    return response


def _respond_to_http_error(error: HTTPException) -> Response:
    is_own = error.description != type(error).description
    response = _respond_with_status(error.code or 500, error.description, is_own=is_own)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _respond_to_fault(error: Exception) -> Response:
    # The log omits the message of the error, which may quote a task or a password.
    log.error(
        "internal_error",
        route=str(request.url_rule),
        error=type(error).__qualname__,
        sqlstate=getattr(error, "pgcode", None),
        trace="".join(traceback.format_tb(error.__traceback__)),
    )
    return _respond_with_status(500)


def _respond_with_status(
    status: int, description: str | None = None, *, is_own: bool = False
) -> Response:
    title = title_of(status)
    # A status without an entry in REFUSALS gets its code from the reason phrase.
    fallback = (re.sub(r"\W+", "_", title).strip("_").lower(), f"{title}.")
    code, detail = REFUSALS.get(status, fallback)
    if description and (is_own or status not in REFUSALS):
        detail = description
    return _answer(_describe(status, code, detail))
