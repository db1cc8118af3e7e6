"""The change feed, with long polls."""

from __future__ import annotations

from typing import Final

from flask import Flask

from taskapi.changes import long_poll, routes
from taskapi.settings import Settings

RESERVED_NAMES: Final = ("changes",)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes and start the long poller."""
    long_poll.init_app(app, settings)
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
