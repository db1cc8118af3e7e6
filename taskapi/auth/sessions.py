"""Sessions: each is one login, and what its tokens name."""

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
from taskapi.auth.models import PROFILE, Session, User
from taskapi.db.execute import SYSTEM, Actor, Row, execute, transaction
from taskapi.exceptions import Busy, SessionEnded
from taskapi.http.exceptions import IdempotencyKeyReused
from taskapi.http.idempotency import Keyed
from taskapi.http.rate_limits import network_of
from taskapi.observability.metrics import logins

IS_OPEN = (Session.revoked_at.is_(None), Session.expires_at > func.now())
"""What is true of a session that has not ended."""

MAX_SESSIONS = 100

# Whoever trims at the same time leaves these rows to the other, so that nobody waits.
_LONGEST_UNUSED = (
    select(Session.id)
    .where(Session.user_id == bindparam("owner", type_=User.id.type))
    .order_by(Session.last_used_at.desc(), Session.id.desc())
    .offset(MAX_SESSIONS)
    .with_for_update(skip_locked=True)
)
_TRIM_SESSIONS = delete(Session).where(
    Session.user_id == bindparam("owner", type_=User.id.type), Session.id.in_(_LONGEST_UNUSED)
)

log = structlog.get_logger()


class Client(NamedTuple):
    """What somebody calls from: how it names itself, and its address ("" if not known)."""

    device: str | None
    address: str


def log_in(client: Client, keyed: Keyed, email: str, password: str) -> dict[str, Any]:
    """Open a session.

    Raises `CredentialsInvalid`, as late for a stranger as for a friend, and `AccountDisabled`.
    """
    user = authenticate(client, email, password)
    with transaction(acting_as=SYSTEM):
        # A password that is changed at this moment either waits for the new session and
        # ends it, or is seen here.
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
    """Return the profile and the password hash of whom address and password belong to.

    Raises `CredentialsInvalid`, `TooManyAttempts`, `Busy`.
    """
    account = _look_up(client, lambda query: accounts.with_address(query, email))
    stored = account.get("stored_email") or canonicalise_leniently(email)
    user = _verify(client, account, stored, password)
    if accounts.renew_address(user["id"], stored, email):
        user["email"] = email
    return user


def confirm_password(client: Client, user_id: str, password: str) -> Row:
    """Do the same for the session of an account, whose owner need not say the address.

    Raises `CredentialsInvalid`, `TooManyAttempts`, `Busy`.
    """
    account = _look_up(client, lambda query: query.where(User.id == user_id))
    account["was_here"] = True
    return _verify(client, account, account.get("stored_email") or "", password)


def _verify(client: Client, account: Row, stored_email: str, password: str) -> Row:
    """Return the account if the password is its own; attempts are counted by `stored_email`."""
    is_known = account.pop("was_here")
    counted_at = throttle.admit(stored_email, client.address, is_known=is_known)
    account.pop("stored_email", None)
    old_hash = account["password_hash"]
    try:
        matches, new_hash = passwords.verify_password(password, old_hash)
    except Busy:
        throttle.take_back(stored_email, client.address, counted_at)
        raise
    if not matches:
        log.warning("login_failed", user_id=account["id"])
        logins.labels("failed").inc()
        raise CredentialsInvalid
    throttle.forgive(stored_email, client.address, counted_at)
    if new_hash:
        _renew_hash(account, new_hash, password)
    return account


def _look_up(client: Client, restrict: Callable[[accounts.Accounts], accounts.Accounts]) -> Row:
    """Return the account, or nobody's, and whether it was used from this address before."""
    called_from_here = select(Session.id).where(
        Session.user_id == User.id, _is_of_network(client.address)
    )
    statement = select(
        *PROFILE,
        User.email.label("stored_email"),
        User.password_hash,
        called_from_here.exists().label("was_here"),
    )
    found = execute(restrict(statement), acting_as=SYSTEM)
    return found[0] if found else {"id": None, "password_hash": None, "was_here": False}


def _is_of_network(address: str) -> ColumnElement[bool]:
    """Make the condition that a session is of what counts as this address."""
    if not address:
        return false()
    # A host of IPv6 changes its address within its /64 (RFC 8981).
    return cast(Session.address, INET).op("<<=", is_comparison=True)(
        cast(network_of(address), INET)
    )


