"""Sessions: each is one login, and what its tokens name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from flask import current_app
from sqlalchemy import ColumnElement, Connection, case, func, insert, null, select, update
from uuid_utils.compat import uuid7

from taskapi.auth import passwords, throttle, tokens
from taskapi.auth.models import PROFILE, Session, User
from taskapi.auth.schemas import normalise_email
from taskapi.database import SYSTEM, Actor, execute, transaction
from taskapi.exceptions import (
    CredentialsInvalid,
    RefreshTokenReused,
    SessionEnded,
    SessionNotFound,
)

_IS_OPEN = (Session.revoked_at.is_(None), Session.expires_at > func.now())

log = structlog.get_logger()


class Client(NamedTuple):
    """What somebody calls from: how it names itself, and its address ("" if not known)."""

    device: str | None
    address: str


def log_in(client: Client, email: str, password: str) -> dict[str, Any]:
    """Open a session. Raises `CredentialsInvalid`, as late for a stranger as for a friend."""
    user = authenticate(client, email, password)
    with transaction(acting_as=SYSTEM) as connection:
        # A password that is changed at this moment either waits for the new session and
        # ends it, or is seen here.
        is_current = (User.id == user["id"], User.password_hash == user.pop("password_hash"))
        if not connection.execute(
            select(User.id).where(*is_current).with_for_update(read=True)
        ).all():
            raise CredentialsInvalid
        answer = open_session(connection, client, user)
    log.info("logged_in", user_id=user["id"])
    return answer


def authenticate(client: Client, email: str, password: str) -> dict[str, Any]:
    """Return the profile and the password hash of whom address and password belong to.

    Raises `CredentialsInvalid`, `TooManyAttempts`.
    """
    email = normalise_email(email)
    called_from_here = select(Session.id).where(
        Session.user_id == User.id, Session.address == client.address
    )
    found = execute(
        select(*PROFILE, User.password_hash, called_from_here.exists().label("is_known")).where(
            User.email == email
        ),
        acting_as=SYSTEM,
    )
    stranger: dict[str, Any] = {"id": None, "password_hash": None, "is_known": False}
    user = found[0] if found else stranger
    throttle.admit(email, client.address, is_known=user.pop("is_known"))
    old_hash = user["password_hash"]
    matches, new_hash = passwords.verify_password(password, old_hash)
    if not matches:
        log.warning("login_failed", user_id=user["id"])
        raise CredentialsInvalid
    throttle.forgive(email, client.address)
    if new_hash:
        user["password_hash"] = new_hash
        execute(
            # Unless the password has been changed meanwhile.
            update(User)
            .where(User.id == user["id"], User.password_hash == old_hash)
            .values(password_hash=new_hash),
            acting_as=SYSTEM,
        )
    return user


def open_session(connection: Connection, client: Client, user: dict[str, Any]) -> dict[str, Any]:
    """Add a session and return its tokens with the user's profile."""
    session_id, refresh_id = uuid7(), uuid7()
    connection.execute(
        insert(Session).values(
            id=session_id,
            user_id=user["id"],
            refresh_id=refresh_id,
            device=client.device,
            address=client.address or None,
            expires_at=_session_end(),
        )
    )
    return _token_pair(user, session_id, refresh_id)


def refresh(claims: tokens.Claims) -> dict[str, Any]:
    """Exchange a refresh token for a new pair.

    One statement decides, so that of several requests with the same token exactly one
    wins. A token that was spent before ends its session: somebody else may hold a copy.
    Raises `SessionEnded`, `RefreshTokenReused`.
    """
    next_id = uuid7()
    is_unspent = Session.refresh_id == UUID(claims.token_id)
    rows = execute(
        update(Session)
        .where(
            *(User.id == Session.user_id, Session.user_id == claims.user_id),
            *(Session.id == UUID(claims.session_id), *_IS_OPEN),
        )
        .values(
            refresh_id=case((is_unspent, next_id), else_=Session.refresh_id),
            revoked_at=case((is_unspent, null()), else_=func.now()),
            last_used_at=func.now(),
            expires_at=case((is_unspent, _session_end()), else_=Session.expires_at),
        )
        .returning(*PROFILE, (Session.refresh_id == next_id).label("is_renewed")),
        acting_as=SYSTEM,
    )
    if not rows:
        raise SessionEnded
    user = rows[0]
    if not user.pop("is_renewed"):
        log.warning("refresh_token_reused", user_id=claims.user_id, session_id=claims.session_id)
        raise RefreshTokenReused
    return _token_pair(user, UUID(claims.session_id), next_id)


def list_sessions(actor: Actor) -> list[dict[str, Any]]:
    """Return the actor's open sessions, the last used first."""
    return execute(
        select(
            *(Session.id, Session.device, Session.created_at, Session.last_used_at),
            (Session.id == _id_of(actor)).label("current"),
        )
        .where(Session.user_id == actor.user_id, *_IS_OPEN)
        .order_by(Session.last_used_at.desc(), Session.id.desc()),
        acting_as=actor,
    )


def end_session(actor: Actor, session_id: UUID) -> None:
    """End one of the actor's sessions. Raises `SessionNotFound`."""
    if not _end(actor, Session.id == session_id):
        raise SessionNotFound
    log.info("session_ended", user_id=actor.user_id, session_id=session_id)


def log_out(actor: Actor, *, everywhere: bool) -> None:
    """End the actor's session, or all of them; their tokens are refused from now on."""
    _end(actor, *(() if everywhere else (Session.id == _id_of(actor),)))
    log.info("logged_out", user_id=actor.user_id, everywhere=everywhere)


def _end(actor: Actor, *which: ColumnElement[bool]) -> list[dict[str, Any]]:
    return execute(
        update(Session)
        .where(Session.user_id == actor.user_id, *_IS_OPEN, *which)
        .values(revoked_at=func.now())
        .returning(Session.id),
        acting_as=actor,
    )


def _id_of(actor: Actor) -> UUID:
    return UUID(actor.session_id)


def _session_end() -> datetime:
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    return datetime.now(UTC) + lifetime


def _token_pair(user: dict[str, Any], session_id: UUID, refresh_id: UUID) -> dict[str, Any]:
    lifetime: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return {
        "access_token": tokens.issue_access_token(user["id"], session_id),
        "refresh_token": tokens.issue_refresh_token(user["id"], session_id, refresh_id),
        "token_type": "Bearer",
        "expires_in": int(lifetime.total_seconds()),
        "user": user,
    }
