"""Log in, rotate refresh tokens, and list and end sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from flask import current_app
from sqlalchemy import (
    ColumnElement,
    bindparam,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import INET
from uuid_utils import uuid7

from taskapi.auth import accounts, passwords, throttle, tokens
from taskapi.auth.addresses import canonicalise_leniently
from taskapi.auth.exceptions import (
    AccountDisabled,
    CredentialsInvalid,
    RefreshTokenReused,
    RefreshTokenSuperseded,
    SessionNotFound,
)
from taskapi.auth.models import PROFILE_COLUMNS, Session, User
from taskapi.db.execute import SYSTEM, Actor, Row, execute, transaction
from taskapi.exceptions import Busy, SessionEnded
from taskapi.http.exceptions import IdempotencyKeyReused
from taskapi.http.idempotency import KeyedRequest
from taskapi.http.rate_limits import network_of
from taskapi.observability.metrics import logins

SESSION_IS_OPEN = (Session.revoked_at.is_(None), Session.expires_at > func.now())
"""The conditions for a session that has neither ended nor expired."""

MAX_SESSIONS = 100

# A concurrent login skips the locked rows, so that logins do not wait for each other.
_SURPLUS_SESSIONS = (
    select(Session.id)
    .where(Session.user_id == bindparam("owner", type_=User.id.type))
    .order_by(Session.last_used_at.desc(), Session.id.desc())
    .offset(MAX_SESSIONS)
    .with_for_update(skip_locked=True)
)
_DELETE_SURPLUS_SESSIONS = delete(Session).where(
    Session.user_id == bindparam("owner", type_=User.id.type), Session.id.in_(_SURPLUS_SESSIONS)
)

log = structlog.get_logger()


class Client(NamedTuple):
    """The client of a request: its `User-Agent`, and its IP address ("" if unknown)."""

    device: str | None
    address: str


def log_in(client: Client, keyed: KeyedRequest, email: str, password: str) -> dict[str, Any]:
    """Verify the credentials, open a session and return its token pair.

    Returns the earlier pair for a repeated idempotency key. Raises `AccountDisabled`,
    `TooManyAttempts`, `Busy` and `CredentialsInvalid`; the latter takes as long for an unknown
    e-mail address as for a wrong password (OWASP Authentication Cheat Sheet).
    """
    user = authenticate(client, email, password)
    with transaction(acting_as=SYSTEM):
        # A concurrent password change either waits for this row lock and then ends the new
        # session, or is detected here.
        is_unchanged = (User.id == user["id"], User.password_hash == user.pop("password_hash"))
        statement = select(User.disabled_at).where(*is_unchanged).with_for_update(read=True)
        found = execute(statement, acting_as=SYSTEM)
        if not found:
            raise CredentialsInvalid
        if found[0]["disabled_at"]:
            raise AccountDisabled
        if opened := keyed.find(user["id"]):
            return tokens.sign_pair(tokens.Grant(**opened))
        granted = open_session(client, user)
        keyed.keep(user["id"], granted._asdict())
    log.info("logged_in", user_id=user["id"])
    logins.labels("succeeded").inc()
    return tokens.sign_pair(granted)


def authenticate(client: Client, email: str, password: str) -> Row:
    """Return the profile and the password hash of the account with these credentials.

    Raises `CredentialsInvalid`, `TooManyAttempts`, `Busy`.
    """
    account = _load_account(client, lambda query: accounts.filter_by_address(query, email))
    stored = account.get("stored_email") or canonicalise_leniently(email)
    user = _verify_password(client, account, stored, password)
    if accounts.upgrade_address(user["id"], stored, email):
        user["email"] = email
    return user


def confirm_password(client: Client, user_id: str, password: str) -> Row:
    """Verify the password of a logged-in user; return the profile and the password hash.

    Raises `CredentialsInvalid`, `TooManyAttempts`, `Busy`.
    """
    account = _load_account(client, lambda query: query.where(User.id == user_id))
    account["is_known"] = True
    return _verify_password(client, account, account.get("stored_email") or "", password)


def _verify_password(client: Client, account: Row, stored_email: str, password: str) -> Row:
    """Return the account if the password matches; count the attempt under `stored_email`."""
    is_known = account.pop("is_known")
    counted_at = throttle.record_attempt(stored_email, client.address, is_known=is_known)
    account.pop("stored_email", None)
    old_hash = account["password_hash"]
    try:
        matches, new_hash = passwords.verify_password(password, old_hash)
    except Busy:
        throttle.discard_attempt(stored_email, client.address, counted_at)
        raise
    if not matches:
        log.warning("login_failed", user_id=account["id"])
        logins.labels("failed").inc()
        raise CredentialsInvalid
    throttle.record_success(stored_email, client.address, counted_at)
    if new_hash:
        _replace_hash(account, new_hash, password)
    return account


def _load_account(
    client: Client, restrict: Callable[[accounts.AccountQuery], accounts.AccountQuery]
) -> Row:
    """Load an account, or a placeholder, with `is_known` for an earlier client address."""
    earlier_session = select(Session.id).where(
        Session.user_id == User.id, _match_network(client.address)
    )
    statement = select(
        *PROFILE_COLUMNS,
        User.email.label("stored_email"),
        User.password_hash,
        earlier_session.exists().label("is_known"),
    )
    found = execute(restrict(statement), acting_as=SYSTEM)
    return found[0] if found else {"id": None, "password_hash": None, "is_known": False}


def _match_network(address: str) -> ColumnElement[bool]:
    """Build the condition that a session was opened from this network."""
    if not address:
        return false()
    # An IPv6 host changes its address within its /64 (RFC 8981).
    return cast(Session.address, INET).op("<<=", is_comparison=True)(
        cast(network_of(address), INET)
    )


def _replace_hash(user: Row, new_hash: str, password: str) -> None:
    """Replace an outdated hash, unless a concurrent request has replaced it."""
    is_own = User.id == user["id"]
    renewed = execute(
        update(User)
        .where(is_own, User.password_hash == user["password_hash"])
        .values(password_hash=new_hash)
        .returning(User.id),
        acting_as=SYSTEM,
    )
    if not renewed:
        [current] = execute(select(User.password_hash).where(is_own), acting_as=SYSTEM) or [{}]
        new_hash = current.get("password_hash", "")
        if not passwords.verify_password(password, new_hash)[0]:
            raise CredentialsInvalid
    user["password_hash"] = new_hash


def open_session(client: Client, user: Row) -> tokens.Grant:
    """Insert a session and return the grant of its first token pair.

    A user keeps the `MAX_SESSIONS` most recently used sessions, ended ones included.
    """
    session_id, refresh_id = str(uuid7()), str(uuid7())
    execute(
        insert(Session).values(
            id=session_id,
            user_id=user["id"],
            refresh_id=refresh_id,
            device=client.device,
            address=client.address or None,
            expires_at=_compute_session_expiry(),
        ),
        acting_as=SYSTEM,
    )
    execute(_DELETE_SURPLUS_SESSIONS, {"owner": user["id"]}, acting_as=SYSTEM)
    return tokens.make_grant(user, session_id, refresh_id)


def refresh(claims: tokens.Claims, keyed: KeyedRequest) -> dict[str, Any]:
    """Exchange a refresh token for a new pair (refresh-token rotation, RFC 9700, 4.14.2).

    Reuse of a rotated token ends its session, because the token may be stolen. A retry with the
    idempotency key of the rotation returns the same pair. Raises `SessionEnded`,
    `RefreshTokenReused`, `RefreshTokenSuperseded`, `IdempotencyKeyReused`.
    """
    with keyed.transaction(acting_as=SYSTEM):
        if done := keyed.find(claims.user_id):
            return tokens.sign_pair(_replay_rotation(claims, done["spent"], done["granted"]))
        granted = _rotate_refresh_token(claims)
        if granted:
            # Stored for 24 hours, so the keys must stay the same over releases.
            done = {"spent": claims.token_id, "granted": granted._asdict()}
            keyed.keep(claims.user_id, done)
    if granted is None:
        log.warning("refresh_token_reused", user_id=claims.user_id, session_id=claims.session_id)
        raise RefreshTokenReused
    return tokens.sign_pair(granted)


def _rotate_refresh_token(claims: tokens.Claims) -> tokens.Grant | None:
    """Rotate the refresh token, or end the session and return None if it was already used.

    A single statement decides, so that exactly one of several concurrent requests with the same
    token succeeds. Raises `SessionEnded`.
    """
    next_id = str(uuid7())
    is_current = Session.refresh_id == claims.token_id
    rows = execute(
        update(Session)
        .where(
            *(User.id == Session.user_id, Session.user_id == claims.user_id),
            *(Session.id == claims.session_id, *SESSION_IS_OPEN),
        )
        .values(
            refresh_id=case((is_current, next_id), else_=Session.refresh_id),
            revoked_at=case((is_current, null()), else_=func.now()),
            last_used_at=func.now(),
            expires_at=case((is_current, _compute_session_expiry()), else_=Session.expires_at),
        )
        .returning(*PROFILE_COLUMNS, (Session.refresh_id == next_id).label("is_rotated")),
        acting_as=SYSTEM,
    )
    if not rows:
        raise SessionEnded
    user = rows[0]
    is_rotated = user.pop("is_rotated")
    return tokens.make_grant(user, claims.session_id, next_id) if is_rotated else None


def _replay_rotation(
    claims: tokens.Claims, rotated_id: str, granted: dict[str, Any]
) -> tokens.Grant:
    """Return the grant of an earlier rotation for its old or its new refresh token.

    Raises `RefreshTokenSuperseded` if the new token has been used: the retry arrived late and its
    client no longer waits.
    """
    earlier = tokens.Grant(**granted)
    # A browser may store the new cookie after its page, which sent the request, was closed.
    if claims.token_id not in (rotated_id, earlier.refresh_id):
        raise IdempotencyKeyReused
    rows = execute(
        select(Session.refresh_id).where(Session.id == earlier.session_id, *SESSION_IS_OPEN),
        acting_as=SYSTEM,
    )
    if not rows:
        raise SessionEnded
    if rows[0]["refresh_id"] != earlier.refresh_id:
        raise RefreshTokenSuperseded
    return earlier


def list_sessions(actor: Actor) -> list[Row]:
    """Return the actor's open sessions, most recently used first."""
    return execute(
        select(
            *(Session.id, Session.device, Session.created_at, Session.last_used_at),
            (Session.id == actor.session_id).label("current"),
        )
        .where(Session.user_id == actor.user_id, *SESSION_IS_OPEN)
        .order_by(Session.last_used_at.desc(), Session.id.desc()),
        acting_as=actor,
    )


