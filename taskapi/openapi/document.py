"""The OpenAPI document, made from what the routes themselves declare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from taskapi.config import VERSION
from taskapi.errors import catalogue, problem_document
from taskapi.fields import Input
from taskapi.idempotency import is_repeatable
from taskapi.openapi.components import (
    CONDITIONS,
    DESCRIPTION,
    HEADERS,
    HEADERS_OF_PROBLEMS,
    IDEMPOTENCY_KEY,
    IF_NEW,
    INTRODUCTIONS,
    PATH_PARAMETERS,
    PROBLEM_SCHEMA,
    UNAVAILABLE_EXAMPLE,
    security_schemes,
)
from taskapi.operations import template_of, token_kind_of
from taskapi.tasks.schemas import Task


def build_document(app: Flask) -> dict[str, Any]:
    """Describe every route that declares what it answers, as OpenAPI 3.1."""
    mode = app.config["AUTH_MODE"]
    plugin = MarshmallowPlugin(schema_name_resolver=_component_name)
    spec = APISpec(
        title="taskapi",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={
            "description": DESCRIPTION.format(introduction=INTRODUCTIONS[mode]),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        servers=[{"url": "/"}],
        tags=[
            {"name": "auth", "description": "Accounts and sessions."},
            {"name": "tasks", "description": "Your tasks."},
            {"name": "batch", "description": "Many operations at once."},
            {"name": "changes", "description": "What a device that was away has missed."},
            {"name": "transfer", "description": "All your tasks as a file."},
            {"name": "trash", "description": "What you deleted."},
            {"name": "tasks_by_user", "description": "The tasks of the user that the path names."},
            {"name": "service", "description": "The service itself."},
        ],
    )
    spec.components.schema("Problem", PROBLEM_SCHEMA)
    for name, scheme in security_schemes(app).items():
        spec.components.security_scheme(name, scheme)
    assert plugin.converter is not None
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        view = app.view_functions[rule.endpoint]
        if not hasattr(view, "answers"):
            continue
        path = template_of(rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(mode, rule, view, plugin.converter)
            spec.path(path=path, operations={method.lower(): operation})
        _describe_input(spec, getattr(view, "accepts", {}).get("body"))
    return spec.to_dict()


def _describe_input(spec: APISpec, body: Input | None) -> None:
    """Say of an input what its fields alone do not say."""
    if body is None:
        return
    component = spec.components.schemas[_component_name(body)]
    properties = component["properties"]
    for name in body.ignored:
        properties[name] = {"description": "Written by the service alone; ignored here."}
    if body.dependent_required:
        component["dependentRequired"] = {
            name: [other] for name, other in body.dependent_required.items()
        }
    if body.one_of:
        component["oneOf"] = [{"required": [name]} for name in body.one_of]
    if body.partial:
        # What is absent is kept, so that nothing has a default.
        for described in properties.values():
            described.pop("default", None)


def _operation(
    mode: str, rule: Rule, view: Callable[..., Any], converter: OpenAPIConverter
) -> dict[str, Any]:
    summary, _, description = (view.__doc__ or "").partition("\n\n")
    accepts = getattr(view, "accepts", {"body": None, "query": None})
    kind = token_kind_of(view) if mode != "path" else None
    security = {None: [], "access": ["access"], "refresh": ["refresh", "refresh_cookie"]}
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary.strip(),
        "parameters": [
            {"in": "path", "name": name, "required": True, "schema": PATH_PARAMETERS[name]}
            for name in sorted(rule.arguments)
        ],
        "security": [{name: []} for name in security[kind]],
        "responses": dict(_responses(mode, rule, view, accepts)),
    }
    operation["parameters"] += _header_parameters(view)
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
    if upload := accepts.get("upload"):
        content = {name: {"example": example} for name, example in upload.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _header_parameters(view: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    conditions = view.answers["conditions"]  # type: ignore[attr-defined]
    for name in conditions:
        creates = name == "If-None-Match" and "If-Match" in conditions
        yield {"in": "header", "name": name, **(IF_NEW if creates else CONDITIONS[name])}
    if is_repeatable(view):
        yield {"in": "header", "name": "Idempotency-Key", **IDEMPOTENCY_KEY}


def _responses(
    mode: str, rule: Rule, view: Callable[..., Any], accepts: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    declared = view.answers  # type: ignore[attr-defined]
    headers = [*declared["headers"], "X-Request-ID"]
    headers += ["Idempotent-Replayed"] if is_repeatable(view) else []
    success: dict[str, Any] = {
        "description": "Done.",
        "headers": {name: HEADERS[name] for name in headers},
    }
    if declared["schema"]:
        example = _example(declared["schema"])
        media = {"schema": declared["schema"], "example": example}
        success["content"] = {"application/json": media}
        for name, text in declared["media"].items():
            success["content"][name] = {"schema": {"type": "string"}, "example": text}
    yield str(declared["status"]), success
    conditions = declared["conditions"]
    if conditions == ("If-None-Match",):
        read = {name: HEADERS[name] for name in ("ETag", "X-Request-ID")}
        yield "304", {"description": "You have it already.", "headers": read}
    elif "If-None-Match" in conditions:
        created = {**success["headers"], "Location": HEADERS["Location"]}
        yield "201", {**success, "description": "Created.", "headers": created}

    codes = list(declared["problems"])
    needs_token = mode != "path" and token_kind_of(view) is not None
    if needs_token:
        codes += ["token_missing", "token_invalid", "token_expired"]
        codes += ["issuer_unavailable"] if mode == "external" else ["session_ended"]
    if needs_token and "user_id" in rule.arguments:
        codes += ["user_mismatch"]
    if accepts["body"] or accepts.get("upload"):
        codes += ["malformed_json", "unsupported_media_type"]
    codes += ["precondition_failed"] if "If-Match" in conditions else []
    codes += ["idempotency_key_in_use", "idempotency_key_reused"] if is_repeatable(view) else []
    if accepts["body"] or accepts["query"] or "user_id" in rule.arguments or is_repeatable(view):
        codes += ["validation_failed"]
    codes += ["uri_too_long"] if accepts["query"] else []
    codes += ["length_required", "body_too_large"]
    codes += ["internal_error", "database_unavailable", "database_not_ready", "busy"]
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(catalogue()[code][0], []).append(code)
    for status, several in sorted(by_status.items()):
        response = _problem_response(status, several)
        if status == HTTPStatus.SERVICE_UNAVAILABLE and declared["unavailable"]:
            media = {"schema": declared["unavailable"], "example": UNAVAILABLE_EXAMPLE}
            response["content"] = {"application/json": media}
        yield str(status), response


def _problem_response(status: int, codes: list[str]) -> dict[str, Any]:
    headers = ["X-Request-ID"]
    headers += HEADERS_OF_PROBLEMS.get(status, [])
    examples = {}
    for code in codes:
        members: dict[str, Any] = {}
        if code == "validation_failed":
            detail = "This field is required."
            members["errors"] = [{"pointer": "/title", "code": "required", "detail": detail}]
        if code == "precondition_failed":
            members["current"] = _example(Task())
        request_id = HEADERS["X-Request-ID"]["example"]
        document = problem_document(status, code, catalogue()[code][1], request_id, **members)
        examples[code] = {"value": document}
    return {
        "description": " ".join(catalogue()[code][1] for code in codes),
        "headers": {name: HEADERS[name] for name in headers},
        "content": {"application/problem+json": {"schema": "Problem", "examples": examples}},
    }


def _component_name(schema: Any) -> str:
    partial = getattr(schema, "partial", False)
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return name.replace("Input", "Patch") if partial else name


def _example(schema: Schema) -> Any:
    """Compose the example of a schema from the examples of its fields."""
    if schema.many:
        return [_example(type(schema)())]
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
