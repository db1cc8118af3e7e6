"""Export all tasks of a user to a file, and import tasks from one."""

from __future__ import annotations

from typing import Final

from flask import Flask

from taskapi.settings import Settings
from taskapi.transfer import routes

RESERVED_NAMES: Final = ("export", "import")


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes, except with `AUTH_MODE=path`."""
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
