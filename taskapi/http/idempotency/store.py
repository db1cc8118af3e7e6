"""Store the first responses to requests by idempotency key, and lock keys in use."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import USER_ID_LENGTH, Base
from taskapi.db.execute import Actor, Row, System, execute
from taskapi.http.exceptions import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    TooManyIdempotencyKeys,
)

KEY_LENGTH: Final = 255
MAX_KEYS: Final = 10_000
"""The maximum number of stored responses per user."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""The maximum total size of a user's stored responses."""

_QUOTA_CHECK_INTERVAL: Final = 16
"""One of 16 new keys is checked against the limits: counting 10,000 keys takes up to 4 ms."""


class IdempotencyKey(Base):
    """The first response to a request; `fingerprint` detects another request with the same key."""

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


_CLAIM = text("SELECT pg_try_advisory_xact_lock(:lock) AS is_ours")
# A separate statement, so that its snapshot includes the response stored before the unlock.
_FIND = text("""
    SELECT fingerprint, status, headers, body FROM idempotency_keys
     WHERE idempotency_keys.user_id = :owner AND key = :key
       AND created_at > now() - interval '1 day'
""")
_USAGE = text("""
    SELECT count(*) AS keys, coalesce(sum(octet_length(body)), 0) AS bytes FROM idempotency_keys
     WHERE idempotency_keys.user_id = :owner AND created_at > now() - interval '1 day'
""")
# Selected from the owner's row: without one, the request had no effect that could be repeated.
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


def claim(acting_as: Actor | System, owner: str, key: str, fingerprint: bytes) -> Row | None:
    """Lock the key until the end of the transaction; return the stored response or None.

    Raises `IdempotencyKeyInUse`, `IdempotencyKeyReused`, and `TooManyIdempotencyKeys` for a new key
    above the limits.
    """
    lock = hashlib.sha256(f"{owner}\n{key}".encode()).digest()[:8]
    values = {"lock": int.from_bytes(lock, signed=True)}
    [claimed] = execute(_CLAIM, values, acting_as=acting_as)
    if not claimed["is_ours"]:
        raise IdempotencyKeyInUse
    found = execute(_FIND, {"owner": owner, "key": key}, acting_as=acting_as)
    if not found:
        if lock[0] % _QUOTA_CHECK_INTERVAL == 0:
            _validate_usage(acting_as, owner)
        return None
    if bytes(found[0]["fingerprint"]) != fingerprint:
        raise IdempotencyKeyReused
    return found[0]


def _validate_usage(acting_as: Actor | System, owner: str) -> None:
    [usage] = execute(_USAGE, {"owner": owner}, acting_as=acting_as)
    if usage["keys"] >= MAX_KEYS or usage["bytes"] >= MAX_BYTES:
        raise TooManyIdempotencyKeys


def store(
    acting_as: Actor | System, owner: str, key: str, fingerprint: bytes, response: dict[str, Any]
) -> None:
    """Store a response (`status`, `headers`, `body`) in the transaction of its effect."""
    values = {"owner": owner, "key": key, "fingerprint": fingerprint, **response}
    execute(_STORE, values, acting_as=acting_as)
