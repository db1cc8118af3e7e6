"""Every failure as one problem document (RFC 9457)."""

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
    """Say that a body has more than `limit` bytes."""
    return f"The body is longer than {limit} bytes; send less at once."


def describe_media(media: Iterable[str]) -> str:
    """Say which media types an upload may have."""
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
"""What is refused before a view is reached: code and sentence by status."""

_TITLES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""What RFC 9110 calls them; in Python that depends on the version."""

_PROBLEM_JSON = "application/problem+json"

log = structlog.get_logger()


def _unchanged(document: dict[str, Any]) -> dict[str, Any]:
    return document


@dataclass(frozen=True)
class ErrorFormat:
    """How failures are written: as RFC 9457 has it, unless a contract says otherwise.

    `rewrite` makes the body of a problem document; `media_type` is what it then is. `statuses`
    are statuses by problem code, for each blueprint that has its own; those under None hold for
    all others. `schema` describes the body, where it is no problem document.
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
    """Answer whatever goes wrong, URL routing included."""
    set_format(app, ErrorFormat())
    app.register_error_handler(TaskapiError, respond)
    app.register_error_handler(HTTPException, _answer_refusal)
    app.register_error_handler(Exception, _answer_fault)


def set_format(app: Flask, error_format: ErrorFormat) -> None:
    """Write the failures of an application in this format."""
    _FORMAT.set(app, error_format)


def format_of(app: Flask) -> ErrorFormat:
    """Return the format in which an application writes its failures."""
    error_format = _FORMAT.find(app)
    assert error_format
    return error_format


def catalogue() -> dict[str, tuple[int, str]]:
    """Every code that a problem may have, with its status and its usual sentence."""
    domain = {
        kind.code: (status_of(kind), kind.message)
        for kind in _kinds_of(TaskapiError)
        if hasattr(kind, "code")
    }
    return domain | {code: (status, text) for status, (code, text) in REFUSALS.items()}


def title_of(status: int) -> str:
    """Return the name of a status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_document(
    status: int, code: str, detail: str, request_id: str, **members: Any
) -> dict[str, Any]:
    """Say in RFC 9457's terms what went wrong; `members` extend the document."""
    return {
        "type": f"urn:problem-type:taskapi:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **members,
    }


def _kinds_of(base: type[TaskapiError]) -> Iterator[type[TaskapiError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds_of(kind)


def status_of(error: TaskapiError | type[TaskapiError]) -> int:
    """Return the HTTP status that stands for an error."""
    kind = error if isinstance(error, type) else type(error)
    return next(_STATUSES[base] for base in kind.__mro__ if base in _STATUSES)


def describe(error: TaskapiError) -> dict[str, Any]:
    """Say what went wrong within this request, in the format of the application."""
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
    """Answer an error of the domain."""
    # A frame that holds the error, such as that of an atomic batch, would hold the input as well,
    # until the garbage collector runs.
    error.__traceback__ = None
    response = _answer(describe(error))
    if isinstance(error, exceptions.Retryable):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, exceptions.BodyEncoded):
        response.headers["Accept-Encoding"] = "identity"  # RFC 9110, 15.5.16
    return response


def _answer_refusal(error: HTTPException) -> Response:
    is_own = error.description != type(error).description
    response = _refuse(error.code or 500, error.description, is_own=is_own)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _answer_fault(error: Exception) -> Response:
    # Where, but not what it said: the message of an error may quote a task or a password.
    log.error(
        "internal_error",
        route=str(request.url_rule),
        error=type(error).__qualname__,
        sqlstate=getattr(error, "pgcode", None),
        trace="".join(traceback.format_tb(error.__traceback__)),
    )
    return _refuse(500)


def _refuse(status: int, description: str | None = None, *, is_own: bool = False) -> Response:
    title = title_of(status)
    # Of a status that nothing here is known to have, werkzeug says what it means.
    of_itself = (re.sub(r"\W+", "_", title).strip("_").lower(), f"{title}.")
    code, detail = REFUSALS.get(status, of_itself)
    if description and (is_own or status not in REFUSALS):
        detail = description
    return _answer(_describe(status, code, detail))
