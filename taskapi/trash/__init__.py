"""The trash: deleted tasks that can be restored for `TRASH_DAYS`."""

from __future__ import annotations

from flask import Flask

from taskapi.settings import Settings
from taskapi.trash import routes


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes, except with `AUTH_MODE=path`."""
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
