"""Register, change, delete and import accounts."""

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
from taskapi.auth.models import PROFILE_COLUMNS, Session, User
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
from taskapi.http.idempotency import KeyedRequest

_TOO_COMMON_MESSAGE = (
    "This is guessed too quickly: it is a common one, repeats itself, or is made of your name or "
    "address; choose a longer one, such as three words that do not belong together."
)

log = structlog.get_logger()


def register(
    client: Client, keyed: KeyedRequest, email: str, password: str, name: str | None
) -> dict[str, Any]:
    """Open an account and its first session, and return its token pair.

    Returns the earlier pair for a repeated idempotency key. Raises `EmailTaken`,
    `ValidationFailed`, `IdempotencyKeyReused`, `Busy`.
    """
    _validate_password_strength("/password", password, email, name)
    password_hash = passwords.hash_password(password)
    try:
        with transaction(acting_as=SYSTEM):
            user = _add_account(email, password_hash, name)
            grant = open_session(client, user)
            keyed.keep(user["id"], grant._asdict())
    except EmailTaken:
        # An earlier attempt of this request may have opened it.
        earlier_grant = _find_registration(client, keyed, email, password)
        if earlier_grant is None:
            raise
        return tokens.sign_pair(earlier_grant)
    log.info("user_registered", user_id=user["id"])
    return tokens.sign_pair(grant)


def _find_registration(
    client: Client, keyed: KeyedRequest, email: str, password: str
) -> tokens.Grant | None:
    """Return the grant of an earlier attempt of this registration, if the password matches."""
    owner = accounts.find_account(email)
    with keyed.transaction(acting_as=SYSTEM):
        stored = keyed.find(owner["id"]) if owner else None
    if stored is None:
        return None
    try:
        authenticate(client, email, password)
    except CredentialsInvalid:
        raise IdempotencyKeyReused from None
    return tokens.Grant(**stored)


def create_account(email: str, password: str, name: str | None) -> Row:
    """Open an account without a session. Raises `EmailTaken`, `ValidationFailed`."""
    _validate_password_strength("/password", password, email, name)
    user = _add_account(email, passwords.hash_password(password), name)
    log.info("user_created", user_id=user["id"])
    return user


def _add_account(email: str, password_hash: str, name: str | None) -> Row:
    if accounts.find_legacy_accounts([email]):
        raise EmailTaken
    address = addresses.build_address_columns(email)
    added = execute(
        insert(User)
        .values(id=str(uuid7()), **address, name=name, password_hash=password_hash)
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(*PROFILE_COLUMNS),
        acting_as=SYSTEM,
    )
    if not added:
        raise EmailTaken
    return added[0]


def get_profile(actor: Actor) -> Row:
    """Return the actor's profile. Raises `SessionEnded`."""
    found = execute(select(*PROFILE_COLUMNS).where(User.id == actor.user_id), acting_as=actor)
    if not found:
        raise SessionEnded
    return found[0]


def change_profile(
    actor: Actor, client: Client, changes: dict[str, Any], password: str | None
) -> Row:
    """Change the name and the e-mail address; a new address requires the password.

    Raises `EmailTaken`, `PasswordWrong`, `TooManyAttempts`.
    """
    if not changes:
        return get_profile(actor)
    fields = sorted(changes)
    conditions = (
        _confirm_password(actor, client, password or "")
        if "email" in changes
        else _match_own_account(actor)
    )
    if "email" in changes:
        legacy = accounts.find_legacy_accounts([changes["email"]])
        if any(account["id"] != actor.user_id for account in legacy):
            raise EmailTaken
        changes |= addresses.build_address_columns(changes["email"])
    try:
        changed = execute(
            update(User).where(*conditions).values(**changes).returning(*PROFILE_COLUMNS),
            acting_as=SYSTEM,
        )
    except UniqueViolation:
        raise EmailTaken from None
    if not changed:
        raise SessionEnded
    log.info("profile_changed", user_id=actor.user_id, fields=fields)
    return changed[0]


def change_password(
    actor: Actor, client: Client, keyed: KeyedRequest, current_password: str, new_password: str
) -> None:
    """Change the password and end every other session.

    Raises `PasswordWrong`, `TooManyAttempts`, `IdempotencyKeyInUse`, `IdempotencyKeyReused`,
    `ValidationFailed`.
    """
    with keyed.transaction(acting_as=SYSTEM):
        is_done = keyed.find(actor.user_id) is not None
    if is_done:
        # A repeated request must set the password that is now the current one.
        try:
            _confirm_password(actor, client, new_password)
        except PasswordWrong:
            raise IdempotencyKeyReused from None
        return
    profile = get_profile(actor)
    _validate_password_strength("/new_password", new_password, profile["email"], profile["name"])
    conditions = _confirm_password(actor, client, current_password)
    password_hash = passwords.hash_password(new_password)
    with transaction(acting_as=SYSTEM):
        if keyed.find(actor.user_id) is not None:
            raise IdempotencyKeyInUse  # A retry verifies the password again.
        statement = update(User).where(*conditions).values(password_hash=password_hash)
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
    """Delete the account with all its tasks and sessions permanently.

    `flask purge` finishes the deletion of an account too large for a request. Raises
    `PasswordWrong`, `TooManyAttempts`, `SessionEnded`.
    """
    conditions = _confirm_password(actor, client, password)
    if not deletion.close_account(actor.user_id, *conditions):
        raise SessionEnded
    log.info("account_deleted", user_id=actor.user_id)
    # The account is already closed; after a failure the purge deletes the remaining rows.
    with suppress(Unavailable):
        deletion.delete_closed_account(actor.user_id)


def import_accounts(imported: Sequence[dict[str, Any]]) -> int:
    """Import accounts with their password hashes; return the number of new accounts."""
    legacy = accounts.find_legacy_accounts([account["email"] for account in imported])
    stored = {account["email"] for account in legacy}
    rows = [
        {"id": str(uuid7()), **account, **addresses.build_address_columns(account["email"])}
        for account in imported
        if stored.isdisjoint(addresses.derive_legacy_forms(account["email"]))
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


def _validate_password_strength(pointer: str, password: str, email: str, name: str | None) -> None:
    """Raise `ValidationFailed` for a weak password (NIST SP 800-63B, 5.1.1.2)."""
    user_inputs = [email, email.rpartition("@")[0], *([name, *name.split()] if name else ())]
    if passwords.is_guessable(password, user_inputs):
        raise ValidationFailed([FieldError(pointer, "too_common", _TOO_COMMON_MESSAGE)])


def _match_own_account(actor: Actor) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions of a change to the actor's account: its session is open."""
    session = select(Session.id).where(
        *(Session.id == actor.session_id, Session.user_id == User.id), *SESSION_IS_OPEN
    )
    return User.id == actor.user_id, session.exists()


def _confirm_password(
    actor: Actor, client: Client, password: str
) -> tuple[ColumnElement[bool], ...]:
    """Verify the current password, and build the conditions of the change that requires it.

    After a concurrent password change the conditions match no row. Raises `PasswordWrong`,
    `TooManyAttempts`, `SessionEnded`.
    """
    get_profile(actor)  # Checks the session first, so that an ended one counts no attempt.
    try:
        user = confirm_password(client, actor.user_id, password)
    except CredentialsInvalid:
        raise PasswordWrong from None
    return *_match_own_account(actor), User.password_hash == user["password_hash"]
