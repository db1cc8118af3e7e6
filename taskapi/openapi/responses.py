"""What an operation answers: its success, and every problem that it can have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from taskapi.http.endpoint import Endpoint, endpoint_of
from taskapi.http.examples import example_of
from taskapi.http.problems import catalogue, describe_limit, describe_media, format_of, title_of
from taskapi.http.rate_limits import UNLIMITED
from taskapi.openapi.components import UNAVAILABLE_EXAMPLE
from taskapi.openapi.examples import example_of_problem, refusal_of
from taskapi.openapi.headers import HEADERS_OF_PROBLEMS
from taskapi.settings import BODY_LIMIT

OF_ANY_REQUEST = (
    *("malformed_request", "route_not_found", "method_not_allowed", "uri_too_long"),
    *("expectation_failed", "headers_too_large", "transfer_coding_unsupported"),
)
"""Problems of requests that get to no operation, whatever operation they were meant for."""

_EVERYWHERE = ("X-Request-ID", "Cache-Control", "Vary", "X-Content-Type-Options")
# Of what is refused before there is a request.
_UNREADABLE = (
    *("X-Request-ID", "Cache-Control", "X-Content-Type-Options"),
    *("Access-Control-Allow-Origin", "Access-Control-Expose-Headers"),
)
_RATE_LIMITS = ("RateLimit", "RateLimit-Policy")
_BEFORE_COUNTING = (411, 413)
_KEPT = (404, 409, 412)


def ref(kind: str, name: str) -> dict[str, str]:
    """Refer to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def responses_of(app: Flask, rule: Rule, view: Callable[..., Any]) -> dict[str, Any]:
    """Describe what a view answers under a rule, by status."""
    return {
        **dict(_successes(rule, view)),
        **dict(_problems(app, rule, view)),
        "default": ref("responses", "Unreadable"),
    }


def response_to_unreadable_requests(media_type: str) -> dict[str, Any]:
    """Describe what stands for all operations under `default`."""
    return {
        "description": "What cannot be read as a request, or leads to no operation.",
        "headers": {name: ref("headers", name) for name in (*_UNREADABLE, "Allow")},
        "content": _content({code: ref("examples", code) for code in OF_ANY_REQUEST}, media_type),
    }


def share_responses(document: dict[str, Any]) -> None:
    """Make a component of the most frequent response of each status from 400 on."""
    described = [
        (status, responses)
        for item in document["paths"].values()
        for operation in item.values()
        for responses in [operation["responses"]]
        for status in responses
        if status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST
    ]
    counted: dict[str, Counter[str]] = {}
    for status, responses in described:
        counted.setdefault(status, Counter())[json.dumps(responses[status])] += 1
    for status, responses in described:
        [(shared, times)] = counted[status].most_common(1)
        if times > 1 and json.dumps(responses[status]) == shared:
            name = title_of(int(status)).title().replace(" ", "")
            document["components"]["responses"][name] = responses[status]
            responses[status] = ref("responses", name)


