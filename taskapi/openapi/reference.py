"""The reference of error codes, for people: docs/errors.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from taskapi.http.problems import catalogue, title_of
from taskapi.openapi.responses import OF_ANY_REQUEST

_REMEDIES: Final = {
    "account_disabled": "Ask the operator; `flask users enable` opens the account again.",
    "body_too_large": "Send fewer tasks in one request; a batch takes up to 100 operations.",
    "busy": "Send it again after `Retry-After`. Where it lasts, the operator needs more workers, "
    "threads or connections.",
    "content_encoding_unsupported": "Send the body uncompressed, without `Content-Encoding`.",
    "credentials_invalid": "Let the person type both again. The service does not say which of the "
    "two was wrong.",
    "database_not_ready": "Send it again after `Retry-After`. Where it lasts, `flask doctor` tells "
    "the operator what is missing.",
    "database_unavailable": "Send it again after `Retry-After`. A write that was interrupted may "
    "have been done: repeat it with the same `Idempotency-Key`.",
    "email_taken": "Log in with this address, or take another one.",
    "expectation_failed": "Leave the header `Expect` out.",
    "headers_too_large": "Send fewer or shorter headers; cookies of other services count as well.",
    "idempotency_key_in_use": "Wait a second and send it again, with the same key.",
    "idempotency_key_reused": "Make a new key for every new request, and keep the old one only to "
    "send the very same again.",
    "internal_error": "Tell the operator the `request_id`. A write may have been done: look before "
    "you repeat it, or repeat it with its `Idempotency-Key`.",
    "issuer_unavailable": "Send it again after `Retry-After`. Where it lasts, the operator looks "
    "after EXTERNAL_JWKS_URL.",
    "length_required": "Send a body whose length is known before, not a stream.",
    "malformed_json": "`detail` says where the JSON breaks. It must be UTF-8, without NaN.",
    "malformed_request": "Send HTTP as RFC 9112 has it; a client library does.",
    "method_not_allowed": "Take a method that the header `Allow` names.",
    "no_room": "Give these tasks orders with gaps, in batches, and move then.",
    "origin_not_allowed": "The operator adds the page's origin to CORS_ORIGINS; or send the "
    "refresh token as bearer token.",
    "password_wrong": "Let the person type their current password again.",
    "precondition_failed": "Merge your change into `current`, and send it with its version in "
    "`If-Match`.",
    "quota_exceeded": "`DELETE /trash` empties the trash; or the operator raises TASK_QUOTA. "
    "`room` is how many more tasks there may be.",
    "rate_limited": "Wait for `Retry-After` seconds; `RateLimit` in each answer says what is left.",
    "refresh_token_reused": "Log in again. Refresh one at a time, over all tabs of a browser, and "
    "with an `Idempotency-Key` where the answer may be lost.",
    "refresh_token_superseded": "Go on with the newest pair; whoever used the new token has it. In "
    "a browser it is in the cookie: ask again with another `Idempotency-Key`.",
    "route_not_found": "Look at the path: `/docs` has all of them.",
    "search_timeout": "Add filters, or send it again after `Retry-After`. The operator sets "
    "SEARCH_TIMEOUT.",
    "session_ended": "Log in again.",
    "session_not_found": "List the sessions again; this one has ended.",
    "sync_reset": "Throw the copy away and read the feed from its beginning.",
    "task_exists": "Nothing to do where it is the same task; or delete the other one before.",
    "task_forbidden": "Ask for your own tasks; `GET /tasks` lists them.",
    "task_in_trash": "`POST /trash/{task_id}/restore` brings it back; `DELETE /trash/{task_id}` "
    "frees the id.",
    "task_not_found": "Look at the id. A task of somebody else's, one that was deleted and an id "
    "that is none look the same; what was deleted is in `GET /trash`.",
    "token_expired": "Get another token, then send it again: with accounts here by "
    "`POST /auth/refresh`, otherwise from the issuer.",
    "token_invalid": "Log in again. Where every token is refused: with accounts here, look whether "
    "the access token was sent; otherwise compare its `iss`, `aud` and times with the settings "
    "EXTERNAL_JWT_ISSUER, EXTERNAL_JWT_AUDIENCE and JWT_CLOCK_SKEW.",
    "token_missing": "Log in, and send the access token with every request.",
    "too_many_attempts": "Wait for `Retry-After` seconds. Each further failure doubles the wait.",
    "too_many_idempotency_keys": "Send it later, or without a key where it may be done twice.",
    "too_many_concurrent_requests": "Send fewer at a time, and this one again after `Retry-After`. "
    "The operator sets USER_THREADS_SHARE.",
    "transfer_coding_unsupported": "Send the body as it is, without `Transfer-Encoding`.",
    "unsupported_media_type": "Send the header `Content-Type: application/json`.",
    "uri_too_long": "Send less in the query; a URL may have some thousand characters.",
    "user_mismatch": "Take the id from `GET /auth/me`.",
    "user_not_found": "Look at the address; `flask users list` has all of them.",
    "validation_failed": "Each of `errors` names the place (`pointer`), the rule (`code`) and the "
    "mend (`detail`).",
}
_MANY: Final = 6  # operations that are left out are named, up to here

_INTRODUCTION: Final = """\
# Error codes

