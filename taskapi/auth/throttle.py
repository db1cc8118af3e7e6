"""Throttle failed logins and lock accounts, with counters in PostgreSQL for all workers.

Every attempt counts as a failure until its password has been verified, so concurrent attempts
cannot exceed the limits. A correct password removes its own attempt and resets the consecutive
failures of its e-mail address, but not the failures of other accounts at the same client address.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog
from flask import Flask
from limits import RateLimitItem, parse
from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from taskapi.auth.exceptions import TooManyAttempts
from taskapi.auth.models import LoginAttempts
from taskapi.db.execute import SYSTEM, execute, transaction
from taskapi.extension import Extension
from taskapi.http.rate_limits import network_of
from taskapi.observability.metrics import logins
from taskapi.settings import Settings

MAX_FAILURES_WITHOUT_WAIT = 5
"""Failures for one e-mail address from one client address before the first wait."""

FIRST_WAIT = timedelta(seconds=5)
MAX_WAIT = timedelta(minutes=15)
FAILURES_EXPIRE_AFTER = timedelta(days=1)

MAX_CONSECUTIVE_FAILURES = 100
"""Consecutive failures for an e-mail address from any client (NIST SP 800-63B, 5.2.2)."""

MAX_FAILURES_FAILED_ADDRESS = 90
"""The limit for client addresses that have failed for this e-mail address."""

MAX_FAILURES_NEW_ADDRESS = 95
"""The limit for client addresses that the owner has not logged in from."""

_NO_WAIT = timedelta(0)

log = structlog.get_logger()

_parse_time = datetime.fromisoformat

_FAILURES_PER_ADDRESS: Final[Extension[RateLimitItem]] = Extension("failures_per_address")


class Counter(NamedTuple):
    """The state of one subject's counter."""

    attempts: int
    counted_since: datetime
    last_at: datetime


class Subjects(NamedTuple):
    """The keys of an attempt's three counters, as SHA-256 digests."""

    address: bytes
    email: bytes
    pair: bytes


def init_app(app: Flask, settings: Settings) -> None:
    """Read the limit of failures from one client address over all accounts."""
    _FAILURES_PER_ADDRESS.set(app, parse(settings.login_failures_per_address))


def record_attempt(email: str, address: str, *, is_known: bool) -> datetime:
    """Count a login attempt as a failure and return its time.

    `email` is the stored form of the address, and `address` the client's IP address. `is_known` is
    true if the owner has logged in from this client address before. Raises `TooManyAttempts`
    without counting the attempt.
    """
    subjects = _digest_subjects(email, address)
    limit = _FAILURES_PER_ADDRESS.get()
    window = timedelta(seconds=limit.get_expiry())
    with transaction(acting_as=SYSTEM):
        now, counters = _lock_counters(subjects)
        wait = max(
            _compute_address_wait(counters[subjects.address], now, limit.amount, window),
            _compute_email_wait(
                counters[subjects.email],
                now,
                is_known,
                has_failed=counters[subjects.pair].attempts > 0,
            ),
            _compute_pair_wait(counters[subjects.pair], now),
        )
        if wait <= _NO_WAIT:
            _increment_counters(subjects, counters, now, window)
    # Raised after the commit, which keeps the timestamps that `_lock_counters` has corrected.
    if wait > _NO_WAIT:
        log.warning("login_throttled")
        logins.labels("throttled").inc()
        raise TooManyAttempts(math.ceil(wait.total_seconds()))
    return now


def _increment_counters(
    subjects: Subjects, counters: dict[bytes, Counter], now: datetime, window: timedelta
) -> None:
    is_expired = LoginAttempts.subject.in_(
        subject
        for subject, counter in counters.items()
        if (
            counter.counted_since + window
            if subject == subjects.address
            else _compute_expiry(counter)
        )
        <= now
    )
    execute(
        update(LoginAttempts)
        .where(LoginAttempts.subject.in_(subjects))
        .values(
            attempts=case((is_expired, 1), else_=LoginAttempts.attempts + 1),
            counted_since=case((is_expired, now), else_=LoginAttempts.counted_since),
            last_at=now,
        ),
        acting_as=SYSTEM,
    )


