"""Accounts, sessions and the authentication of requests."""

from __future__ import annotations

from flask import Flask

from taskapi.auth import cookies, external, guard, passwords, routes, throttle, tokens
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register authentication, and the routes of the configured AUTH_MODE."""
    guard.init_app(app, settings.auth_mode)
    if settings.auth_mode == "local":
        passwords.init_app(app, settings)
        throttle.init_app(app, settings)
        tokens.init_app(app, settings)
        cookies.init_app(app, settings)
        app.register_blueprint(routes.blueprint)
    if settings.auth_mode == "external":
        external.init_app(app, settings)
        app.register_blueprint(routes.outside)
