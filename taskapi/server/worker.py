"""gunicorn's threads, with the differences that what they serve asks for."""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker
from uuid_utils import uuid4

from taskapi.http.problems import REFUSALS, format_of, problem_document

_STATUSES: dict[type[Exception], int] = {
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}

log = structlog.get_logger()


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own words, without a line for each request: the application writes that."""

    def access(self, *_request: Any) -> None:
        """Say nothing, and above all gather nothing."""


class PortableWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that answers and logs unreadable requests in our own way.

    gunicorn's own page is HTML, and its log line quotes the request: where a length was
    wrong, that is the body of a login.
    """

    def handle_exit(self, signal_number: int, frame: Any) -> None:
        """Finish what has begun, and let nobody wait any longer."""
        super().handle_exit(signal_number, frame)
        if app := getattr(self, "wsgi", None):  # It may not have been loaded yet.
            app.extensions["taskapi.waiting"].close()

    def handle_error(self, _request: Any, client: Any, address: Any, error: Exception) -> None:
        """Refuse a request that could not be read."""
        status = 400 if isinstance(error, ParseException) else 500
        status = _STATUSES.get(type(error), status)
        request_id = uuid4().hex
        structlog.contextvars.clear_contextvars()
        log.warning(
            "request_unreadable",
            status=status,
            error=type(error).__name__,
            client=address[0] if address else None,
            request_id=request_id,
        )
        error_format = format_of(self.wsgi)
        document = problem_document(status, *REFUSALS[status], request_id)
        body = orjson.dumps(error_format.rewrite(document))
        head = (
            f"HTTP/1.1 {status} {document['title']}\r\n"
            "Connection: close\r\n"
            f"Content-Type: {error_format.media_type}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            # It is the same for everybody, and the origin of the page could not be read.
            "Access-Control-Allow-Origin: *\r\n"
            "Access-Control-Expose-Headers: X-Request-ID\r\n"
            f"X-Request-ID: {request_id}\r\n\r\n"
        )
        try:
            write_nonblock(client, head.encode() + body)
        except OSError:
            # Whoever cannot form a request often does not wait for the answer either.
            return
