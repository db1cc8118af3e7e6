"""The headers and parameters of the document, which operations refer to."""

from __future__ import annotations

from typing import Any

from taskapi.auth.schemas import EXAMPLE_USER_ID, UserIdInPath
from taskapi.http.idempotency.store import KEY_LENGTH
from taskapi.openapi.examples import REQUEST_ID
from taskapi.tasks.schemas import EXAMPLE_CURSOR, EXAMPLE_ID, EXAMPLE_VERSION

EXAMPLE_ETAG = f'"{EXAMPLE_VERSION}"'

HEADERS: dict[str, dict[str, Any]] = {
    "Access-Control-Allow-Origin": {
        "description": "That pages of any origin may read what could not be read here.",
        "schema": {"type": "string"},
        "example": "*",
    },
    "Access-Control-Expose-Headers": {
        "description": "The headers that such a page may read.",
        "schema": {"type": "string"},
        "example": "X-Request-ID",
    },
    "Allow": {
        "description": "The methods that this URL takes, where it does not take the one sent.",
        "schema": {"type": "string"},
        "example": "GET, HEAD, OPTIONS, POST",
    },
    "Cache-Control": {
        "description": "`no-store`: an answer is for whoever asked. /docs may be kept for an hour.",
        "schema": {"type": "string"},
        "example": "no-store",
    },
    "Content-Disposition": {
        "description": "What a browser names the file.",
        "schema": {"type": "string"},
        "example": 'attachment; filename="tasks.json"',
    },
    "Content-Security-Policy": {
        "description": "What the page may load and run: files of this service alone.",
        "schema": {"type": "string"},
        "example": "default-src 'none'; script-src 'self'",
    },
    "ETag": {
        "description": "The task's version, quoted; of a list, the state that it shows.",
        "schema": {"type": "string"},
        "example": EXAMPLE_ETAG,
    },
    "Idempotent-Replayed": {
        "description": "That this is the first answer again (`Idempotency-Key`).",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "Link": {
        "description": "The next page (RFC 8288), if there is one.",
        "schema": {"type": "string"},
        "example": f'</tasks?cursor={EXAMPLE_CURSOR}>; rel="next"',
    },
    "Location": {
        "description": "The URL of the new task.",
        "schema": {"type": "string"},
        "example": f"/tasks/{EXAMPLE_ID}",
    },
    "RateLimit": {
        "description": "What is left of which limit (`r`), and for how many seconds it is counted "
        "on (`t`). Absent where limits are switched off or the token was refused.",
        "schema": {"type": "string"},
        "example": '"write";r=599;t=60',
    },
    "RateLimit-Policy": {
        "description": "That limit: requests (`q`) in so many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"write";q=600;w=60',
    },
    "Accept-Encoding": {
        "description": "Which `Content-Encoding` is taken, where that was the reason.",
        "schema": {"type": "string", "enum": ["identity"]},
        "example": "identity",
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "Set-Cookie": {
        "description": "The refresh token, if the cookie was asked for.",
        "schema": {"type": "string"},
        "example": "__Secure-taskapi_refresh=eyJhbGci…; Secure; HttpOnly; Path=/auth",
    },
    "Vary": {
        "description": "That browsers may read an answer or not by the page's origin.",
        "schema": {"type": "string"},
        "example": "Origin",
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "schema": {"type": "string"},
        "example": 'Bearer realm="taskapi"',
    },
    "X-Content-Type-Options": {
        "description": "That the media type is what it says.",
        "schema": {"type": "string", "enum": ["nosniff"]},
        "example": "nosniff",
    },
    "X-Request-ID": {
        "description": "The id of this request in the logs; your own, if you sent a good one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": REQUEST_ID,
    },
}

_UUID = {"type": "string", "format": "uuid"}

PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "task_id": (
        "path",
        {"description": "Which task.", "schema": {**_UUID, "examples": [EXAMPLE_ID]}},
    ),
    "session_id": (
        "path",
        {"description": "Which session.", "schema": {**_UUID, "examples": [EXAMPLE_USER_ID]}},
    ),
    "user_id": (
        "path",
        {
            "description": "Whose tasks, percent-encoded: the `id` of /auth/me.",
            "schema": {
                **UserIdInPath().fields["user_id"].metadata,
                "examples": [EXAMPLE_USER_ID],
            },
        },
    ),
    "If-Match": (
        "header",
        {
            "description": "Only if the task is as you read it: its `ETag`, or several; `*` if it "
            "only must be there.",
            "schema": {"type": "string", "examples": [EXAMPLE_ETAG]},
        },
    ),
    "If-None-Match": (
        "header",
        {
            "description": "Only if it is not what you have read already: its `ETag`.",
            "schema": {"type": "string", "examples": ['"41"']},
        },
    ),
    "If-None-Match-Any": (
        "header",
        {
            "name": "If-None-Match",
            "description": "`*` creates the task, if there is none with this id.",
            "schema": {"type": "string", "enum": ["*"], "examples": ["*"]},
        },
    ),
    "Idempotency-Key": (
        "header",
        {
            "description": "A name for this request, unique among yours. Sent again with it within "
            "24 hours, the request has no second effect and gets the first answer again.",
            "schema": {
                "type": "string",
                "pattern": "^[!-~]([ -~]*[!-~])?$",
                "maxLength": KEY_LENGTH,
                "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
            },
        },
    ),
    "X-Request-ID": (
        "header",
        {
            "description": "The id that this request is to have in the logs, and in its answer. "
            "What is longer than 128 characters, or has others than `A-Za-z0-9._-`, is replaced.",
            "schema": {"type": "string", "examples": ["checkout-7f3a.1"]},
        },
    ),
}

HEADERS_OF_PROBLEMS = {
    401: ["WWW-Authenticate"],
    415: ["Accept-Encoding"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}
