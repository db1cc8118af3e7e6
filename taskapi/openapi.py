"""The OpenAPI document, made from what the routes themselves declare, and /docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask_swagger_ui
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint, Flask, Response, current_app, send_from_directory
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from taskapi.config import VERSION
from taskapi.errors import catalogue, problem_document
from taskapi.fields import Input
from taskapi.operations import public, token_kind_of

_OWN_FILES = Path(__file__).parent / "static"
_SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"

_HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {
        "description": "The task's version, quoted.",
        "schema": {"type": "string"},
        "example": '"42"',
    },
    "Location": {
        "description": "The URL of the new task.",
        "schema": {"type": "string"},
        "example": "/tasks/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77",
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

_PATH_PARAMETERS = {
    "task_id": {"type": "string", "format": "uuid"},
}

_SECURITY_SCHEMES = {
    kind: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"The `{kind}_token` that registering, logging in and refreshing answer.",
    }
    for kind in ("access", "refresh")
}

_DESCRIPTION = """\
The task backend to put behind any frontend.

**First steps.** `POST /auth/register` answers with an `access_token`. Press *Authorize*,
paste it, and every request from this page carries it as `Authorization: Bearer <token>`.

**Failures** are all `application/problem+json` (RFC 9457): `detail` is a sentence for a
person, `code` never changes and is for programs, `request_id` finds the request in the logs.
"""

_UNAVAILABLE_EXAMPLE = {"status": "unhealthy", "database": "disconnected", "version": VERSION}

_PROBLEM_SCHEMA = {
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

blueprint = Blueprint("docs", __name__)


def build_document(app: Flask) -> dict[str, Any]:
    """Describe every route that declares what it answers, as OpenAPI 3.1."""
    plugin = MarshmallowPlugin(schema_name_resolver=_component_name)
    spec = APISpec(
        title="taskapi",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        tags=[
            {"name": "auth", "description": "Accounts and sessions."},
            {"name": "tasks", "description": "Your tasks."},
            {"name": "service", "description": "The service itself."},
        ],
    )
    spec.components.schema("Problem", _PROBLEM_SCHEMA)
    for kind, scheme in _SECURITY_SCHEMES.items():
        spec.components.security_scheme(kind, scheme)
    assert plugin.converter is not None
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        view = app.view_functions[rule.endpoint]
        if not hasattr(view, "answers"):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(rule, view, plugin.converter)
            spec.path(path=path, operations={method.lower(): operation})
        _describe_input(spec, getattr(view, "accepts", {}).get("body"))
    return spec.to_dict()


def _describe_input(spec: APISpec, body: Input | None) -> None:
    """Say of an input what its fields alone do not say."""
    if body is None:
        return
    properties = spec.components.schemas[_component_name(body)]["properties"]
    for name in body.ignored:
        properties[name] = {"description": "Written by the service alone; ignored here."}
    if body.partial:
        # What is absent is kept, so that nothing has a default.
        for described in properties.values():
            described.pop("default", None)


def _operation(rule: Rule, view: Callable[..., Any], converter: OpenAPIConverter) -> dict[str, Any]:
    summary, _, description = (view.__doc__ or "").partition("\n\n")
    accepts = getattr(view, "accepts", {"body": None, "query": None})
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary.strip(),
        "parameters": [
            {"in": "path", "name": name, "required": True, "schema": _PATH_PARAMETERS[name]}
            for name in sorted(rule.arguments)
        ],
        "security": [{kind: []}] if (kind := token_kind_of(view)) else [],
        "responses": dict(_responses(view, accepts)),
    }
    if description:
        operation["description"] = " ".join(description.split())
    if accepts["query"]:
        operation["parameters"] += converter.schema2parameters(accepts["query"], location="query")
    if accepts["body"]:
        media = {"schema": accepts["body"], "example": _example(accepts["body"])}
        operation["requestBody"] = {
            "required": not accepts["body_is_optional"],
            "content": {"application/json": media},
        }
    return operation


def _responses(
    view: Callable[..., Any], accepts: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    declared = view.answers  # type: ignore[attr-defined]
    success: dict[str, Any] = {
        "description": "Done.",
        "headers": {name: _HEADERS[name] for name in (*declared["headers"], "X-Request-ID")},
    }
    if declared["schema"]:
        example = _example(declared["schema"])
        media = {"schema": declared["schema"], "example": example}
        success["content"] = {"application/json": media}
    yield str(declared["status"]), success

    codes = list(declared["problems"])
    if token_kind_of(view):
        codes += ["token_missing", "token_invalid", "token_expired", "session_ended"]
    if accepts["body"]:
        codes += ["malformed_json", "unsupported_media_type"]
    if accepts["body"] or accepts["query"]:
        codes += ["validation_failed"]
    codes += ["length_required", "body_too_large"]
    codes += ["internal_error", "database_unavailable", "database_not_ready", "busy"]
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(catalogue()[code][0], []).append(code)
    for status, several in sorted(by_status.items()):
        response = _problem_response(status, several)
        if status == HTTPStatus.SERVICE_UNAVAILABLE and declared["unavailable"]:
            media = {"schema": declared["unavailable"], "example": _UNAVAILABLE_EXAMPLE}
            response["content"] = {"application/json": media}
        yield str(status), response


def _problem_response(status: int, codes: list[str]) -> dict[str, Any]:
    headers = ["X-Request-ID"]
    headers += {401: ["WWW-Authenticate"], 503: ["Retry-After"]}.get(status, [])
    examples = {}
    for code in codes:
        members: dict[str, Any] = {}
        if code == "validation_failed":
            detail = "This field is required."
            members["errors"] = [{"pointer": "/title", "code": "required", "detail": detail}]
        request_id = _HEADERS["X-Request-ID"]["example"]
        document = problem_document(status, code, catalogue()[code][1], request_id, **members)
        examples[code] = {"value": document}
    return {
        "description": " ".join(catalogue()[code][1] for code in codes),
        "headers": {name: _HEADERS[name] for name in headers},
        "content": {"application/problem+json": {"schema": "Problem", "examples": examples}},
    }


def _component_name(schema: Any) -> str:
    partial = getattr(schema, "partial", False)
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return name.replace("Input", "Patch") if partial else name


def _example(schema: Schema) -> dict[str, Any]:
    """Compose the example of a schema from the examples of its fields."""
    example: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if isinstance(field, fields.Nested):
            example[name] = _example(field.schema)
        elif isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
            example[name] = [_example(field.inner.schema)]
        elif isinstance(field, fields.Constant):
            example[name] = field.constant
        elif "example" in field.metadata:
            example[name] = field.metadata["example"]
    return example


@blueprint.get("/openapi.json")
@public
def get_document() -> Any:
    """Answer the document; it changes only with the release."""
    documents = current_app.extensions
    if "taskapi.openapi" not in documents:
        documents["taskapi.openapi"] = build_document(current_app)
    return documents["taskapi.openapi"]


@blueprint.get("/docs")
@public
def show_docs() -> Response:
    """Show Swagger UI, from files of our own and with nothing inline that could be code."""
    response = _send_file(_OWN_FILES, "docs.html")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return response


@blueprint.get("/docs/<filename>")
@public
def get_docs_file(filename: str) -> Response:
    """Answer a file that /docs needs: one of our own, or one of Swagger UI's."""
    is_own = (_OWN_FILES / filename).is_file()
    return _send_file(_OWN_FILES if is_own else _SWAGGER_UI, filename)


def _send_file(directory: Path, filename: str) -> Response:
    return send_from_directory(directory, filename, max_age=3600, conditional=False)
