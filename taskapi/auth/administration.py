"""Manage accounts and sessions as an operator, for the `flask users` commands and the purge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, delete, func, select, update

from taskapi.auth import accounts, deletion
from taskapi.auth.exceptions import UserNotFound
from taskapi.auth.models import PROFILE_COLUMNS, LoginAttempts, Session, User
from taskapi.auth.sessions import SESSION_IS_OPEN
from taskapi.db.execute import SYSTEM, Row, execute, transaction

_PAGE_ROWS = 500

log = structlog.get_logger()


def list_accounts() -> Iterator[Row]:
    """Yield all accounts in the order of their ids, with the number of their open sessions."""
    sessions = (
        select(func.count()).where(Session.user_id == User.id, *SESSION_IS_OPEN).scalar_subquery()
    )
    last_id = ""
    while True:
        page = execute(
            select(
                *(*PROFILE_COLUMNS, User.disabled_at),
                sessions.label("sessions"),
            )
            .where(User.id > last_id, ~and_(*deletion.ACCOUNT_IS_CLOSED))
            .order_by(User.id)
            .limit(_PAGE_ROWS),
            acting_as=SYSTEM,
        )
        if not page:
            return
        yield from page
        last_id = page[-1]["id"]


def find_account(email: str) -> Row:
    """Return the id and the stored address of an account. Raises `UserNotFound`."""
    account = accounts.find_account(email)
    if account is None:
        raise UserNotFound
    return account


def disable_account(email: str) -> None:
    """Disable an account and end its sessions. Raises `UserNotFound`."""
    with transaction(acting_as=SYSTEM):
        user_id = _update_account(email, disabled_at=func.coalesce(User.disabled_at, func.now()))
        _revoke_sessions(Session.user_id == user_id)
    log.warning("account_disabled", user_id=user_id)


def enable_account(email: str) -> None:
    """Enable a disabled account. Raises `UserNotFound`."""
    log.warning("account_enabled", user_id=_update_account(email, disabled_at=None))


def list_sessions(email: str) -> list[Row]:
    """Return the open sessions of an account, most recently used first. Raises `UserNotFound`."""
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
    """End sessions and return their number: of an account, a single one, or all without a filter.

    Raises `UserNotFound`.
    """
    conditions: list[ColumnElement[bool]] = []
    if email is not None:
        conditions.append(Session.user_id == find_account(email)["id"])
    if session_id is not None:
        conditions.append(Session.id == session_id)
    ended = _revoke_sessions(*conditions)
    log.warning("sessions_ended", sessions=ended)
    return ended


def purge_ended_sessions(days: int, count: int) -> int:
    """Delete up to `count` sessions that ended at least `days` ago; return the number deleted."""
    ended_at = func.least(func.coalesce(Session.revoked_at, Session.expires_at), Session.expires_at)
    return _purge_rows(Session, Session.id, ended_at < func.now() - _make_interval(days), count)


def purge_login_attempts(days: int, count: int) -> int:
    """Delete up to `count` login counters unused for `days`; return the number deleted."""
    is_old = LoginAttempts.last_at < func.now() - _make_interval(days)
    return _purge_rows(LoginAttempts, LoginAttempts.subject, is_old, count)


def _purge_rows(table: Any, key: Any, is_old: ColumnElement[bool], count: int) -> int:
    # Locked rows are skipped; the next purge deletes them.
    old = select(key).where(is_old).limit(count).with_for_update(skip_locked=True)
    return len(execute(delete(table).where(key.in_(old)).returning(key), acting_as=SYSTEM))


def _update_account(email: str, **values: Any) -> str:
    statement = update(User).where(User.id == find_account(email)["id"]).values(**values)
    changed = execute(statement.returning(User.id), acting_as=SYSTEM)
    if not changed:
        raise UserNotFound
    return str(changed[0]["id"])


def _revoke_sessions(*conditions: ColumnElement[bool]) -> int:
    statement = update(Session).where(*SESSION_IS_OPEN, *conditions).values(revoked_at=func.now())
    return len(execute(statement.returning(Session.id), acting_as=SYSTEM))


def _make_interval(days: int) -> ColumnElement[Any]:
    return func.make_interval(0, 0, 0, days)
