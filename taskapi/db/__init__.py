"""How statements reach PostgreSQL, and on whose behalf."""

from __future__ import annotations

from flask import Flask

from taskapi.db import execute, readiness
from taskapi.db.base import db, migrate
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Bind the database; it is migrated and verified before its first use."""
    app.config["MIGRATE_ON_START"] = settings.migrate_on_start
    app.config["PREPARE_STATEMENTS"] = settings.prepare_statements
    execute.init_app(app, settings, prepare=readiness.prepare)
    migrate.init_app(app, db, directory=str(readiness.MIGRATIONS), compare_server_default=True)
