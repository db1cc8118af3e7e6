"""Accounts and sessions: the only place that touches their tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from flask import current_app
from sqlalchemy import case, func, null, select, update
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from taskapi.auth import passwords, tokens
from taskapi.auth.models import Session, User
from taskapi.auth.schemas import normalise_email
from taskapi.database import SYSTEM, Actor, execute, transaction
from taskapi.exceptions import CredentialsInvalid, EmailTaken, RefreshTokenReused, SessionEnded

_PROFILE = (User.id, User.email, User.name, User.created_at)

log = structlog.get_logger()


def register(email: str, password: str, name: str | None) -> dict[str, Any]:
    """Open an account and its first session. Raises `EmailTaken`."""
    password_hash = passwords.hash_password(password)
    with transaction(acting_as=SYSTEM) as connection:
        user = connection.execute(
            insert(User)
            .values(id=str(uuid7()), email=email, name=name, password_hash=password_hash)
            .on_conflict_do_nothing(index_elements=[User.email])
            .returning(*_PROFILE)
        ).one_or_none()
        if user is None:
            raise EmailTaken
        session = _new_session(user.id)
        connection.execute(insert(Session).values(session))
    log.info("user_registered", user_id=user.id)
    return _token_pair(user._asdict(), session["id"], session["refresh_id"])


def log_in(email: str, password: str) -> dict[str, Any]:
    """Open a session. Raises `CredentialsInvalid`, as late for a stranger as for a friend."""
    found = execute(
        select(*_PROFILE, User.password_hash).where(User.email == normalise_email(email)),
        acting_as=SYSTEM,
    )
    user: dict[str, Any] = found[0] if found else {"id": None, "password_hash": None}
    old_hash = user.pop("password_hash")
    matches, new_hash = passwords.verify_password(password, old_hash)
    if not matches:
        log.warning("login_failed", user_id=user["id"])
        raise CredentialsInvalid
    session = _new_session(user["id"])
    with transaction(acting_as=SYSTEM) as connection:
        connection.execute(insert(Session).values(session))
        if new_hash:
            # Unless the password has been changed meanwhile.
            connection.execute(
                update(User)
                .where(User.id == user["id"], User.password_hash == old_hash)
                .values(password_hash=new_hash)
            )
    log.info("logged_in", user_id=user["id"])
    return _token_pair(user, session["id"], session["refresh_id"])


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
            *(Session.id == UUID(claims.session_id), Session.revoked_at.is_(None)),
            Session.expires_at > func.now(),
        )
        .values(
            refresh_id=case((is_unspent, next_id), else_=Session.refresh_id),
            revoked_at=case((is_unspent, null()), else_=func.now()),
            last_used_at=func.now(),
            expires_at=case((is_unspent, _session_end()), else_=Session.expires_at),
        )
        .returning(*_PROFILE, (Session.refresh_id == next_id).label("is_renewed")),
        acting_as=SYSTEM,
    )
    if not rows:
        raise SessionEnded
    user = rows[0]
    if not user.pop("is_renewed"):
        log.warning("refresh_token_reused", user_id=claims.user_id, session_id=claims.session_id)
        raise RefreshTokenReused
    return _token_pair(user, UUID(claims.session_id), next_id)


def log_out(actor: Actor) -> None:
    """End the actor's session; its tokens are refused from now on."""
    execute(
        update(Session)
        .where(Session.user_id == actor.user_id, Session.id == UUID(actor.session_id))
        .values(revoked_at=func.now()),
        acting_as=actor,
    )
    log.info("logged_out", user_id=actor.user_id)


def get_profile(actor: Actor) -> dict[str, Any]:
    """Return the actor's own account."""
    [profile] = execute(select(*_PROFILE).where(User.id == actor.user_id), acting_as=actor)
    return profile


def _new_session(user_id: str) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "user_id": user_id,
        "refresh_id": uuid7(),
        "expires_at": _session_end(),
    }


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
