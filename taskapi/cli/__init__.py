"""Commands for operators: checks, backup and restore, purging, accounts and sessions."""

from __future__ import annotations

from flask import Flask

from taskapi.cli import backup, database, doctor, incarnation, purge, users
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the commands; those for accounts only with `AUTH_MODE=local`."""
    database.init_app(app, settings)
    if settings.auth_mode == "local":
        users.init_app(app)
    doctor.init_app(app, settings)
    backup.init_app(app, settings)
    incarnation.init_app(app)
    purge.init_app(app)
