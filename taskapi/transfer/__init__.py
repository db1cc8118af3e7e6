"""All tasks of somebody, out to a file and in from one."""

from __future__ import annotations

from typing import Final

from flask import Flask

from taskapi.settings import Settings
from taskapi.transfer import routes

RESERVED_NAMES: Final = ("export", "import")


def init_app(app: Flask, settings: Settings) -> None:
    """Add the routes."""
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
