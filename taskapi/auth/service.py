"""Accounts: opened, changed, deleted, and brought from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from psycopg2.errors import UniqueViolation
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from taskapi.auth import accounts, addresses, deletion, passwords, tokens
from taskapi.auth.exceptions import CredentialsInvalid, EmailTaken, PasswordWrong
from taskapi.auth.models import PROFILE, Session, User
from taskapi.auth.sessions import (
    SESSION_IS_OPEN,
    Client,
    authenticate,
    confirm_password,
    open_session,
)
from taskapi.db.execute import SYSTEM, Actor, Row, execute, transaction
from taskapi.exceptions import FieldError, SessionEnded, Unavailable, ValidationFailed
from taskapi.http.exceptions import IdempotencyKeyInUse, IdempotencyKeyReused
from taskapi.http.idempotency import Keyed

_TOO_COMMON = (
    "This is guessed too quickly: it is a common one, repeats itself, or is made of your name or "
    "address; choose a longer one, such as three words that do not belong together."
)

log = structlog.get_logger()


def register(
    client: Client, keyed: Keyed, email: str, password: str, name: str | None
) -> dict[str, Any]:
    """Open an account and its first session. Raises `EmailTaken`, `ValidationFailed`."""
    _require_unguessable("/password", password, email, name)
    password_hash = passwords.hash_password(password)
    try:
        with transaction(acting_as=SYSTEM):
            user = _add_account(email, password_hash, name)
            granted = open_session(client, user)
            keyed.keep(user["id"], granted._asdict())
    except EmailTaken:
        # Perhaps by this very request, whose answer was lost.
        opened = _find_registration(client, keyed, email, password)
        if opened is None:
            raise
        return tokens.sign_pair(opened)
    log.info("user_registered", user_id=user["id"])
    return tokens.sign_pair(granted)


def _find_registration(
    client: Client, keyed: Keyed, email: str, password: str
) -> tokens.Grant | None:
    """Find what registering granted before, for whom the password shows to be the same."""
    owner = accounts.find_account(email)
    with keyed.transaction(acting_as=SYSTEM):
        opened = keyed.find(owner["id"]) if owner else None
    if opened is None:
        return None
    try:
        authenticate(client, email, password)
    except CredentialsInvalid:
        raise IdempotencyKeyReused from None
    return tokens.Grant(**opened)


def create_account(email: str, password: str, name: str | None) -> Row:
    """Open an account without a session. Raises `EmailTaken`, `ValidationFailed`."""
    _require_unguessable("/password", password, email, name)
    user = _add_account(email, passwords.hash_password(password), name)
    log.info("user_created", user_id=user["id"])
    return user


def _add_account(email: str, password_hash: str, name: str | None) -> Row:
    if accounts.find_older_accounts([email]):
        raise EmailTaken
    address = addresses.stored_values(email)
    added = execute(
        insert(User)
        .values(id=str(uuid7()), **address, name=name, password_hash=password_hash)
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(*PROFILE),
        acting_as=SYSTEM,
    )
    if not added:
        raise EmailTaken
    return added[0]


def get_profile(actor: Actor) -> Row:
    """Return the actor's own account."""
    found = execute(select(*PROFILE).where(User.id == actor.user_id), acting_as=actor)
    if not found:
        raise SessionEnded
    return found[0]


def change_profile(
    actor: Actor, client: Client, changes: dict[str, Any], password: str | None
) -> Row:
    """Change name and e-mail address; the latter needs the password.

    Raises `EmailTaken`, `PasswordWrong`, `TooManyAttempts`.
    """
    if not changes:
        return get_profile(actor)
    fields = sorted(changes)
    mine = _confirm(actor, client, password or "") if "email" in changes else _mine(actor)
    if "email" in changes:
        older = accounts.find_older_accounts([changes["email"]])
        if any(account["id"] != actor.user_id for account in older):
            raise EmailTaken
        changes |= addresses.stored_values(changes["email"])
    try:
        changed = execute(
            update(User).where(*mine).values(**changes).returning(*PROFILE), acting_as=SYSTEM
        )
    except UniqueViolation:
        raise EmailTaken from None
    if not changed:
        raise SessionEnded
    log.info("profile_changed", user_id=actor.user_id, fields=fields)
    return changed[0]


