"""Tasks: what their owners keep here."""

from __future__ import annotations

from flask import Flask

from taskapi.settings import Settings
from taskapi.tasks import routes


def init_app(app: Flask, settings: Settings) -> None:
    """Add the tasks of the user whom the token names; those that a path names are contract A's."""
    app.config["TRASH_DAYS"] = settings.trash_days
    app.config["TASK_QUOTA"] = settings.task_quota
    app.config["SEARCH_TIMEOUT"] = min(settings.search_timeout, settings.statement_timeout)
    if settings.auth_mode != "path":
        app.register_blueprint(routes.blueprint)