def end_session(actor: Actor, session_id: str) -> None:
    """End one of the actor's sessions. Raises `SessionNotFound`."""
    if not _revoke(actor, Session.id == session_id):
        raise SessionNotFound
    log.info("session_ended", user_id=actor.user_id, session_id=session_id)


def log_out(actor: Actor, keyed: KeyedRequest, *, everywhere: bool) -> None:
    """End the actor's session, or with `everywhere` all sessions, and revoke their tokens."""
    try:
        with keyed.transaction(acting_as=actor):
            if keyed.find(actor.user_id, acting_as=actor) is not None:
                return
            _revoke(actor, *(() if everywhere else (Session.id == actor.session_id,)))
            keyed.keep(actor.user_id, {}, acting_as=actor)
    except SessionEnded:
        # An earlier attempt of this request may have ended it.
        with keyed.transaction(acting_as=SYSTEM):
            if keyed.find(actor.user_id) is None:
                raise
        return
    log.info("logged_out", user_id=actor.user_id, everywhere=everywhere)


def _revoke(actor: Actor, *conditions: ColumnElement[bool]) -> list[Row]:
    return execute(
        update(Session)
        .where(Session.user_id == actor.user_id, *SESSION_IS_OPEN, *conditions)
        .values(revoked_at=func.now())
        .returning(Session.id),
        acting_as=actor,
    )


def _compute_session_expiry() -> ColumnElement[datetime]:
    """Return the expiry of a session used now, by the database's clock."""
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    return func.now() + lifetime
