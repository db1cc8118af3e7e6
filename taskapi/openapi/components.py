"""The parts of the document that no route declares: headers, problems, ways to authenticate."""

from __future__ import annotations

from typing import Any

from flask import Flask

from taskapi.auth.schemas import UserIdInPath
from taskapi.config import VERSION
from taskapi.idempotency import KEY_LENGTH
from taskapi.tasks.schemas import EXAMPLE_CURSOR

HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {
        "description": "The task's version, quoted.",
        "schema": {"type": "string"},
        "example": '"42"',
    },
    "Content-Disposition": {
        "description": "What a browser names the file.",
        "schema": {"type": "string"},
        "example": 'attachment; filename="tasks.json"',
    },
    "Link": {
        "description": "The next page (RFC 8288), if there is one.",
        "schema": {"type": "string"},
        "example": f'</tasks?cursor={EXAMPLE_CURSOR}>; rel="next"',
    },
    "Idempotent-Replayed": {
        "description": "That this is the first answer again (`Idempotency-Key`).",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "Location": {
        "description": "The URL of the new task.",
        "schema": {"type": "string"},
        "example": "/tasks/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77",
    },
    "Set-Cookie": {
        "description": "The refresh token, if the cookie was asked for.",
        "schema": {"type": "string"},
        "example": "__Secure-taskapi_refresh=eyJhbGci…; Secure; HttpOnly; Path=/auth",
    },
    "X-Request-ID": {
        "description": "The id of this request in the logs; your own, if you sent a good one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": "9f1c2a7be0d84d0c8a31f5b3c3a0d9e2",
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "schema": {"type": "string"},
        "example": 'Bearer realm="taskapi"',
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "string"},
        "example": "1",
    },
}

CONDITIONS: dict[str, dict[str, Any]] = {
    "If-Match": {
        "description": "Only if the task is as you read it: its `ETag`, or several; `*` if it "
        "only must be there.",
        "schema": {"type": "string"},
        "example": '"42"',
    },
    "If-None-Match": {
        "description": "Only if it is not what you have read already.",
        "schema": {"type": "string"},
        "example": '"41"',
    },
}

IF_NEW = {
    "description": "`*` creates the task, if there is none with this id.",
    "schema": {"type": "string", "enum": ["*"]},
    "example": "*",
}

IDEMPOTENCY_KEY = {
    "description": "A name for this request, unique among yours. Sent again with it within 24 "
    "hours, the request has no second effect and gets the first answer again.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "maxLength": KEY_LENGTH},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}

PATH_PARAMETERS = {
    "task_id": {"type": "string", "format": "uuid"},
    "session_id": {"type": "string", "format": "uuid"},
    "user_id": UserIdInPath().fields["user_id"].metadata,
}

HEADERS_OF_PROBLEMS = {
    401: ["WWW-Authenticate"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}

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

PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
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
        },
    },
}


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
