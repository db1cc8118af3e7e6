"""One line for every request and one for every event; as JSON, or for people.

No line holds a password, a token, an e-mail address, a body or a task's text.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import IO, Any

import orjson
import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.typing import Processor
from uuid_utils import uuid4  # From memory, not by a system call.

from taskapi.operations import template_of

# A caller's own id, if it can do no harm in a log or a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

# What would steer a terminal, such as an id of a user that begins with ESC. The ends of lines and
# tabs are missing: the renderer quotes what has them.
_COMMANDS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"
}

_STAMPS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]

log = structlog.get_logger()


def configure(log_format: str, log_level: str) -> None:
    """Send our own lines and those of the libraries to standard error, in one format."""
    level = logging.getLevelNamesMapping()[log_level.upper()]
    as_json = log_format == "json"
    structlog.configure(
        processors=[*_STAMPS, _json(orjson.dumps) if as_json else _console()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.BytesLoggerFactory(_Patient(sys.stderr.buffer))  # type: ignore[arg-type]
            if as_json
            else structlog.WriteLoggerFactory(_Patient(sys.stderr))  # type: ignore[arg-type]
        ),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        handlers=[library_handler(log_format)], level=max(level, logging.WARNING), force=True
    )


def library_handler(log_format: str) -> logging.Handler:
    """Make the handler that writes the lines of the libraries like ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_STAMPS,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _json(json.dumps) if log_format == "json" else _console(),
            ],
        )
    )
    return handler


class _Patient:
    """A stream that loses lines rather than requests when nobody can take them.

    A full disk or a closed pipe must not make a failure of what has been done.
    """

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, line: str | bytes) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _json(serializer: Callable[..., str | bytes]) -> Processor:
    return structlog.processors.JSONRenderer(serializer=serializer)


def _console() -> Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), timestamp_key="time", pad_event_to=20
    )

    def show(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = value.translate(_COMMANDS)
        return render(logger, method, event)

    return show


def init_app(app: Flask) -> None:
    """Give every request an id and log it when it has been answered."""
    app.before_request(_begin)
    app.after_request(_finish)
    # What the thread says next, of whatever, is not about this request.
    app.teardown_request(lambda _error: clear_contextvars())


def _begin() -> None:
    sent = request.environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    environ = request.environ
    rule = request.url_rule
    log.info(
        "request",
        method=environ["REQUEST_METHOD"],
        route=template_of(rule.rule) if rule else None,
        status=response.status_code,
        duration_ms=round((time.perf_counter() - g.started) * 1000, 3),
        user_id=g.actor.user_id if "actor" in g else None,
        client=environ.get("REMOTE_ADDR"),
    )
    response.headers.add("X-Request-ID", g.request_id)
    return response
