"""What every request has in common: the limits of its body, and an answer in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, unquote_to_bytes

import orjson
from flask import Blueprint, Flask, Response, current_app, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter

from taskapi.exceptions import NotFound
from taskapi.http.endpoint import endpoint_of
from taskapi.http.fields import UUID_TEXT
from taskapi.http.problems import describe_limit
from taskapi.settings import BODY_LIMIT, IMPORT_LIMIT, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)+/?")


class Section(Blueprint):
    """A blueprint that is a section of the document, with a sentence about it."""

    def __init__(
        self, name: str, import_name: str, description: str, url_prefix: str | None = None
    ) -> None:
        super().__init__(name, import_name, url_prefix=url_prefix)
        self.description = description


class JSON(JSONProvider):
    """orjson: quick, and strict (no NaN, bounded nesting)."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """Serialise to text."""
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """Parse text or UTF-8 bytes; raises ValueError for anything else."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Make the response of a view that returned a dict or a list."""
        return json_response(self._prepare_response_obj(args, kwargs))


def json_response(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer data as JSON."""
    return Response(orjson.dumps(data), status, headers, content_type="application/json")


class EncodedSegment(BaseConverter):
    """A segment of the path that may hold any text, slashes included, percent-encoded."""

    regex = "[^/]*"
    part_isolating = True

    def to_python(self, value: str) -> str:
        """Decode; what is not UTF-8 becomes a lone surrogate, which no text field takes."""
        return unquote(value, errors="surrogateescape")


class _CanonicalPath:
    """Middleware that gives the router the path percent-encoded, in one spelling for each path.

    WSGI decodes the path before a router could tell an escaped slash from a separator, or an
    escaped percent sign from the beginning of an escape. Encoded again (RFC 3986, 6.2.2), every
    segment can be decoded, and is decoded exactly once.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        target = environ.get("RAW_URI", "").partition("?")[0]
        # Any other path is the same, encoded or decoded.
        if "%" in target or "%" in path or not path.isascii():
            environ["PATH_INFO"] = _encode_path(path, target, environ["SCRIPT_NAME"])
        return self._app(environ, start_response)


class _Proxied(ProxyFix):
    """Middleware that takes from trusted proxies whom they have seen, and below which path.

    The path is what the proxy has taken off, such as /todo. It is that of the nearest proxy; the
    others pass requests on to one that has it.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Anything else could lead a client that follows a Location elsewhere.
        if not _PREFIX.fullmatch(environ.get("HTTP_X_FORWARDED_PREFIX", "")):
            environ.pop("HTTP_X_FORWARDED_PREFIX", None)
        return super().__call__(environ, start_response)


def _encode_path(path: str, target: str, script_name: str) -> str:
    """Return the escaped form of a decoded path, by the request's target as far as it fits."""
    sent = _AUTHORITY.sub("", target).partition("#")[0]
    for candidate in (sent, sent.removeprefix(script_name)):
        segments = [unquote_to_bytes(part) for part in candidate.encode("latin-1").split(b"/")]
        if b"/".join(segments) == path.encode("latin-1"):
            return "/".join(quote(segment, safe="") for segment in segments)
    return quote(path.encode("latin-1"))


def init_app(app: Flask, settings: Settings) -> None:
    """Speak JSON, and refuse bodies that are too long before they are read."""
    app.json = JSON(app)
    app.url_map.converters |= {"encoded": EncodedSegment}
    app.url_map.merge_slashes = False  # Between two slashes there may be an empty user id.
    app.wsgi_app = _CanonicalPath(app.wsgi_app)  # type: ignore[method-assign]  # as Flask wants it
    if settings.trusted_proxies:
        app.wsgi_app = _Proxied(  # type: ignore[method-assign]
            app.wsgi_app,
            x_for=settings.trusted_proxies,
            x_proto=settings.trusted_proxies,
            x_prefix=1,
        )
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.before_request(_refuse_oversized)
    app.after_request(_drain_body)
    app.after_request(_forbid_guessing)


def reserve_names(app: Flask, *names: str) -> None:
    """Take these names for no id: in routes that are added later, an `<id:…>` is any other text."""
    regex = f"(?!(?:{'|'.join(names)})$)[^/]+"
    converter = type("Id", (BaseConverter,), {"regex": regex, "part_isolating": True})
    app.url_map.converters["id"] = converter


def _refuse_oversized() -> None:
    environ = request.environ
    # Werkzeug cuts a body of unknown length off at the limit and says nothing.
    if "HTTP_TRANSFER_ENCODING" in environ and request.content_length is None:
        raise LengthRequired
    length = (request.content_length or 0) if "CONTENT_LENGTH" in environ else 0
    if length > BODY_LIMIT:
        limit = endpoint_of(current_app.view_functions.get(request.endpoint or "")).body_limit
        if length <= limit:
            request.max_content_length = limit
            return
        raise RequestEntityTooLarge(describe_limit(limit))


def _drain_body(response: Response) -> Response:
    """Read what a refusal has left of the body, up to the longest that is taken.

    gunicorn closes a connection of which more than 64 KiB are unread: a client that is still
    sending would never see the answer, and nginx makes a 502 of it.
    """
    environ = request.environ
    if "CONTENT_LENGTH" in environ and (request.content_length or 0) <= IMPORT_LIMIT:
        with suppress(OSError):  # The client may have hung up.
            while environ["wsgi.input"].read(BODY_LIMIT):
                pass
    return response


def _forbid_guessing(response: Response) -> Response:
    headers = response.headers
    headers.add("X-Content-Type-Options", "nosniff")
    # Answers are made for one user; what may be kept says so itself.
    headers.setdefault("Cache-Control", "no-store")
    return response


def parse_id(text: str, missing: type[NotFound]) -> str:
    """Read an id from the path; a malformed one looks like one that is missing."""
    if not UUID_TEXT.fullmatch(text):
        raise missing
    return text.lower()


def no_content() -> Response:
    """Answer 204; what is not there has no type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
