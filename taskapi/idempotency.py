"""The header Idempotency-Key: what is sent again is not done again.

After the IETF's draft (draft-ietf-httpapi-idempotency-key-header). The first answer is
stored in the transaction of its effect, so there is never one without the other, however the
process ends. Keys are the user's own, and are forgotten after a day.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import orjson
from flask import Response, current_app, g, request
from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.auth.models import USER_ID_LENGTH
from taskapi.database import Actor, Row, execute, transaction
from taskapi.exceptions import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    NotAuthenticated,
    Retryable,
    TaskapiError,
)
from taskapi.extensions import Base
from taskapi.fields import Input, Text
from taskapi.operations import View, load

KEY_LENGTH: Final = 255
_KEPT_HEADERS: Final = ("Content-Type", "ETag", "Location")


class IdempotencyKey(Base):
    """The first answer to a request, which `fingerprint` tells from others."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class Key(Text):
    """A key: printable ASCII, as it stands in the header."""

    default_error_messages = {
        "invalid": "This must be printable ASCII, such as a UUID.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, *args, **kwargs) or ""
        if not (key.isascii() and key.isprintable()):
            raise self.make_error("invalid")
        return key


class Headers(Input):
    """What the header may say."""

    key = Key(KEY_LENGTH, shortest=1, not_blank=True, data_key="Idempotency-Key")


_HEADERS = Headers()

_CLAIM = text("SELECT pg_try_advisory_xact_lock(:lock) AS is_ours")
# A statement of its own, so that it sees what was stored before the lock was let go.
_FIND = text("""
    SELECT fingerprint, status, headers, body FROM idempotency_keys
     WHERE idempotency_keys.user_id = :owner AND key = :key
       AND created_at > now() - interval '1 day'
""")
# From the owner's row: where that is not there, nothing was done that could be doubled.
_STORE = text("""
    INSERT INTO idempotency_keys
      (user_id, key, fingerprint, status, headers, body, created_at)
    SELECT id, :key, :fingerprint, :status, :headers, :body, now()
      FROM users WHERE users.id = :owner
    ON CONFLICT (user_id, key) DO UPDATE SET
      fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
      body = excluded.body, created_at = excluded.created_at
    WHERE idempotency_keys.created_at <= now() - interval '1 day'
""")


def repeatable(view: View) -> View:
    """Let this view be called again with an Idempotency-Key, for one effect."""

    @functools.wraps(view)
    def repeated(**said: Any) -> Any:
        if "HTTP_IDEMPOTENCY_KEY" not in request.environ:
            return view(**said)
        sent = {"Idempotency-Key": request.environ["HTTP_IDEMPOTENCY_KEY"]}
        key = load(_HEADERS, sent, "/header")["key"]
        return _answer_once(g.actor, key, _fingerprint(said), lambda: view(**said))

    repeated.is_repeatable = True  # type: ignore[attr-defined]
    return repeated  # type: ignore[return-value]


def is_repeatable(view: Callable[..., Any]) -> bool:
    """Whether this view takes an Idempotency-Key."""
    return getattr(view, "is_repeatable", False)


def _fingerprint(said: dict[str, Any]) -> bytes:
    everything = [request.method, request.path, request.environ.get("HTTP_IF_MATCH"), said]
    written = orjson.dumps(everything, default=_written, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).digest()


def _written(value: object) -> object:
    return value.members if isinstance(value, TaskapiError) else repr(value)


def _answer_once(actor: Actor, key: str, fingerprint: bytes, view: Callable[[], Any]) -> Response:
    whose = {"owner": actor.user_id, "key": key}
    lock = hashlib.sha256(f"{actor.user_id}\n{key}".encode()).digest()[:8]
    with transaction(acting_as=actor):
        [claim] = execute(_CLAIM, {"lock": int.from_bytes(lock, signed=True)}, acting_as=actor)
        if not claim["is_ours"]:
            raise IdempotencyKeyInUse
        if found := execute(_FIND, whose, acting_as=actor):
            return _replay(found[0], fingerprint)
        response = _answer(actor, view)
        answer = {
            "fingerprint": fingerprint,
            "status": response.status_code,
            "headers": orjson.dumps(_kept_headers(response)).decode(),
            "body": response.get_data(),
        }
        execute(_STORE, {**whose, **answer}, acting_as=actor)
    return response


def _answer(actor: Actor, view: Callable[[], Any]) -> Response:
    """Let the view answer; what it refuses has no effect, and is an answer as well."""
    try:
        with transaction(acting_as=actor):
            return current_app.make_response(view())
    except (NotAuthenticated, Retryable):
        raise  # Another time it may be answered otherwise.
    except TaskapiError as refusal:
        return current_app.make_response(current_app.handle_user_exception(refusal))


def _replay(stored: Row, fingerprint: bytes) -> Response:
    if bytes(stored["fingerprint"]) != fingerprint:
        raise IdempotencyKeyReused
    response = Response(bytes(stored["body"]), stored["status"])
    del response.headers["Content-Type"]
    response.headers.update(stored["headers"])
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _kept_headers(response: Response) -> dict[str, str]:
    headers = response.headers
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}
