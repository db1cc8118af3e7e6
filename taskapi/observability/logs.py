"""Format log lines as JSON, or for people at a terminal.

No line holds a password, a token, an e-mail address, a body or a task's text.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import IO, Any

import orjson
import structlog
from structlog.typing import Processor

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
