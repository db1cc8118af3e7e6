"""The parts of the document that no route declares: headers, problems, ways to authenticate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from taskapi.exceptions import MAX_ERRORS_PER_OBJECT
from taskapi.settings import VERSION

BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

INTRODUCTIONS = {
    "local": "**First steps.** `POST /auth/register` answers with an `access_token`. Press "
    "*Authorize*, paste it, and every request from this page carries it as "
    "`Authorization: Bearer <token>`.",
    "external": "**First steps.** Take a token from the issuer that this service trusts. Press "
    "*Authorize*, paste it, and every request from this page carries it as "
    "`Authorization: Bearer <token>`.",
    "path": "**No token is asked here**: whose tasks are meant is what the path says.",
}

DESCRIPTION = """\
The task backend to put behind any frontend.

{introduction}

**Failures** are all `application/problem+json` (RFC 9457): `detail` is a sentence for a
person, `code` never changes and is for programs, `request_id` finds the request in the logs.
"""

UNAVAILABLE_EXAMPLE = {"status": "unhealthy", "database": "disconnected", "version": VERSION}

_PROBLEM: dict[str, Any] = {
    "type": {"type": "string", "format": "uri"},
    "title": {"type": "string"},
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "detail": {"type": "string"},
    "code": {"type": "string"},
    "request_id": {"type": "string"},
    "current": {
        "description": "With `precondition_failed`: the task as it is now.",
        "$ref": "#/components/schemas/Task",
    },
    "index": {
        "description": "In a batch that is `atomic`: which operation, from 0.",
        "type": "integer",
        "minimum": 0,
    },
    "quota": {
        "description": "With `quota_exceeded`: how many tasks you may have.",
        "type": "integer",
        "minimum": 1,
    },
    "room": {
        "description": "With `quota_exceeded`: how many more tasks there may be.",
        "type": "integer",
        "minimum": 0,
    },
    "errors": {
        "description": "With `validation_failed`: what is wrong, and where.",
        "type": "array",
        "items": {
            "type": "object",
            "required": ["pointer", "code", "detail"],
            "properties": {
                "pointer": {
                    "type": "string",
                    "description": "JSON Pointer into the body, or /query/… and /path/….",
                },
                "code": {"type": "string"},
                "detail": {"type": "string"},
            },
        },
        "maxItems": MAX_ERRORS_PER_OBJECT,
    },
    "errors_left_out": {
        "description": "How many more errors there are, where they are too many to report.",
        "type": "integer",
        "minimum": 1,
    },
}

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": _PROBLEM,
}


def problem_schema(differs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe a failure: as a problem document, or as the schema of a contract has it."""
    if differs is None:
        return PROBLEM_SCHEMA
    own = {name: one for name, one in _PROBLEM.items() if name not in ("type", "title")}
    return {**differs, "properties": {**differs["properties"], **own}}


def security_schemes(app: Flask) -> dict[str, Any]:
    """Say how one authenticates in the mode of this application."""
    mode = app.config["AUTH_MODE"]
    if mode == "path":
        return {}
    if mode == "external":
        return {"access": {**BEARER, "description": "A token of the issuer."}}
    answered = "that registering, logging in and refreshing answer."
    return {
        "access": {**BEARER, "description": f"The `access_token` {answered}"},
        "refresh": {**BEARER, "description": f"The `refresh_token` {answered}"},
        "refresh_cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": app.config["JWT_REFRESH_COOKIE_NAME"],
            "description": "The same in a cookie, if `cookie=true` asked for it.",
        },
    }