def _successes(rule: Rule, view: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    declared = endpoint_of(view)
    repeated = ["Idempotent-Replayed"] if declared.idempotency else []
    headers = _headers(rule, [*declared.headers, *repeated])
    success: dict[str, Any] = {"description": declared.description, "headers": headers}
    content: dict[str, Any] = {}
    if declared.returns:
        example = declared.response_example
        if not isinstance(example, list):
            example = example_of(declared.returns, example)
        content["application/json"] = {"schema": declared.returns, "example": example}
    for name, text in declared.media.items():
        content[name] = {"schema": {"type": "string"}, "example": text}
    if content:
        success["content"] = content
    yield str(declared.status), success
    conditions = declared.conditions
    if conditions == ("If-None-Match",):
        yield "304", {"description": "You have it already.", "headers": _headers(rule, ["ETag"])}
    elif "If-None-Match" in conditions:
        created = _headers(rule, [*declared.headers, *repeated, "Location"])
        yield "201", {**success, "description": "Created.", "headers": created}


def _problems(
    app: Flask, rule: Rule, view: Callable[..., Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    declared = endpoint_of(view)
    error_format = format_of(app)
    blueprint = rule.endpoint.partition(".")[0]
    examples: dict[int, dict[str, Any]] = {}
    for code in _codes(app.config["AUTH_MODE"], rule, view):
        usual = catalogue()[code][0]
        status = error_format.status_of(blueprint, code, usual)
        members = declared.problem_members.get(code) or _own_members(declared, code)
        if code == "validation_failed":
            members = refusal_of(declared, names_user="user_id" in rule.arguments)
        example: dict[str, Any] = ref("examples", code)
        if members or status != error_format.status_of(None, code, usual):
            example = {"value": example_of_problem(code, error_format, blueprint, members)}
        examples.setdefault(status, {})[code] = example
    for status, some in sorted(examples.items()):
        # What followed from what was there is an answer that is kept.
        is_kept = declared.idempotency == "stored_answer" and status in _KEPT
        yield str(status), _problem(rule, status, some, error_format.media_type, is_kept=is_kept)
    if declared.unavailable:
        media = {"schema": declared.unavailable, "example": UNAVAILABLE_EXAMPLE}
        yield (
            "503",
            {
                "description": "The database is away.",
                "headers": _headers(rule, ["Retry-After"], 503),
                "content": {"application/json": media},
            },
        )


def _own_members(declared: Endpoint, code: str) -> Mapping[str, Any]:
    """Return what a problem says otherwise for the limit and the media types of this view."""
    if code == "body_too_large" and declared.body_limit != BODY_LIMIT:
        return {"detail": describe_limit(declared.body_limit)}
    if code == "unsupported_media_type" and declared.upload:
        return {"detail": describe_media(declared.upload)}
    return {}


def _codes(mode: str, rule: Rule, view: Callable[..., Any]) -> Iterator[str]:
    declared = endpoint_of(view)
    yield from declared.problems
    if mode != "path" and declared.access in ("token", "refresh_token"):
        yield from ("token_missing", "token_invalid", "token_expired")
        yield "issuer_unavailable" if mode == "external" else "session_ended"
        if "user_id" in rule.arguments:
            yield "user_mismatch"
    if declared.body or declared.upload:
        yield from ("malformed_json", "unsupported_media_type", "content_encoding_unsupported")
    if "If-Match" in declared.conditions:
        yield "precondition_failed"
    if declared.idempotency:
        yield from ("idempotency_key_in_use", "idempotency_key_reused")
        yield "too_many_idempotency_keys"
    if declared.body or declared.query or "user_id" in rule.arguments or declared.idempotency:
        yield "validation_failed"
    if declared.query:
        yield "uri_too_long"
    yield from ("length_required", "body_too_large")
    if rule.rule not in UNLIMITED:
        yield "rate_limited"
        if declared.access == "token":
            yield "too_many_concurrent_requests"
    yield "internal_error"
    if declared.needs_database and not declared.unavailable:
        yield from ("database_unavailable", "database_not_ready", "busy")


def _problem(
    rule: Rule, status: int, examples: dict[str, Any], media_type: str, *, is_kept: bool
) -> dict[str, Any]:
    names = HEADERS_OF_PROBLEMS.get(status, []) + (["Idempotent-Replayed"] if is_kept else [])
    return {
        "description": " ".join(catalogue()[code][1] for code in examples),
        "headers": _headers(rule, names, status),
        "content": _content(examples, media_type),
    }


def _content(examples: dict[str, Any], media_type: str) -> dict[str, Any]:
    schema = ref("schemas", "Problem")
    return {media_type: {"schema": schema, "examples": examples}}


def _headers(rule: Rule, names: list[str], status: int = 200) -> dict[str, Any]:
    """Refer to headers, and to those that all answers have."""
    is_counted = rule.rule not in UNLIMITED and status not in _BEFORE_COUNTING
    everywhere = (*_EVERYWHERE, *(_RATE_LIMITS if is_counted else ()))
    if status == HTTPStatus.REQUEST_URI_TOO_LONG:
        everywhere = _UNREADABLE
    return {name: ref("headers", name) for name in dict.fromkeys([*names, *everywhere])}
