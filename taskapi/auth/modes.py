"""Hold the lease that lets a single AUTH_MODE serve a database, and describe foreign users.

A row names the serving mode, and every worker renews it. Unlike an advisory lock, the lease needs
no database session of its own (a transaction pooler has none) and expires after a crash. All
instances of a mode renew the same row, so they can start and stop independently.
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
"""The validity of the lease after its last renewal."""

RENEW_SECONDS: Final = 5
_LEASE_POLL_SECONDS: Final = 0.5

# abs() ends a lease whose timestamp lies in the future, after the clock was set back.
_RENEW_LEASE: Final = text("""
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
_READ_LEASE: Final = text("""
    SELECT auth_mode, previous_mode, renewed_at::text AS renewed_at,
           abs(extract(epoch FROM clock_timestamp() - renewed_at)) < :lease_seconds AS is_live
      FROM auth_mode_lease
""")
_FIND_USER_KINDS: Final = text("""
    SELECT EXISTS (SELECT FROM users WHERE email IS NOT NULL) AS accounts,
           EXISTS (SELECT FROM users WHERE email IS NULL) AS others
""")

log = structlog.get_logger()


class AuthModeLease(Base):
    """The single row with the mode that serves the database, or served it last."""

    __tablename__ = "auth_mode_lease"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    auth_mode: Mapped[str] = mapped_column(String(16))
    previous_mode: Mapped[str | None] = mapped_column(String(16))
    renewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    __table_args__ = (CheckConstraint("id", name="one_row"),)


class Lease(NamedTuple):
    """The lease: its mode, the time of its last renewal, and whether it is still valid."""

    auth_mode: str
    previous_mode: str | None
    renewed_at: str
    is_live: bool


def acquire_lease(engine: Engine, *, auth_mode: str, may_wait: bool) -> None:
    """Acquire or renew the lease. Raises `PermissionError` if another mode holds it.

    With `may_wait`, wait until the other mode renews its lease (then raise) or the lease expires.
    """
    first: Lease | None = None
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        while not connection.execute(_RENEW_LEASE, _make_parameters(auth_mode)).all():
            other = Lease(*connection.execute(_READ_LEASE, _make_parameters(auth_mode)).one())
            if not may_wait or (first and first.renewed_at != other.renewed_at):
                raise PermissionError(describe_conflict(other.auth_mode, auth_mode))
            if first is None:
                first = other
                log.warning(
                    "auth_mode_changes",
                    detail=f"AUTH_MODE={other.auth_mode} served this database recently. "
                    f"Waiting up to {LEASE_SECONDS} seconds for its lease to expire.",
                )
            time.sleep(_LEASE_POLL_SECONDS)


def acquire_lease_on_startup(app: Flask, *, may_wait: bool) -> None:
    """Make the application acquire the lease when it prepares the database."""
    mode = app.config["AUTH_MODE"]
    readiness.add_step(app, partial(acquire_lease, auth_mode=mode, may_wait=may_wait))


def start_renewal(app: Flask) -> None:
    """Acquire the lease of the application's mode, and renew it while this process runs."""
    acquire_lease_on_startup(app, may_wait=False)
    threading.Thread(
        target=_renew_forever, args=(app,), name="auth mode lease", daemon=True
    ).start()


def _renew_forever(app: Flask) -> None:
    values = _make_parameters(app.config["AUTH_MODE"])
    while True:
        try:
            with app.app_context():
                if not execute(_RENEW_LEASE, values, acting_as=SYSTEM):
                    # The lease expired and another mode acquired it. Preparing the database again
                    # reports this, and fails until the other mode has ended.
                    invalidate_readiness()
        except (Unavailable, psycopg2.Error) as error:
            # The database is unavailable or being restored; the next renewal tries again.
            log.warning("auth_mode_lease_not_renewed", error=type(error).__name__)
        time.sleep(RENEW_SECONDS)


def read_lease() -> Lease | None:
    """Return the current or last lease, or None if no mode has ever served the database."""
    rows = execute(_READ_LEASE, {"lease_seconds": LEASE_SECONDS}, acting_as=SYSTEM)
    return Lease(**rows[0]) if rows else None


def describe_conflict(other: str, auth_mode: str) -> str:
    """Describe the conflict with the serving mode, and its remedy."""
    return (
        f"AUTH_MODE={other} currently serves this database, so AUTH_MODE={auth_mode} cannot: each "
        f"mode would mistake the other's users for its own. Stop every instance with "
        f"AUTH_MODE={other} (its lease expires {LEASE_SECONDS} seconds later), or set the same "
        f"AUTH_MODE for all instances."
    )


def describe_other_users(auth_mode: str) -> Iterator[str]:
    """Yield a sentence for each kind of user that another mode has created."""
    [users] = execute(_FIND_USER_KINDS, acting_as=SYSTEM)
    lease = read_lease()
    if auth_mode == "local":
        if users["others"]:
            yield (
                "This database has users of AUTH_MODE=external or path, but the settings say "
                "local: these users cannot log in, and their tasks are inaccessible."
            )
        return
    if users["accounts"]:
        source = "token" if auth_mode == "external" else "path"
        yield (
            f"This database has accounts of AUTH_MODE=local, but the settings say {auth_mode}: "
            f"these accounts cannot log in, and a {source} with an account's id accesses its tasks."
        )
    earlier = (
        {lease.auth_mode, lease.previous_mode} - {"local", auth_mode, None} if lease else set()
    )
    if earlier and users["others"]:
        yield (
            f"AUTH_MODE={earlier.pop()} served this database before, but the settings say "
            f"{auth_mode}: users of both modes with the same id share their tasks."
        )


def _make_parameters(auth_mode: str) -> dict[str, object]:
    return {"auth_mode": auth_mode, "lease_seconds": LEASE_SECONDS}
