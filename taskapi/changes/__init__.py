"""The change feed: what a device that was away has missed."""

from __future__ import annotations

from typing import Final

from flask import Flask

from taskapi.changes import routes, waiting
from taskapi.settings import Settings

RESERVED_NAMES: Final = ("changes",)


def init_app(app: Flask, settings: Settings) -> None:
    """Add the routes, and the seats of those who wait for a change."""
    waiting.init_app(app, settings)
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
