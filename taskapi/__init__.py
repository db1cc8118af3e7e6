"""taskapi: the task backend to put behind any frontend."""

from __future__ import annotations

from flask import Flask

from taskapi import (
    auth,
    batch,
    changes,
    cli,
    contracts,
    db,
    http,
    openapi,
    status,
    tasks,
    transfer,
    trash,
)
from taskapi.observability import logs
from taskapi.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application; without settings they come from the environment.

    Floor by floor, from the ground. Hooks run in this order before a view and in the opposite one
    behind it: a request gets its id first, is authenticated, is counted, and is logged last.
    """
    settings = settings or Settings.from_environment()
    logs.configure(settings.log_format, settings.log_level)
    app = Flask(__name__, static_folder=None)

    http.init_app(app, settings)
    db.init_app(app, settings)
    auth.init_app(app, settings)
    http.limit_requests(app, settings)  # By user, who is known from here on.

    http.reserve_names(  # No task has one of these for an id.
        app, *batch.RESERVED_NAMES, *changes.RESERVED_NAMES, *transfer.RESERVED_NAMES
    )
    tasks.init_app(app, settings)
    batch.init_app(app, settings)
    changes.init_app(app, settings)
    transfer.init_app(app, settings)
    trash.init_app(app, settings)

    status.init_app(app, settings)
    openapi.init_app(app, settings)
    contracts.init_app(app, settings)  # Adapts the views that are there.
    cli.init_app(app, settings)
    return app
