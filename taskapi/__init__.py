"""taskapi: the task backend to put behind any frontend."""

from __future__ import annotations

from flask import Flask

from taskapi import (
    cli,
    concurrency,
    contracts,
    cors,
    cursors,
    database,
    errors,
    health,
    http,
    logs,
    memory,
    metrics,
    openapi,
    rate_limits,
    schema,
    upkeep,
    web,
)
from taskapi.auth import commands, cookies, external, guard, passwords, throttle, tokens
from taskapi.auth import routes as auth_routes
from taskapi.batch import routes as batch_routes
from taskapi.changes import routes as change_routes
from taskapi.changes import waiting
from taskapi.config import Settings
from taskapi.extensions import db, migrate
from taskapi.tasks import routes as task_routes
from taskapi.transfer import routes as transfer_routes
from taskapi.trash import routes as trash_routes

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application; without settings they come from the environment."""
    settings = settings or Settings.from_environment()
    app = http.App(__name__, static_folder=None)
    app.config["MIGRATE_ON_START"] = settings.migrate_on_start
    app.config["PREPARE_STATEMENTS"] = settings.prepare_statements
    app.config["TRASH_DAYS"] = settings.trash_days
    app.config["TASK_QUOTA"] = settings.task_quota
    app.config["SEARCH_TIMEOUT"] = min(settings.search_timeout, settings.statement_timeout)

    logs.configure(settings.log_format, settings.log_level)
    logs.init_app(app)
    metrics.init_app(app, settings)
    http.init_app(app, settings)
    memory.init_app(app)
    errors.init_app(app)
    database.init_app(app, settings, prepare=schema.prepare)
    migrate.init_app(app, db, directory=str(schema.MIGRATIONS), compare_server_default=True)
    cors.init_app(app, settings.cors_origins)
    cursors.init_app(app, settings)
    guard.init_app(app, settings.auth_mode)
    rate_limits.init_app(app, settings)
    concurrency.init_app(app, settings)
    waiting.init_app(app, settings)
    cli.init_app(app, settings)
    upkeep.init_app(app, settings)

    if settings.auth_mode == "local":
        passwords.init_app(app, settings)
        throttle.init_app(app, settings)
        tokens.init_app(app, settings)
        cookies.init_app(app, settings)
        commands.init_app(app)
        app.register_blueprint(auth_routes.blueprint)
    if settings.auth_mode == "local" and settings.contract == "native":
        app.register_blueprint(web.blueprint)  # The page speaks no other contract.
    if settings.auth_mode == "external":
        external.init_app(app, settings)
        app.register_blueprint(auth_routes.outside)
    if settings.auth_mode != "path":
        app.register_blueprint(task_routes.blueprint)
        app.register_blueprint(batch_routes.blueprint)
        app.register_blueprint(change_routes.blueprint)
        app.register_blueprint(transfer_routes.blueprint)
        app.register_blueprint(trash_routes.blueprint)
    app.register_blueprint(task_routes.by_user)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(openapi.blueprint)
    contracts.init_app(app, settings)
    return app
