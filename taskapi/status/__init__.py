"""Health, metrics and web page of the service."""

from __future__ import annotations

from flask import Flask

from taskapi.settings import Settings
from taskapi.status import health, metrics, page


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes; the web page supports only the native contract with local accounts."""
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    if settings.auth_mode == "local" and settings.contract == "native":
        app.register_blueprint(page.blueprint)
