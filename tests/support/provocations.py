"""How each documented problem comes about, by requests and by what they find."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import psycopg2
import requests

from taskapi.settings import BATCH_LIMIT, BODY_LIMIT, IMPORT_LIMIT
from tests.support.replay import Request

NOT_FROM_OUTSIDE = (
    *("internal_error", "busy", "database_not_ready"),
    *("search_timeout", "too_many_concurrent_requests", "too_many_idempotency_keys"),
)
"""What takes a fault of ours, or an overload or a database as other tests make them."""

HARMLESS = (
    *("token_missing", "token_invalid", "token_expired", "user_mismatch", "database_unavailable"),
    *("malformed_json", "unsupported_media_type", "length_required", "body_too_large"),
    *(
        "content_encoding_unsupported",
        "uri_too_long",
        "validation_failed",
        "task_not_found",
        "session_not_found",
    ),
)
"""What is refused and changes nothing, so that the next request finds everything as it was."""

KEY = {"Idempotency-Key": "a key of Ada's"}

Provocation = Callable[[Any, Request, dict[str, Any]], requests.Response | None]


def provoke(world: Any, code: str, example: dict[str, Any]) -> requests.Response:
    """Let an operation of the world have a problem; an empty code is an answer without one."""
    if code in ("database_unavailable", "") or example.get("status") == "unhealthy":
        answer: requests.Response = world.request().send(world.urls["alone"])
        return answer
    if code in ("email_taken", "idempotency_key_in_use", "idempotency_key_reused"):
        world.register()
    return _CODES[code](world, example)


def _change(change: Callable[[Any, Request], object]) -> Callable[[Any, Any], requests.Response]:
    """Make a provocation of what changes the documented request."""

    def send(world: Any, _example: Any) -> requests.Response:
        request = world.request()
        change(world, request)
        return request.send(world.url)

    return send


def _expire(world: Any, request: Request) -> None:
    token = request.headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["exp"] = int(time.time()) - 60
    request.headers["Authorization"] = f"Bearer {jwt.encode(claims, world.secret, 'HS256')}"


def _end_session(world: Any, request: Request) -> None:
    requests.post(f"{world.url}/auth/logout", headers=world.bearer(), timeout=20)


def _make_too_large(world: Any, request: Request) -> None:
    limits = {"batch_run_operations": BATCH_LIMIT, "transfer_import_file": IMPORT_LIMIT}
    request.body = b" " * (limits.get(world.operation.id, BODY_LIMIT) + 1)
    request.media = "application/json"


def _break_rules(world: Any, example: dict[str, Any]) -> requests.Response:
    """Send what the example's own errors are about."""
    request = world.request()
    first = f"{example['errors'][0]['pointer']}/".split("/")[1]
    if first == "query":
        request.query["colour"] = "blue"
    elif first == "header":
        request.headers["Idempotency-Key"] = ""
    elif first == "path":
        request.ids["user_id"] = " "
    else:
        request.body = {"colour": "blue"} if first == "colour" else {}
    answer: requests.Response = request.send(world.url)
    return answer


def _miss(world: Any, request: Request) -> None:
    if request.ids:
        request.ids["task_id"] = str(uuid4())
    else:
        request.body = _batch({"op": "complete", "id": str(uuid4())})


def _batch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"atomic": True, "operations": list(operations)}


def _mismatch(world: Any, request: Request) -> None:
    if request.ids:
        request.headers["If-Match"] = '"0"'
    else:
        request.body = _batch({"op": "complete", "id": world.task_id, "if_match": 0})


def _meet_the_trash(world: Any, request: Request) -> None:
    world.throw_away()
    if request.ids:
        request.headers["If-None-Match"] = "*"
    else:
        operation = {"op": "create", "id": world.task_id, "data": {"title": "Buy milk"}}
        request.body = _batch(operation)


def _meet_another_task(world: Any, request: Request) -> None:
    world.sql(
        "INSERT INTO tasks (user_id, id, title, version) VALUES (%(owner)s, %(id)s, 'It', 1)",
        owner=world.user_id,
        id=world.task_id,
    )


def _fill(world: Any, request: Request) -> None:
    world.sql(
        "INSERT INTO tasks (user_id, id, title, version)"
        " SELECT %(owner)s, gen_random_uuid(), 'It', 1000 + n FROM generate_series(1, 1000) AS n",
        owner=world.user_id,
    )
    world.sql("UPDATE users SET task_count = 1000 WHERE id = %(owner)s", owner=world.user_id)
    if request.ids.get("task_id"):
        request.ids["task_id"] = str(uuid4())
        request.headers["If-None-Match"] = "*"
    elif world.operation.id == "batch_run_operations":
        request.body = _batch({"op": "create", "data": {"title": "Buy milk"}})


