"""Batches: run many task operations in one request."""

from __future__ import annotations

from typing import Final

from flask import Flask

from taskapi.batch import routes
from taskapi.settings import Settings

RESERVED_NAMES: Final = ("batch",)


def init_app(app: Flask, settings: Settings) -> None:
    """Add the routes."""
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
