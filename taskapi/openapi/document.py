"""The OpenAPI document, made from what the routes themselves declare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from werkzeug.routing import Rule

from taskapi.contracts.adapter import CONTRACT
from taskapi.contracts.document import rename_members
from taskapi.http.app import Section
from taskapi.http.endpoint import component_name, endpoint_of, template_of
from taskapi.http.inputs import Input
from taskapi.http.problems import catalogue, format_of
from taskapi.openapi.components import (
    DESCRIPTION,
    INTRODUCTIONS,
    problem_schema,
    security_schemes,
)
from taskapi.openapi.examples import example_of_problem, example_of_request
from taskapi.openapi.headers import HEADERS, PARAMETERS
from taskapi.openapi.responses import (
    response_to_unreadable_requests,
    responses_of,
    share_responses,
)
from taskapi.settings import VERSION
from taskapi.tasks.schemas import Task

OPENAPI_VERSION: Final = "3.1.0"

_SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {
    "public": [],
    "optional_token": [{}, {"access": []}],
    "token": [{"access": []}],
    "refresh_token": [{"refresh": []}, {"refresh_cookie": []}],
}


def build_document(app: Flask) -> dict[str, Any]:
    """Describe every route that declares what it answers, as OpenAPI 3.1."""
    plugin = MarshmallowPlugin(schema_name_resolver=component_name)
    spec = APISpec(
        title="taskapi",
        version=VERSION,
        openapi_version=OPENAPI_VERSION,
        plugins=[plugin],
        info={
            "description": DESCRIPTION.format(introduction=INTRODUCTIONS[app.config["AUTH_MODE"]]),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        servers=[{"url": "/"}],
        tags=[
            {"name": name, "description": section.description}
            for name, section in app.blueprints.items()
            if isinstance(section, Section)
        ],
    )
    assert plugin.converter is not None
    _add_components(spec, app)
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        view = app.view_functions[rule.endpoint]
        if not endpoint_of(view).is_documented:
            continue
        path = template_of(rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(app, rule, view, plugin.converter)
            spec.path(path=path, operations={method.lower(): operation})
        _describe_input(spec, endpoint_of(view).body)
    document = spec.to_dict()
    for schema in document["components"]["schemas"].values():
        for described in schema["properties"].values():
            _modernise(described)
    if contract := CONTRACT.find(app):
        rename_members(document, contract.members)
    share_responses(document)
    _drop_unused(document)
    return document


def _add_components(spec: APISpec, app: Flask) -> None:
    spec.components.schema("Task", schema=Task)
    error_format = format_of(app)
    spec.components.schema("Problem", problem_schema(error_format.schema))
    for name, header in HEADERS.items():
        spec.components.header(name, header)
    for name, (location, parameter) in PARAMETERS.items():
        spec.components.parameter(name, location, parameter)
    for code in catalogue():
        spec.components.example(code, {"value": example_of_problem(code, error_format)})
    spec.components.response("Unreadable", response_to_unreadable_requests(error_format.media_type))
    for name, scheme in security_schemes(app).items():
        spec.components.security_scheme(name, scheme)


def _drop_unused(document: dict[str, Any]) -> None:
    """Leave out what nothing refers to, in this mode."""
    written = json.dumps(document)
    for kind in ("headers", "parameters", "examples"):
        document["components"][kind] = {
            name: component
            for name, component in document["components"][kind].items()
            if f'"#/components/{kind}/{name}"' in written
        }


def _describe_input(spec: APISpec, body: Input | None) -> None:
    """Say of an input what its fields alone do not say."""
    if body is None:
        return
    component = spec.components.schemas[component_name(body)]
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
    app: Flask, rule: Rule, view: Callable[..., Any], converter: OpenAPIConverter
) -> dict[str, Any]:
    summary, _, description = (view.__doc__ or "").partition("\n\n")
    declared = endpoint_of(view)
    access = declared.access if app.config["AUTH_MODE"] != "path" else "public"
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary.strip(),
        "parameters": list(_parameters(rule, view, converter)),
        "security": _SECURITY[access],
        "responses": responses_of(app, rule, view),
    }
    if description:
        operation["description"] = " ".join(description.split())
    if declared.body:
        media = {"schema": declared.body, "example": example_of_request(declared)}
        operation["requestBody"] = {
            "required": not declared.body_is_optional,
            "content": {"application/json": media},
        }
    if declared.upload:
        content = {
            # What a file holds is judged one by one, and what is bad is reported.
            name: {
                **(
                    {"schema": {"type": "array", "items": {}}} if name == "application/json" else {}
                ),
                "example": example,
            }
            for name, example in declared.upload.items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(
    rule: Rule, view: Callable[..., Any], converter: OpenAPIConverter
) -> Iterator[dict[str, Any] | str]:
    """Describe a view's parameters; a name alone is that of a component."""
    for name in sorted(rule.arguments):
        yield name
    declared = endpoint_of(view)
    if declared.query:
        for parameter in converter.schema2parameters(declared.query, location="query"):
            _modernise(parameter["schema"])
            yield parameter
    for name in declared.conditions:
        creates = name == "If-None-Match" and "If-Match" in declared.conditions
        yield "If-None-Match-Any" if creates else name
    if declared.idempotency:
        yield "Idempotency-Key"
    yield "X-Request-ID"


def _modernise(schema: dict[str, Any]) -> None:
    """Say the example as JSON Schema does, which is also one that no page types in by itself."""
    if "example" in schema:
        schema["examples"] = [schema.pop("example")]