def _crowd(world: Any, request: Request) -> None:
    world.sql(
        "INSERT INTO tasks (user_id, id, title, version)"
        " SELECT %(owner)s, gen_random_uuid(), 'It', 1000 + n FROM generate_series(1, 40000) AS n",
        owner=world.user_id,
    )
    [(middle,)] = world.sql("SELECT id::text FROM tasks ORDER BY id OFFSET 20000 LIMIT 1")
    place = {"after": middle}
    operation = {"op": "move", "id": world.task_id, "data": place}
    request.body = place if request.ids else _batch(operation)


def _take_anothers_address(world: Any, request: Request) -> None:
    if world.operation.id == "auth_change_me":
        world.post("/auth/register", {"email": "bob@example.com", "password": "another horse"})
        request.body["email"] = "bob@example.com"


def _forget_password(world: Any, request: Request) -> None:
    name = "current_password" if "current_password" in request.body else "password"
    request.body[name] = "no horse at all"


def _try_too_often(world: Any, request: Request) -> None:
    _forget_password(world, request)
    for _ in range(5):
        request.send(world.url)


def _disable(world: Any, request: Request) -> None:
    world.sql("UPDATE users SET disabled_at = now()")


def _use_cookie(world: Any, request: Request) -> None:
    del request.headers["Authorization"]
    request.cookies = {"taskapi_refresh": world.tokens["refresh_token"]}
    request.headers["Origin"] = "https://elsewhere.example.com"


def _reuse_key(world: Any, request: Request) -> None:
    request.headers |= KEY
    requests.post(
        f"{world.url}/tasks",
        json={"title": "Another request"},
        headers={**world.bearer(), **KEY},
        timeout=20,
    ).raise_for_status()


def _overtake(world: Any, request: Request) -> None:
    """Send the request by its key, and use the token that it gives, before it is sent again."""
    request.headers |= KEY
    first = request.send(world.url)
    first.raise_for_status()
    world.tokens = first.json()
    world.post("/auth/refresh", {}, world.bearer("refresh"))


def _hold_key(world: Any, _example: Any) -> requests.Response:
    """Send the request while its key is taken by one that is being answered."""
    request = world.request()
    request.headers |= KEY
    digest = hashlib.sha256(f"{world.user_id}\n{KEY['Idempotency-Key']}".encode()).digest()
    connection = psycopg2.connect(world.database)
    try:
        with connection.cursor() as cursor:
            lock = int.from_bytes(digest[:8], signed=True)
            cursor.execute("SELECT pg_advisory_lock(%s)", (lock,))
        answer: requests.Response = request.send(world.url)
    finally:
        connection.close()
    return answer


def _exceed(world: Any, _example: Any) -> requests.Response:
    request = world.request()
    request.send(world.urls["narrow"])
    answer: requests.Response = request.send(world.urls["narrow"])
    return answer


def _fall_behind(world: Any, request: Request) -> None:
    request.query["since"] = request.send(world.url).json()["next"]
    world.sql("UPDATE users SET feed_floor = change_seq + 1")


def _set(where: str, **values: Any) -> Callable[[Any, Request], None]:
    def change(world: Any, request: Request) -> None:
        getattr(request, where).update(values)

    return change


def _send(body: Any, media: str = "application/json") -> Callable[[Any, Request], None]:
    def change(world: Any, request: Request) -> None:
        request.body, request.media = body, media

    return change


_CODES: dict[str, Callable[[Any, Any], requests.Response]] = {
    "token_missing": _change(lambda _, request: request.headers.pop("Authorization")),
    "token_invalid": _change(_set("headers", Authorization="Bearer nonsense")),
    "token_expired": _change(_expire),
    "session_ended": _change(_end_session),
    "user_mismatch": _change(lambda _, request: request.ids.update(user_id=str(uuid4()))),
    "malformed_json": _change(_send(b"{")),
    "unsupported_media_type": _change(_send(b"title: Buy milk", "application/yaml")),
    "content_encoding_unsupported": _change(
        lambda _, request: request.headers.update({"Content-Encoding": "gzip"})
    ),
    "length_required": _change(lambda _, request: setattr(request, "body", iter([b"{}"]))),
    "body_too_large": _change(_make_too_large),
    "uri_too_long": _change(_set("query", q="x" * 9000)),
    "validation_failed": _break_rules,
    "task_not_found": _change(_miss),
    "session_not_found": _change(lambda _, request: request.ids.update(session_id=str(uuid4()))),
    "precondition_failed": _change(_mismatch),
    "task_in_trash": _change(_meet_the_trash),
    "task_exists": _change(_meet_another_task),
    "no_room": _change(_crowd),
    "quota_exceeded": _change(_fill),
    "email_taken": _change(_take_anothers_address),
    "credentials_invalid": _change(_forget_password),
    "password_wrong": _change(_forget_password),
    "too_many_attempts": _change(_try_too_often),
    "account_disabled": _change(_disable),
    "refresh_token_reused": _change(lambda world, request: request.send(world.url)),
    "refresh_token_superseded": _change(_overtake),
    "origin_not_allowed": _change(_use_cookie),
    "idempotency_key_reused": _change(_reuse_key),
    "idempotency_key_in_use": _hold_key,
    "rate_limited": _exceed,
    "sync_reset": _change(_fall_behind),
}
