"""Serve a database in one AUTH_MODE at a time, and tell whose users it has.

A row names the mode that serves, and every worker renews it. Unlike an advisory lock, it needs no
session of its own (behind a pooler that works by transactions there is none), and it runs out by
itself after a crash. Instances of one mode renew the same row, so they come and go as they like.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import psycopg2
import structlog
from flask import Flask
from sqlalchemy import CheckConstraint, DateTime, Engine, String, text, true
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db import readiness
from taskapi.db.base import Base
from taskapi.db.execute import SYSTEM, execute, invalidate_readiness
from taskapi.exceptions import Unavailable

LEASE_SECONDS: Final = 20
"""How long a mode has the database after it was renewed for the last time."""

RENEW_SECONDS: Final = 5
_POLL_SECONDS: Final = 0.5

# A clock that ran ahead and was set back prolongs no lease.
_RENEW: Final = text("""
    INSERT INTO auth_mode_lease AS lease (auth_mode, renewed_at)
    VALUES (:auth_mode, clock_timestamp())
    ON CONFLICT (id) DO UPDATE
       SET auth_mode = excluded.auth_mode,
           previous_mode = CASE lease.auth_mode WHEN excluded.auth_mode THEN lease.previous_mode
                                                ELSE lease.auth_mode END,
           renewed_at = clock_timestamp()
     WHERE lease.auth_mode = excluded.auth_mode
        OR abs(extract(epoch FROM clock_timestamp() - lease.renewed_at)) >= :lease_seconds
    RETURNING lease.auth_mode
""")
_LOOK: Final = text("""
    SELECT auth_mode, previous_mode, renewed_at::text AS renewed_at,
           abs(extract(epoch FROM clock_timestamp() - renewed_at)) < :lease_seconds AS is_live
      FROM auth_mode_lease
""")
_USERS: Final = text("""
    SELECT EXISTS (SELECT FROM users WHERE email IS NOT NULL) AS accounts,
           EXISTS (SELECT FROM users WHERE email IS NULL) AS others
""")

log = structlog.get_logger()


class AuthModeLease(Base):
    """The mode that serves the database, or did last, and the one before it; there is one row."""

    __tablename__ = "auth_mode_lease"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    auth_mode: Mapped[str] = mapped_column(String(16))
    previous_mode: Mapped[str | None] = mapped_column(String(16))
    renewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    __table_args__ = (CheckConstraint("id", name="one_row"),)


class Lease(NamedTuple):
    """Which mode has the database, when that was renewed, and whether it is still good."""

    auth_mode: str
    previous_mode: str | None
    renewed_at: str
    is_live: bool


def claim(engine: Engine, *, auth_mode: str, may_wait: bool) -> None:
    """Take the database for a mode. Raises `PermissionError` where another mode serves it.

    One that `may_wait` waits until it is known whether the other mode still serves: its lease is
    renewed, or runs out.
    """
    first: Lease | None = None
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        while not connection.execute(_RENEW, _values(auth_mode)).all():
            other = Lease(*connection.execute(_LOOK, _values(auth_mode)).one())
            if not may_wait or (first and first.renewed_at != other.renewed_at):
                raise PermissionError(describe_conflict(other.auth_mode, auth_mode))
            if first is None:
                first = other
                log.warning(
                    "auth_mode_changes",
                    detail=f"AUTH_MODE={other.auth_mode} served this database a moment ago. "
                    f"Waiting for up to {LEASE_SECONDS} seconds to see whether it still does.",
                )
            time.sleep(_POLL_SECONDS)


def claim_before_serving(app: Flask, *, may_wait: bool) -> None:
    """Have the application take the database for its mode when it is prepared."""
    mode = app.config["AUTH_MODE"]
    readiness.add_step(app, partial(claim, auth_mode=mode, may_wait=may_wait))


def keep(app: Flask) -> None:
    """Renew the lease of the application's mode for as long as this process lives."""
    claim_before_serving(app, may_wait=False)
    threading.Thread(target=_renew, args=(app,), name="auth mode lease", daemon=True).start()


def _renew(app: Flask) -> None:
    values = _values(app.config["AUTH_MODE"])
    while True:
        try:
            with app.app_context():
                if not execute(_RENEW, values, acting_as=SYSTEM):
                    # It was away for longer than the lease, and another mode has begun. What is
                    # prepared anew says so, and is refused until that mode has ended.
                    invalidate_readiness()
        except (Unavailable, psycopg2.Error) as error:
            # The database is away, or being restored. It is taken again when it is back.
            log.warning("auth_mode_lease_not_renewed", error=type(error).__name__)
        time.sleep(RENEW_SECONDS)


def look() -> Lease | None:
    """Return who has the database, or had it last; None where nobody ever had."""
    rows = execute(_LOOK, {"lease_seconds": LEASE_SECONDS}, acting_as=SYSTEM)
    return Lease(**rows[0]) if rows else None


def describe_conflict(other: str, auth_mode: str) -> str:
    """Say that another mode serves the database, and what to do."""
    return (
        f"AUTH_MODE={other} serves this database at the moment, and AUTH_MODE={auth_mode} may not "
        f"beside it: each would take the other's users for its own. Stop every instance of the one "
        f"(it has the database for {LEASE_SECONDS} seconds more), or set one AUTH_MODE for all."
    )


def describe_other_users(auth_mode: str) -> Iterator[str]:
    """Yield a sentence for each sort of users that were made in another mode."""
    [users] = execute(_USERS, acting_as=SYSTEM)
    lease = look()
    if auth_mode == "local":
        if users["others"]:
            yield (
                "This database has users of AUTH_MODE=external or path, and the settings say "
                "local: nobody can log in as them, and their tasks are out of reach."
            )
        return
    if users["accounts"]:
        names = "token" if auth_mode == "external" else "path"
        yield (
            f"This database has accounts of AUTH_MODE=local, and the settings say {auth_mode}: "
            f"nobody can log in to them, and a {names} that names an account's id has its tasks."
        )
    before = {lease.auth_mode, lease.previous_mode} - {"local", auth_mode, None} if lease else set()
    if before and users["others"]:
        yield (
            f"AUTH_MODE={before.pop()} served this database before, and the settings say "
            f"{auth_mode}: users of both that have the same id share their tasks."
        )


def _values(auth_mode: str) -> dict[str, object]:
    return {"auth_mode": auth_mode, "lease_seconds": LEASE_SECONDS}
