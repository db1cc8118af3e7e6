"""Set up paths, proxies, body limits and JSON responses of the application."""

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
    """A blueprint with its summary in the OpenAPI document."""

    def __init__(
        self, name: str, import_name: str, description: str, url_prefix: str | None = None
    ) -> None:
        super().__init__(name, import_name, url_prefix=url_prefix)
        self.description = description


class JSON(JSONProvider):
    """JSON by orjson: fast and strict (no NaN, bounded nesting)."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """Serialise to text."""
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """Parse text or UTF-8 bytes; raises ValueError for anything else."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Make the response for a view that returns a dict or a list."""
        return json_response(self._prepare_response_obj(args, kwargs))


def json_response(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with `data` as JSON."""
    return Response(orjson.dumps(data), status, headers, content_type="application/json")


class EncodedSegment(BaseConverter):
    """A percent-encoded path segment with any text, slashes included."""

    regex = "[^/]*"
    part_isolating = True

    def to_python(self, value: str) -> str:
        """Decode; invalid UTF-8 becomes lone surrogates, which text fields reject."""
        return unquote(value, errors="surrogateescape")


class _CanonicalPath:
    """Middleware that passes the router the path percent-encoded, in one form for each path.

    WSGI decodes the path, so that the router cannot tell an escaped slash from a separator, or an
    escaped percent sign from the start of an escape. In the normalized form (RFC 3986, 6.2.2),
    every segment is decoded exactly once.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        target = environ.get("RAW_URI", "").partition("?")[0]
        # All other paths are equal in encoded and decoded form.
        if "%" in target or "%" in path or not path.isascii():
            environ["PATH_INFO"] = _encode_path(path, target, environ["SCRIPT_NAME"])
        return self._app(environ, start_response)


class _TrustedProxyFix(ProxyFix):
    """Middleware that takes client address, scheme and path prefix from trusted proxies.

    The prefix is the path that the nearest proxy has removed, such as /todo.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Any other prefix could redirect a client that follows a Location to another host.
        if not _PREFIX.fullmatch(environ.get("HTTP_X_FORWARDED_PREFIX", "")):
            environ.pop("HTTP_X_FORWARDED_PREFIX", None)
        return super().__call__(environ, start_response)


def _encode_path(path: str, target: str, script_name: str) -> str:
    """Return the encoded form of a decoded path, from the request target if the two agree."""
    sent = _AUTHORITY.sub("", target).partition("#")[0]
    for candidate in (sent, sent.removeprefix(script_name)):
        segments = [unquote_to_bytes(part) for part in candidate.encode("latin-1").split(b"/")]
        if b"/".join(segments) == path.encode("latin-1"):
            return "/".join(quote(segment, safe="") for segment in segments)
    return quote(path.encode("latin-1"))


def init_app(app: Flask, settings: Settings) -> None:
    """Set up JSON, URL converters, proxies, and body limits that apply before reading."""
    app.json = JSON(app)
    app.url_map.converters |= {"encoded": EncodedSegment}
    app.url_map.merge_slashes = False  # A user id in the path may be empty.
    app.wsgi_app = _CanonicalPath(app.wsgi_app)  # type: ignore[method-assign]  # as Flask wants it
    if settings.trusted_proxies:
        app.wsgi_app = _TrustedProxyFix(  # type: ignore[method-assign]
            app.wsgi_app,
            x_for=settings.trusted_proxies,
            x_proto=settings.trusted_proxies,
            x_prefix=1,
        )
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.before_request(_validate_body_length)
    app.after_request(_drain_body)
    app.after_request(_add_security_headers)


def reserve_names(app: Flask, *names: str) -> None:
    """Exclude reserved names from `<id:…>` in the routes that are registered later."""
    regex = f"(?!(?:{'|'.join(names)})$)[^/]+"
    converter = type("Id", (BaseConverter,), {"regex": regex, "part_isolating": True})
    app.url_map.converters["id"] = converter


def _validate_body_length() -> None:
    environ = request.environ
    # Werkzeug silently truncates a body of unknown length at the limit.
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
    """Read the rest of the body of a rejected request, up to `IMPORT_LIMIT`.

    gunicorn closes a connection with more than 64 KiB unread: a client that is still sending would
    not get the response, and nginx would return 502.
    """
    environ = request.environ
    if "CONTENT_LENGTH" in environ and (request.content_length or 0) <= IMPORT_LIMIT:
        with suppress(OSError):  # The client may have disconnected.
            while environ["wsgi.input"].read(BODY_LIMIT):
                pass
    return response


def _add_security_headers(response: Response) -> Response:
    headers = response.headers
    headers.add("X-Content-Type-Options", "nosniff")
    # Responses are for one user; a view that allows caching sets the header itself.
    headers.setdefault("Cache-Control", "no-store")
    return response


def parse_id(text: str, missing: type[NotFound]) -> str:
    """Return the canonical id of a path segment. Raises `missing` for a malformed one."""
    if not UUID_TEXT.fullmatch(text):
        raise missing
    return text.lower()


def no_content() -> Response:
    """Return 204 without a Content-Type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