def change_password(
    actor: Actor, client: Client, keyed: Keyed, current_password: str, new_password: str
) -> None:
    """Replace the password and end every other session.

    Raises `PasswordWrong`, `TooManyAttempts`, `IdempotencyKeyInUse`, `IdempotencyKeyReused`,
    `ValidationFailed`.
    """
    with keyed.transaction(acting_as=SYSTEM):
        is_done = keyed.find(actor.user_id) is not None
    if is_done:
        # The same request, if it asks for the password that there is since then.
        try:
            _confirm(actor, client, new_password)
        except PasswordWrong:
            raise IdempotencyKeyReused from None
        return
    profile = get_profile(actor)
    _require_unguessable("/new_password", new_password, profile["email"], profile["name"])
    mine = _confirm(actor, client, current_password)
    password_hash = passwords.hash_password(new_password)
    with transaction(acting_as=SYSTEM):
        if keyed.find(actor.user_id) is not None:
            raise IdempotencyKeyInUse  # Done at this very moment; by which password, is asked anew.
        statement = update(User).where(*mine).values(password_hash=password_hash)
        if not execute(statement.returning(User.id), acting_as=SYSTEM):
            raise SessionEnded
        execute(
            update(Session)
            .where(
                *(Session.user_id == actor.user_id, Session.id != actor.session_id),
                Session.revoked_at.is_(None),
            )
            .values(revoked_at=func.now()),
            acting_as=SYSTEM,
        )
        keyed.keep(actor.user_id, {})
    log.info("password_changed", user_id=actor.user_id)


def delete_account(actor: Actor, client: Client, password: str) -> None:
    """Delete the account with all its tasks and sessions, for good.

    Where there is too much to delete within a request, `flask purge` finishes it. Raises
    `PasswordWrong`, `TooManyAttempts`.
    """
    mine = _confirm(actor, client, password)
    if not deletion.close_account(actor.user_id, *mine):
        raise SessionEnded
    log.info("account_deleted", user_id=actor.user_id)
    # The account is closed; what is left of it is the purge's, whatever happens here.
    with suppress(Unavailable):
        deletion.delete_closed_account(actor.user_id)


def import_accounts(imported: Sequence[dict[str, Any]]) -> int:
    """Add accounts with the hashes they had elsewhere; return how many were not here yet."""
    older = accounts.find_older_accounts([account["email"] for account in imported])
    stored = {account["email"] for account in older}
    rows = [
        {"id": str(uuid7()), **account, **addresses.stored_values(account["email"])}
        for account in imported
        if stored.isdisjoint(addresses.former_forms(account["email"]))
    ]
    if not rows:
        return 0
    added = execute(
        insert(User)
        .values(rows)
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(User.id),
        acting_as=SYSTEM,
    )
    return len(added)


def _require_unguessable(pointer: str, password: str, email: str, name: str | None) -> None:
    """Raise `ValidationFailed` for a password that is guessed first, or is made of the profile."""
    user_inputs = [email, email.rpartition("@")[0], *([name, *name.split()] if name else ())]
    if passwords.is_guessable(password, user_inputs):
        raise ValidationFailed([FieldError(pointer, "too_common", _TOO_COMMON)])


def _mine(actor: Actor) -> tuple[ColumnElement[bool], ...]:
    """Make the conditions of a change to the actor's account: its session is still open."""
    session = select(Session.id).where(
        *(Session.id == actor.session_id, Session.user_id == User.id), *SESSION_IS_OPEN
    )
    return User.id == actor.user_id, session.exists()


def _confirm(actor: Actor, client: Client, password: str) -> tuple[ColumnElement[bool], ...]:
    """Ask for the password again, and make the conditions of the change it is asked for.

    Who changes the password at this moment has the last word: then they are not met. Raises
    `PasswordWrong`, `TooManyAttempts`.
    """
    get_profile(actor)  # The session comes first: no attempt is counted where it has ended.
    try:
        user = confirm_password(client, actor.user_id, password)
    except CredentialsInvalid:
        raise PasswordWrong from None
    return *_mine(actor), User.password_hash == user["password_hash"]