def _renew_hash(user: Row, new_hash: str, password: str) -> None:
    """Replace a hash that is out of date, if that has not been done at this moment."""
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
    """Add a session and return what its tokens are to say.

    A user has `MAX_SESSIONS`, ended ones included; those that were used longest ago go.
    """
    session_id, refresh_id = str(uuid7()), str(uuid7())
    execute(
        insert(Session).values(
            id=session_id,
            user_id=user["id"],
            refresh_id=refresh_id,
            device=client.device,
            address=client.address or None,
            expires_at=_session_end(),
        ),
        acting_as=SYSTEM,
    )
    execute(_TRIM_SESSIONS, {"owner": user["id"]}, acting_as=SYSTEM)
    return tokens.grant(user, session_id, refresh_id)


def refresh(claims: tokens.Claims, keyed: Keyed) -> dict[str, Any]:
    """Exchange a refresh token for a new pair.

    A token that was spent before ends its session: somebody else may hold a copy. With the key
    of its exchange it comes from whoever made that, and gets the same pair. Raises
    `SessionEnded`, `RefreshTokenReused`, `RefreshTokenSuperseded`, `IdempotencyKeyReused`.
    """
    with keyed.transaction(acting_as=SYSTEM):
        if done := keyed.find(claims.user_id):
            return tokens.sign_pair(_granted_before(claims, **done))
        granted = _spend(claims)
        if granted:
            done = {"spent": claims.token_id, "granted": granted._asdict()}
            keyed.keep(claims.user_id, done)
    if granted is None:
        log.warning("refresh_token_reused", user_id=claims.user_id, session_id=claims.session_id)
        raise RefreshTokenReused
    return tokens.sign_pair(granted)


def _spend(claims: tokens.Claims) -> tokens.Grant | None:
    """Replace the refresh token, or end its session where it was spent before (None).

    One statement decides, so that of several requests with the same token exactly one
    wins. Raises `SessionEnded`.
    """
    next_id = str(uuid7())
    is_unspent = Session.refresh_id == claims.token_id
    rows = execute(
        update(Session)
        .where(
            *(User.id == Session.user_id, Session.user_id == claims.user_id),
            *(Session.id == claims.session_id, *IS_OPEN),
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
    is_renewed = user.pop("is_renewed")
    return tokens.grant(user, claims.session_id, next_id) if is_renewed else None


def _granted_before(claims: tokens.Claims, spent: str, granted: dict[str, Any]) -> tokens.Grant:
    """Return what was granted for `spent`, to whoever shows that or what they got for it.

    Where the new token is used already, the request was on its way for long, and nobody waits
    for its answer any more.
    """
    before = tokens.Grant(**granted)
    # A browser may have taken the cookie and have lost the page that had asked for it.
    if claims.token_id not in (spent, before.refresh_id):
        raise IdempotencyKeyReused
    rows = execute(
        select(Session.refresh_id).where(Session.id == before.session_id, *IS_OPEN),
        acting_as=SYSTEM,
    )
    if not rows:
        raise SessionEnded
    if rows[0]["refresh_id"] != before.refresh_id:
        raise RefreshTokenSuperseded
    return before


def list_sessions(actor: Actor) -> list[Row]:
    """Return the actor's open sessions, the last used first."""
    return execute(
        select(
            *(Session.id, Session.device, Session.created_at, Session.last_used_at),
            (Session.id == actor.session_id).label("current"),
        )
        .where(Session.user_id == actor.user_id, *IS_OPEN)
        .order_by(Session.last_used_at.desc(), Session.id.desc()),
        acting_as=actor,
    )


def end_session(actor: Actor, session_id: str) -> None:
    """End one of the actor's sessions. Raises `SessionNotFound`."""
    if not _end(actor, Session.id == session_id):
        raise SessionNotFound
    log.info("session_ended", user_id=actor.user_id, session_id=session_id)


def log_out(actor: Actor, keyed: Keyed, *, everywhere: bool) -> None:
    """End the actor's session, or all of them; their tokens are refused from now on."""
    try:
        with keyed.transaction(acting_as=actor):
            if keyed.find(actor.user_id, acting_as=actor) is not None:
                return
            _end(actor, *(() if everywhere else (Session.id == actor.session_id,)))
            keyed.keep(actor.user_id, {}, acting_as=actor)
    except SessionEnded:
        # Perhaps by this very request, whose answer was lost.
        with keyed.transaction(acting_as=SYSTEM):
            if keyed.find(actor.user_id) is None:
                raise
        return
    log.info("logged_out", user_id=actor.user_id, everywhere=everywhere)


def _end(actor: Actor, *which: ColumnElement[bool]) -> list[Row]:
    return execute(
        update(Session)
        .where(Session.user_id == actor.user_id, *IS_OPEN, *which)
        .values(revoked_at=func.now())
        .returning(Session.id),
        acting_as=actor,
    )


def _session_end() -> ColumnElement[datetime]:
    """Return the end of a session that is used now, by the clock that it is compared with."""
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    return func.now() + lifetime
