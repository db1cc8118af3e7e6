"""What an operator does with accounts and sessions, whoever they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, delete, func, select, update

from taskapi.auth import accounts, deletion
from taskapi.auth.exceptions import UserNotFound
from taskapi.auth.models import PROFILE, LoginAttempts, Session, User
from taskapi.auth.sessions import SESSION_IS_OPEN
from taskapi.db.execute import SYSTEM, Row, execute, transaction

_PAGE = 500  # accounts read at a time

log = structlog.get_logger()


def list_accounts() -> Iterator[Row]:
    """Read all accounts in the order of their ids, with their open sessions counted."""
    sessions = (
        select(func.count()).where(Session.user_id == User.id, *SESSION_IS_OPEN).scalar_subquery()
    )
    last = ""
    while True:
        page = execute(
            select(
                *(*PROFILE, User.disabled_at),
                sessions.label("sessions"),
            )
            .where(User.id > last, ~and_(*deletion.ACCOUNT_IS_CLOSED))
            .order_by(User.id)
            .limit(_PAGE),
            acting_as=SYSTEM,
        )
        if not page:
            return
        yield from page
        last = page[-1]["id"]


def find_account(email: str) -> Row:
    """Return the id and the stored address of an account. Raises `UserNotFound`."""
    account = accounts.find_account(email)
    if account is None:
        raise UserNotFound
    return account


def disable_account(email: str) -> None:
    """Close an account: its sessions end, and it opens no new ones. Raises `UserNotFound`."""
    with transaction(acting_as=SYSTEM):
        user_id = _set(email, disabled_at=func.coalesce(User.disabled_at, func.now()))
        _end(Session.user_id == user_id)
    log.warning("account_disabled", user_id=user_id)


def enable_account(email: str) -> None:
    """Open an account again. Raises `UserNotFound`."""
    log.warning("account_enabled", user_id=_set(email, disabled_at=None))


def list_sessions(email: str) -> list[Row]:
    """Return the open sessions of an account, the last used first. Raises `UserNotFound`."""
    user_id = find_account(email)["id"]
    return execute(
        select(
            Session.id, Session.device, Session.address, Session.created_at, Session.last_used_at
        )
        .where(Session.user_id == user_id, *SESSION_IS_OPEN)
        .order_by(Session.last_used_at.desc(), Session.id.desc()),
        acting_as=SYSTEM,
    )


def end_sessions(*, email: str | None = None, session_id: str | None = None) -> int:
    """End the sessions of an account, one session, or all there are; return how many.

    Raises `UserNotFound`.
    """
    which: list[ColumnElement[bool]] = []
    if email is not None:
        which.append(Session.user_id == find_account(email)["id"])
    if session_id is not None:
        which.append(Session.id == session_id)
    ended = _end(*which)
    log.warning("sessions_ended", sessions=ended)
    return ended


def forget_ended_sessions(days: int, count: int) -> int:
    """Delete up to `count` sessions that ended so many days ago; return how many there were."""
    ended_at = func.least(func.coalesce(Session.revoked_at, Session.expires_at), Session.expires_at)
    return _forget(Session, Session.id, ended_at < func.now() - _days(days), count)


def forget_attempts(days: int, count: int) -> int:
    """Delete up to `count` counts of attempts to log in that are so many days old."""
    is_old = LoginAttempts.last_at < func.now() - _days(days)
    return _forget(LoginAttempts, LoginAttempts.subject, is_old, count)


def _forget(table: Any, key: Any, is_old: ColumnElement[bool], count: int) -> int:
    # What somebody else has locked is left for the next time.
    old = select(key).where(is_old).limit(count).with_for_update(skip_locked=True)
    return len(execute(delete(table).where(key.in_(old)).returning(key), acting_as=SYSTEM))


def _set(email: str, **values: Any) -> str:
    statement = update(User).where(User.id == find_account(email)["id"]).values(**values)
    changed = execute(statement.returning(User.id), acting_as=SYSTEM)
    if not changed:
        raise UserNotFound
    return str(changed[0]["id"])


def _end(*which: ColumnElement[bool]) -> int:
    statement = update(Session).where(*SESSION_IS_OPEN, *which).values(revoked_at=func.now())
    return len(execute(statement.returning(Session.id), acting_as=SYSTEM))


def _days(number: int) -> ColumnElement[Any]:
    return func.make_interval(0, 0, 0, number)
