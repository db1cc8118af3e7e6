"""Find accounts by their e-mail address, including the stored forms of older releases.

Older releases stored the legacy form of an address and no `display_email`. The canonical form
cannot be derived from it (`straße.de` was stored as `strasse.de`), so the next login upgrades it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg2.errors import UniqueViolation
from sqlalchemy import ColumnElement, Select, and_, case, or_, select, update

from taskapi.auth.addresses import (
    AddressRefused,
    build_address_columns,
    canonicalise_leniently,
    derive_legacy_form,
    derive_legacy_forms,
)
from taskapi.auth.models import User
from taskapi.db.execute import SYSTEM, Row, execute

AccountQuery = Select[*tuple[Any, ...]]


def find_account(email: str) -> Row | None:
    """Return the id and the stored address of an account, or None if there is none."""
    found = execute(filter_by_address(select(User.id, User.email), email), acting_as=SYSTEM)
    return found[0] if found else None


def find_legacy_accounts(emails: Iterable[str]) -> list[Row]:
    """Return the accounts that an older release stored under one of these addresses."""
    forms = {form for email in emails for form in derive_legacy_forms(email)}
    return execute(
        select(User.id, User.email).where(_match_legacy_addresses(forms)), acting_as=SYSTEM
    )


def filter_by_address(accounts: AccountQuery, email: str) -> AccountQuery:
    """Restrict a query to the account with this address.

    Two accounts of an older release may have the same canonical address. The stored spelling of
    each account takes precedence.
    """
    canonical = canonicalise_leniently(email)
    return (
        accounts.where(
            or_(User.email == canonical, _match_legacy_addresses(derive_legacy_forms(email)))
        )
        .order_by(
            case(
                (_match_legacy_addresses({derive_legacy_form(email)}), 0),
                (User.email == canonical, 1),
                else_=2,
            )
        )
        .limit(1)
    )


def upgrade_address(user_id: str, stored: str, typed: str) -> bool:
    """Replace a stored legacy form by the canonical form; return whether a row changed."""
    try:
        values = build_address_columns(typed)
    except AddressRefused:
        return False
    if values["email"] == stored:
        return False
    statement = (
        update(User).where(User.id == user_id, _match_legacy_addresses({stored})).values(**values)
    )
    try:
        upgraded = execute(statement.returning(User.id), acting_as=SYSTEM)
    except UniqueViolation:  # Another account has the address; this one keeps its legacy form.
        return False
    return bool(upgraded)


def _match_legacy_addresses(forms: set[str]) -> ColumnElement[bool]:
    return and_(User.email.in_(sorted(forms)), User.display_email.is_(None))
