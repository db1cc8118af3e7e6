"""Identify, log, count and time every request."""

from __future__ import annotations

import re
import time

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from uuid_utils import uuid4  # From memory, not by a system call.

from taskapi.http.endpoint import template_of
from taskapi.observability import metrics
from taskapi.settings import VERSION, Settings

# A client's X-Request-ID is accepted only with characters that are safe in logs and headers.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

_IN_FLIGHT = "taskapi.in_flight"

log = structlog.get_logger()


def init_app(app: Flask, settings: Settings) -> None:
    """Log, count and time every request."""
    metrics.describe_build(VERSION)
    app.before_request(_begin)
    app.after_request(_finish)
    if settings.server_timing:
        app.after_request(_add_server_timing)
    app.teardown_request(_end)


def _begin() -> None:
    sent = request.environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    g.started = time.perf_counter()
    metrics.in_flight.inc()
    request.environ[_IN_FLIGHT] = True


def _finish(response: Response) -> Response:
    environ = request.environ
    method, status = environ["REQUEST_METHOD"], response.status_code
    rule = request.url_rule
    route = template_of(rule.rule) if rule else None
    seconds = time.perf_counter() - g.started
    metrics.request_duration(method, route, status).observe(seconds)
    log.info(
        "request",
        method=method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 3),
        user_id=g.actor.user_id if "actor" in g else None,
        client=environ.get("REMOTE_ADDR"),
    )
    response.headers.add("X-Request-ID", g.request_id)
    return response


def _add_server_timing(response: Response) -> Response:
    total = (time.perf_counter() - g.started) * 1000
    database = g.get("database_seconds", 0.0) * 1000
    response.headers["Server-Timing"] = f"db;dur={database:.2f}, total;dur={total:.2f}"
    return response


def _end(_error: BaseException | None) -> None:
    if request.environ.pop(_IN_FLIGHT, False):
        metrics.in_flight.dec()
    # Later log events of the thread do not belong to this request.
    clear_contextvars()
