"""How often somebody may try to log in: counted in PostgreSQL, for all workers together.

An attempt is counted before the password is looked at, so that a hundred at the same time
are no way around; the right password ends the row of failures.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import case, func, update
from sqlalchemy.dialects.postgresql import insert

from taskapi.auth.models import LoginAttempts
from taskapi.database import SYSTEM, execute, transaction
from taskapi.exceptions import TooManyAttempts
from taskapi.metrics import logins
from taskapi.rate_limits import network_of

FREE_FAILURES = 5
"""Failures of an e-mail address from one client address, after which the next one waits."""

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)

ATTEMPTS_A_MINUTE = 30
"""Attempts from one client address, whatever the e-mail address."""

FAILURES_IN_A_ROW = 100
"""Failures of an e-mail address, wherever they come from (NIST SP 800-63B, 5.2.2)."""

FAILURES_OF_ANYBODY = 90
"""So many of them before only client addresses that did not fail may go on."""

FAILURES_OF_STRANGERS = 95
"""So many of them before only client addresses may that the owner has logged in from."""

_MINUTE = timedelta(minutes=1)
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


def admit(email: str, address: str, *, is_known: bool) -> None:
    """Count an attempt to log in.

    `is_known` says that the account's owner has logged in from this address before. Raises
    `TooManyAttempts`, and then counts nothing.
    """
    subjects = _subjects(email, address)
    with transaction(acting_as=SYSTEM):
        now, counts = _lock(subjects)
        wait = max(
            _wait_of_address(counts[subjects.address], now),
            _wait_of_email(
                counts[subjects.email], now, is_known, has_failed=counts[subjects.both].attempts > 0
            ),
            _wait_of_both(counts[subjects.both], now),
        )
        if wait > _NO_WAIT:
            log.warning("login_throttled")
            logins.labels("throttled").inc()
            raise TooManyAttempts(math.ceil(wait.total_seconds()))
        begins_anew = LoginAttempts.subject.in_(
            subject
            for subject, count in counts.items()
            if (count.counted_since + _MINUTE if subject == subjects.address else _end(count))
            <= now
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


def forgive(email: str, address: str) -> None:
    """Forget the failures of an e-mail address in a row, and those from this address."""
    subjects = _subjects(email, address)
    _reset(subjects.email)
    _reset(subjects.both)


def take_back(email: str, address: str) -> None:
    """Uncount an attempt that could not be decided."""
    for subject in _subjects(email, address):
        statement = update(LoginAttempts).where(LoginAttempts.subject == subject)
        fewer = func.greatest(LoginAttempts.attempts - 1, 0)
        execute(statement.values(attempts=fewer), acting_as=SYSTEM)


def unlock(email: str) -> None:
    """Forget the failures of an e-mail address in a row, wherever they came from."""
    _reset(_subjects(email, "").email)


def _reset(subject: bytes) -> None:
    # One row in a statement: two could wait in a circle with `admit`, which locks in order.
    execute(
        update(LoginAttempts).where(LoginAttempts.subject == subject).values(attempts=0),
        acting_as=SYSTEM,
    )


def _subjects(email: str, address: str) -> Subjects:
    address = network_of(address)
    kinds = (f"address\n{address}", f"email\n{email}", f"both\n{address}\n{email}")
    return Subjects(*(hashlib.sha256(kind.encode()).digest() for kind in kinds))


def _lock(subjects: Subjects) -> tuple[datetime, dict[bytes, Count]]:
    new = insert(LoginAttempts).values([{"subject": subject} for subject in sorted(subjects)])
    rows = execute(
        # Nothing is changed; but an update locks the row, and returns it.
        new.on_conflict_do_update(
            index_elements=[LoginAttempts.subject], set_={"subject": new.excluded.subject}
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


def _wait_of_address(count: Count, now: datetime) -> timedelta:
    if count.attempts < ATTEMPTS_A_MINUTE:
        return _NO_WAIT
    return count.counted_since + _MINUTE - now


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