def record_success(email: str, address: str, counted_at: datetime) -> None:
    """Remove the attempt of a successful login and reset the consecutive failures."""
    subjects = _digest_subjects(email, address)
    is_of_address = LoginAttempts.subject == subjects.address
    _set_attempts(subjects, case((is_of_address, _decrement(counted_at)), else_=0))


def discard_attempt(email: str, address: str, counted_at: datetime) -> None:
    """Remove an attempt whose password could not be verified."""
    _set_attempts(_digest_subjects(email, address), _decrement(counted_at))


def unlock(email: str) -> None:
    """Reset the consecutive failures of an e-mail address."""
    subject = _digest_subjects(email, "").email
    execute(
        update(LoginAttempts).where(LoginAttempts.subject == subject).values(attempts=0),
        acting_as=SYSTEM,
    )


def _decrement(counted_at: datetime) -> ColumnElement[int]:
    # A counter that has restarted since then no longer includes the attempt.
    is_included = LoginAttempts.counted_since <= counted_at
    return case(
        (is_included, func.greatest(LoginAttempts.attempts - 1, 0)), else_=LoginAttempts.attempts
    )


def _set_attempts(subjects: Subjects, attempts: ColumnElement[int]) -> None:
    # Locked in the same order as in `record_attempt`, so that writers cannot deadlock.
    locked = (
        select(LoginAttempts.subject)
        .where(LoginAttempts.subject.in_(subjects))
        .order_by(LoginAttempts.subject)
        .with_for_update()
        .cte("locked")
    )
    statement = update(LoginAttempts).where(LoginAttempts.subject == locked.c.subject)
    execute(statement.values(attempts=attempts), acting_as=SYSTEM)


def _digest_subjects(email: str, address: str) -> Subjects:
    address = network_of(address)
    kinds = (f"address\n{address}", f"email\n{email}", f"both\n{address}\n{email}")
    return Subjects(*(hashlib.sha256(kind.encode()).digest() for kind in kinds))


def _lock_counters(subjects: Subjects) -> tuple[datetime, dict[bytes, Counter]]:
    new = insert(LoginAttempts).values([{"subject": subject} for subject in sorted(subjects)])
    rows = execute(
        # The upsert locks existing rows too. It moves future timestamps, left by a clock that ran
        # ahead, to the present, so that no wait exceeds its limit.
        new.on_conflict_do_update(
            index_elements=[LoginAttempts.subject],
            set_={
                "counted_since": func.least(LoginAttempts.counted_since, func.clock_timestamp()),
                "last_at": func.least(LoginAttempts.last_at, func.clock_timestamp()),
            },
        ).returning(
            *(LoginAttempts.subject, LoginAttempts.attempts),
            *(LoginAttempts.counted_since, LoginAttempts.last_at),
            func.clock_timestamp().label("now"),
        ),
        acting_as=SYSTEM,
    )
    counters = {
        bytes(row["subject"]): Counter(
            row["attempts"], _parse_time(row["counted_since"]), _parse_time(row["last_at"])
        )
        for row in rows
    }
    return max(_parse_time(row["now"]) for row in rows), counters


def _compute_address_wait(
    counter: Counter, now: datetime, allowed: int, window: timedelta
) -> timedelta:
    if counter.attempts < allowed:
        return _NO_WAIT
    return counter.counted_since + window - now


def _compute_email_wait(
    counter: Counter, now: datetime, is_known: bool, *, has_failed: bool
) -> timedelta:
    allowed = MAX_FAILURES_FAILED_ADDRESS if has_failed else MAX_FAILURES_NEW_ADDRESS
    if counter.attempts < (MAX_CONSECUTIVE_FAILURES if is_known else allowed):
        return _NO_WAIT
    return _compute_expiry(counter) - now


def _compute_expiry(counter: Counter) -> datetime:
    """Return the time at which consecutive failures expire."""
    return counter.last_at + FAILURES_EXPIRE_AFTER


def _compute_pair_wait(counter: Counter, now: datetime) -> timedelta:
    if counter.attempts < MAX_FAILURES_WITHOUT_WAIT:
        return _NO_WAIT
    doublings = min(
        counter.attempts - MAX_FAILURES_WITHOUT_WAIT, 10
    )  # MAX_WAIT is reached earlier.
    wait = min(FIRST_WAIT * 2.0**doublings, MAX_WAIT)
    return counter.last_at + wait - now
