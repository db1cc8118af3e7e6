"""Format log lines as JSON, or as text for a terminal.

No line contains a password, a token, an e-mail address, a request body or the text of a task.
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

# Control characters would steer a terminal, for example in a user id that begins with ESC. Tabs
# and line breaks are not escaped here: the renderer quotes values that contain them.
_CONTROL_CHARACTER_ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"
}

_SHARED_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]


def configure(log_format: str, log_level: str) -> None:
    """Write the lines of taskapi and of its libraries to standard error in one format.

    `log_format` is `json` or `console`. Libraries log at `warning` or above.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    as_json = log_format == "json"
    structlog.configure(
        processors=[
            *_SHARED_PROCESSORS,
            _json_renderer(orjson.dumps) if as_json else _console_renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.BytesLoggerFactory(_LossyStream(sys.stderr.buffer))  # type: ignore[arg-type]
            if as_json
            else structlog.WriteLoggerFactory(_LossyStream(sys.stderr))  # type: ignore[arg-type]
        ),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        handlers=[make_library_handler(log_format)], level=max(level, logging.WARNING), force=True
    )


def make_library_handler(log_format: str) -> logging.Handler:
    """Return a handler that formats the lines of libraries like those of taskapi."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED_PROCESSORS,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _json_renderer(json.dumps) if log_format == "json" else _console_renderer(),
            ],
        )
    )
    return handler


class _LossyStream:
    """A stream that drops lines which cannot be written.

    A full disk or a closed pipe must not fail a request that has been carried out.
    """

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, line: str | bytes) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _json_renderer(serializer: Callable[..., str | bytes]) -> Processor:
    return structlog.processors.JSONRenderer(serializer=serializer)


def _console_renderer() -> Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), timestamp_key="time", pad_event_to=20
    )

    def render_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = value.translate(_CONTROL_CHARACTER_ESCAPES)
        return render(logger, method, event)

    return render_event
