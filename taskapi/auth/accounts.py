"""Find accounts by their e-mail address.

Older releases stored the `former_form` of an address, and no `display_email`. Their accounts are
found by that form as well, and renewed by the login that shows what was typed: it cannot be told
from what is stored, since `straße.de` was stored as `strasse.de`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg2.errors import UniqueViolation
from sqlalchemy import ColumnElement, Select, and_, case, or_, select, update

from taskapi.auth.addresses import (
    AddressRefused,
    canonicalise_leniently,
    former_form,
    former_forms,
    stored_values,
)
from taskapi.auth.models import User
from taskapi.db.execute import SYSTEM, Row, execute

Accounts = Select[*tuple[Any, ...]]


def find_account(email: str) -> Row | None:
    """Return the id and the stored address of the account with this address."""
    found = execute(with_address(select(User.id, User.email), email), acting_as=SYSTEM)
    return found[0] if found else None


def find_older_accounts(emails: Iterable[str]) -> list[Row]:
    """Return the accounts that an older release stored under one of these addresses."""
    forms = {form for email in emails for form in former_forms(email)}
    return execute(select(User.id, User.email).where(_is_older(forms)), acting_as=SYSTEM)


def with_address(accounts: Accounts, email: str) -> Accounts:
    """Restrict a query to the account with this address.

    Two accounts of an older release may have one address by now. Each is found by the spelling
    that it was stored under.
    """
    canonical = canonicalise_leniently(email)
    return (
        accounts.where(or_(User.email == canonical, _is_older(former_forms(email))))
        .order_by(case((_is_older({former_form(email)}), 0), (User.email == canonical, 1), else_=2))
        .limit(1)
    )


def renew_address(user_id: str, stored: str, typed: str) -> bool:
    """Store the canonical form of an address that led to an account by its former form."""
    try:
        values = stored_values(typed)
    except AddressRefused:
        return False
    if values["email"] == stored:
        return False
    statement = update(User).where(User.id == user_id, _is_older({stored})).values(**values)
    try:
        renewed = execute(statement.returning(User.id), acting_as=SYSTEM)
    except UniqueViolation:  # Another account has the address; this one keeps its former form.
        return False
    return bool(renewed)


def _is_older(forms: set[str]) -> ColumnElement[bool]:
    return and_(User.email.in_(sorted(forms)), User.display_email.is_(None))
