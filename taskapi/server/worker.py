"""Adapt gunicorn's threaded worker and its logger: error responses, log lines, shutdown."""

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

from taskapi.changes.long_poll import LONG_POLLER
from taskapi.http.problems import REFUSALS, format_of, problem_document

_STATUSES: dict[type[Exception], int] = {
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}

log = structlog.get_logger()


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger without the access log, which the application writes."""

    def access(self, *_request: Any) -> None:
        """Write no access log; collecting its values would cost time as well."""


class PortableWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that answers and logs unreadable requests as taskapi does.

    gunicorn answers with an HTML page, and its log line quotes the request. If a length was wrong,
    that may be the body of a login.
    """

    def handle_exit(self, signal_number: int, frame: Any) -> None:
        """Drain the worker: end the long polls and finish the requests in progress."""
        super().handle_exit(signal_number, frame)
        # The application may not be loaded yet.
        if (app := getattr(self, "wsgi", None)) and (poller := LONG_POLLER.find(app)):
            poller.close()

    def handle_error(self, _request: Any, client: Any, address: Any, error: Exception) -> None:
        """Answer an unreadable request with a problem document (RFC 9457)."""
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
            # The response is the same for all clients, and the Origin header could not be read.
            "Access-Control-Allow-Origin: *\r\n"
            "Access-Control-Expose-Headers: X-Request-ID\r\n"
            f"X-Request-ID: {request_id}\r\n\r\n"
        )
        try:
            write_nonblock(client, head.encode() + body)
        except OSError:
            # Clients that send malformed requests often close before the response.
            return
