"""The views of the index, health and liveness."""

from __future__ import annotations

from typing import Any

from flask import current_app, request
from marshmallow import Schema, fields
from sqlalchemy import text

from taskapi.db.execute import SYSTEM, execute
from taskapi.exceptions import Unavailable
from taskapi.http.app import Section
from taskapi.http.views import endpoint
from taskapi.settings import VERSION

blueprint = Section("service", __name__, "The service itself.")

_PING = text("SELECT 1")
_LINKS = {
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "health": "/health",
    "liveness": "/health/live",
}
_LINKS_BY_MODE = {
    "local": {
        "register": "/auth/register",
        "login": "/auth/login",
        "tasks": "/tasks",
    },
    "external": {"me": "/auth/me", "tasks": "/tasks"},
    "path": {"tasks": "/api/{user_id}/tasks"},
}


class Health(Schema):
    status = fields.String(required=True, metadata={"example": "healthy"})
    database = fields.String(required=True, metadata={"example": "connected"})
    version = fields.String(required=True, metadata={"example": VERSION})


class Liveness(Schema):
    status = fields.String(required=True, metadata={"example": "alive"})


class Index(Schema):
    name = fields.String(required=True, metadata={"example": "taskapi"})
    version = fields.String(required=True, metadata={"example": VERSION})
    contract = fields.String(
        required=True, metadata={"enum": ["native", "b", "c"], "example": "native"}
    )
    links = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"example": _LINKS | {"app": "/app/"} | _LINKS_BY_MODE["local"]},
    )


@blueprint.get("/")
@endpoint(access="public", returns=Index(), needs_database=False)
def get_index() -> Any:
    """List the URLs of the service."""
    app = {"app": "/app/"} if "web" in current_app.blueprints else {}
    paths = _LINKS | app | _LINKS_BY_MODE[current_app.config["AUTH_MODE"]]
    return {
        "name": "taskapi",
        "version": VERSION,
        "contract": current_app.config["CONTRACT"],
        "links": {name: request.script_root + path for name, path in paths.items()},
    }


@blueprint.get("/health")
@endpoint(access="public", returns=Health(), unavailable=Health())
def get_health() -> Any:
    """Check the service and its database."""
    try:
        execute(_PING, acting_as=SYSTEM)
    except Unavailable as outage:
        body = {"status": "unhealthy", "database": "disconnected", "version": VERSION}
        return body, 503, {"Retry-After": str(outage.retry_after)}
    return {"status": "healthy", "database": "connected", "version": VERSION}


@blueprint.get("/health/live")
@endpoint(access="public", returns=Liveness(), needs_database=False)
def get_liveness() -> Any:
    """Check the process, without the database."""
    return {"status": "alive"}
