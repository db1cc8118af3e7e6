"""What an operator does now and then: look after it, save it, bring it back, throw things away."""

from __future__ import annotations

from flask import Flask

from taskapi.cli import backup, database, doctor, incarnation, purge, users
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Add the commands."""
    database.init_app(app, settings)
    if settings.auth_mode == "local":
        users.init_app(app)
    doctor.init_app(app, settings)
    backup.init_app(app, settings)
    incarnation.init_app(app)
    purge.init_app(app)
