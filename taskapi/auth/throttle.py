"""Limit failures to log in: counted in PostgreSQL, for all workers together.

An attempt counts as a failure until its password has been verified, so that a hundred at the same
time are no way around. The right password uncounts its own attempt and ends the row of failures of
its e-mail address, but not the failures of others behind the same client address.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from flask import Flask, current_app
from limits import RateLimitItem, parse
from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from taskapi.auth.exceptions import TooManyAttempts
from taskapi.auth.models import LoginAttempts
from taskapi.db.execute import SYSTEM, execute, transaction
from taskapi.http.rate_limits import network_of
from taskapi.observability.metrics import logins
from taskapi.settings import Settings

FREE_FAILURES = 5
"""Failures of an e-mail address from one client address, after which the next one waits."""

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)

FAILURES_IN_A_ROW = 100
"""Failures of an e-mail address, wherever they come from (NIST SP 800-63B, 5.2.2)."""

FAILURES_OF_ANYBODY = 90
"""So many of them before only client addresses that did not fail may go on."""

FAILURES_OF_STRANGERS = 95
"""So many of them before only client addresses may that the owner has logged in from."""

_FAILURES_PER_ADDRESS = "taskapi.login_failures_per_address"
_NO_WAIT = timedelta(0)

log = structlog.get_logger()

_read = datetime.fromisoformat


class Count(NamedTuple):
    """The attempts that were counted under one subject."""

    attempts: int
    counted_since: datetime
    last_at: datetime


class Subjects(NamedTuple):
    """What attempts are counted by, as digests."""

    address: bytes
    email: bytes
    both: bytes


def init_app(app: Flask, settings: Settings) -> None:
    """Remember how many failures one client address may have, whatever the e-mail address."""
    app.extensions[_FAILURES_PER_ADDRESS] = parse(settings.login_failures_per_address)


def admit(email: str, address: str, *, is_known: bool) -> datetime:
    """Count an attempt to log in as a failure, and return when that was.

    `is_known` says that the account's owner has logged in from this address before. Raises
    `TooManyAttempts`, and then counts nothing.
    """
    subjects = _subjects(email, address)
    limit: RateLimitItem = current_app.extensions[_FAILURES_PER_ADDRESS]
    window = timedelta(seconds=limit.get_expiry())
    with transaction(acting_as=SYSTEM):
        now, counts = _lock(subjects)
        wait = max(
            _wait_of_address(counts[subjects.address], now, limit.amount, window),
            _wait_of_email(
                counts[subjects.email], now, is_known, has_failed=counts[subjects.both].attempts > 0
            ),
            _wait_of_both(counts[subjects.both], now),
        )
        if wait <= _NO_WAIT:
            _count(subjects, counts, now, window)
    # After the commit: what `_lock` mended stays mended.
    if wait > _NO_WAIT:
        log.warning("login_throttled")
        logins.labels("throttled").inc()
        raise TooManyAttempts(math.ceil(wait.total_seconds()))
    return now


def _count(
    subjects: Subjects, counts: dict[bytes, Count], now: datetime, window: timedelta
) -> None:
    begins_anew = LoginAttempts.subject.in_(
        subject
        for subject, count in counts.items()
        if (count.counted_since + window if subject == subjects.address else _end(count)) <= now
    )
    execute(
        update(LoginAttempts)
        .where(LoginAttempts.subject.in_(subjects))
        .values(
            attempts=case((begins_anew, 1), else_=LoginAttempts.attempts + 1),
            counted_since=case((begins_anew, now), else_=LoginAttempts.counted_since),
            last_at=now,
        ),
        acting_as=SYSTEM,
    )


def forgive(email: str, address: str, counted_at: datetime) -> None:
    """Uncount an attempt with the right password, and end the row of failures before it."""
    subjects = _subjects(email, address)
    is_of_address = LoginAttempts.subject == subjects.address
    _uncount(subjects, case((is_of_address, _one_less(counted_at)), else_=0))


def take_back(email: str, address: str, counted_at: datetime) -> None:
    """Uncount an attempt that could not be decided."""
    _uncount(_subjects(email, address), _one_less(counted_at))


def unlock(email: str) -> None:
    """Forget the failures of an e-mail address in a row, wherever they came from."""
    subject = _subjects(email, "").email
    execute(
        update(LoginAttempts).where(LoginAttempts.subject == subject).values(attempts=0),
        acting_as=SYSTEM,
    )


def _one_less(counted_at: datetime) -> ColumnElement[int]:
    # A count that has begun anew since does not hold the attempt any more.
    is_held = LoginAttempts.counted_since <= counted_at
    return case(
        (is_held, func.greatest(LoginAttempts.attempts - 1, 0)), else_=LoginAttempts.attempts
    )


def _uncount(subjects: Subjects, attempts: ColumnElement[int]) -> None:
    # Locked in the order in which `admit` locks them: writers cannot deadlock.
    locked = (
        select(LoginAttempts.subject)
        .where(LoginAttempts.subject.in_(subjects))
        .order_by(LoginAttempts.subject)
        .with_for_update()
        .cte("locked")
    )
    statement = update(LoginAttempts).where(LoginAttempts.subject == locked.c.subject)
    execute(statement.values(attempts=attempts), acting_as=SYSTEM)


def _subjects(email: str, address: str) -> Subjects:
    address = network_of(address)
    kinds = (f"address\n{address}", f"email\n{email}", f"both\n{address}\n{email}")
    return Subjects(*(hashlib.sha256(kind.encode()).digest() for kind in kinds))


def _lock(subjects: Subjects) -> tuple[datetime, dict[bytes, Count]]:
    new = insert(LoginAttempts).values([{"subject": subject} for subject in sorted(subjects)])
    rows = execute(
        # An update locks the row, and returns it. What a clock that ran ahead has dated later than
        # now is dated now: no wait is longer than its rule.
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
    counts = {
        bytes(row["subject"]): Count(
            row["attempts"], _read(row["counted_since"]), _read(row["last_at"])
        )
        for row in rows
    }
    return max(_read(row["now"]) for row in rows), counts


def _wait_of_address(count: Count, now: datetime, allowed: int, window: timedelta) -> timedelta:
    if count.attempts < allowed:
        return _NO_WAIT
    return count.counted_since + window - now


def _wait_of_email(count: Count, now: datetime, is_known: bool, *, has_failed: bool) -> timedelta:
    allowed = FAILURES_OF_ANYBODY if has_failed else FAILURES_OF_STRANGERS
    if count.attempts < (FAILURES_IN_A_ROW if is_known else allowed):
        return _NO_WAIT
    return _end(count) - now


def _end(count: Count) -> datetime:
    """When a row of failures ends by itself."""
    return count.last_at + FORGOTTEN_AFTER


def _wait_of_both(count: Count, now: datetime) -> timedelta:
    if count.attempts < FREE_FAILURES:
        return _NO_WAIT
    doublings = min(count.attempts - FREE_FAILURES, 10)  # The longest wait is reached before.
    wait = min(FIRST_WAIT * 2.0**doublings, LONGEST_WAIT)
    return count.last_at + wait - now
