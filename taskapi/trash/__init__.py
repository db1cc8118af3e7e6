"""The trash: deleted tasks, until they are restored or their days are over."""

from __future__ import annotations

from flask import Flask

from taskapi.settings import Settings
from taskapi.trash import routes


def init_app(app: Flask, settings: Settings) -> None:
    """Add the routes."""
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
