"""Tasks: create, read, list, update, reorder and delete."""

from __future__ import annotations

from flask import Flask

from taskapi.settings import Settings
from taskapi.tasks import routes


def init_app(app: Flask, settings: Settings) -> None:
    """Configure tasks, and register `/tasks` unless `AUTH_MODE=path` (contract A has own paths)."""
    app.config["TRASH_DAYS"] = settings.trash_days
    app.config["TASK_QUOTA"] = settings.task_quota
    app.config["SEARCH_TIMEOUT"] = min(settings.search_timeout, settings.statement_timeout)
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