Every failure is `application/problem+json` (RFC 9457). `code` is for programs and never changes;
`detail` is for people: the sentence below, or one that says more. `make errors` writes this page,
from the code.

"""


def error_reference(
    document: dict[str, Any], external: dict[str, Any], contract_b: dict[str, Any]
) -> str:
    """Write the reference; the other documents say what only occurs in their modes."""
    places, places_outside, places_in_b = map(_places, (document, external, contract_b))
    written = [_INTRODUCTION, "| status | code |\n|---|---|\n"]
    codes = sorted(catalogue().items(), key=lambda item: (item[1][0], item[0]))
    written += [f"| {status} | [`{code}`](#{code}) |\n" for code, (status, _) in codes]
    for code, (status, sentence) in codes:
        if code in OF_ANY_REQUEST and code not in places:
            where = "Any request, before it gets to an operation."
        elif code in places:
            where = _name(places[code], _operations(document))
        elif code in places_outside:
            where = "With `AUTH_MODE=external`, whatever asks for a token."
        elif code in places_in_b:
            where = f"With `CONTRACT=b`: {_list(places_in_b[code])}."
        else:
            where = "No request: the operator's commands (`flask users`, `flask tokens`)."
        written += [
            f"\n## {code}\n\n{status} {title_of(status)}: {sentence}\n\n",
            f"- **What to do:** {_REMEDIES[code]}\n- **Where:** {where}\n",
        ]
    return "".join(written)


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def _places(document: dict[str, Any]) -> dict[str, set[str]]:
    places: dict[str, set[str]] = {}
    for name, operation in _operations(document).items():
        for code in _codes(document, operation):
            places.setdefault(code, set()).add(name)
    return places


def _codes(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    for status, response in operation["responses"].items():
        if status == "default":
            continue
        shared = document["components"]["responses"]
        found = shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for media in found.get("content", {}).values():
            yield from media.get("examples", {})


def _name(some: set[str], operations: dict[str, dict[str, Any]]) -> str:
    asking = {name for name, operation in operations.items() if operation["security"]}
    for every, named in (
        (set(operations), "Every operation"),
        (asking, "Every operation that asks for a token"),
    ):
        if some == every:
            return f"{named}."
        if some < every and len(every - some) <= _MANY < len(some):
            return f"{named}, but {_list(every - some)}."
    return f"{_list(some)}."


def _list(names: set[str]) -> str:
    by_path = sorted(names, key=lambda name: name.split()[::-1])
    return ", ".join(f"`{name}`" for name in by_path)
