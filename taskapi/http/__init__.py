"""HTTP: request processing that all features share."""

from __future__ import annotations

from flask import Flask

from taskapi.http import app as base
from taskapi.http import concurrency, cors, cursors, memory, problems, rate_limits, request_log
from taskapi.http.app import reserve_names
from taskapi.settings import Settings

__all__ = ["init_app", "limit_requests", "reserve_names"]


def init_app(app: Flask, settings: Settings) -> None:
    """Set up request logs, JSON, problem documents, CORS and cursors."""
    request_log.init_app(app, settings)
    base.init_app(app, settings)
    memory.init_app(app)
    problems.init_app(app)
    cors.init_app(app, settings.cors_origins)
    cursors.init_app(app, settings)


def limit_requests(app: Flask, settings: Settings) -> None:
    """Set up rate limits and the limit of concurrent requests per user."""
    rate_limits.init_app(app, settings)
    concurrency.init_app(app, settings)
