"""Database access: connections, statements, transactions and server checks."""

from __future__ import annotations

from flask import Flask

from taskapi.db import execute, readiness
from taskapi.db.base import db, migrate
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Bind the database to the application; its first use migrates and verifies it."""
    app.config["MIGRATE_ON_START"] = settings.migrate_on_start
    app.config["PREPARE_STATEMENTS"] = settings.prepare_statements
    execute.init_app(app, settings, migrate_and_verify=readiness.migrate_and_verify)
    migrate.init_app(app, db, directory=str(readiness.MIGRATIONS), compare_server_default=True)
