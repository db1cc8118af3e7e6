"""Delete accounts in pieces, however much they own.

An account is closed first, by one small statement: no session lives, nobody can log in, and its
e-mail address is free. What it owned is deleted behind that in batches, each far below the time
limit of a statement. `flask purge` goes on where that was interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Final

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Integer,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)

from taskapi.auth.models import Session, User
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, execute, transaction

_BATCH: Final = 500  # rows; 3 ms each
_PATIENCE_SECONDS: Final = 10.0

ACCOUNT_IS_CLOSED: Final = (User.email.is_(None), User.disabled_at.is_not(None))
"""What is true of an account that is being deleted; accounts of an issuer are never disabled."""


def close_account(user_id: str, *conditions: ColumnElement[bool]) -> bool:
    """Close the account that meets the conditions; return whether there was one."""
    closed = (
        update(User)
        .where(*conditions)
        .values(
            email=None, display_email=None, name=None, password_hash=None, disabled_at=func.now()
        )
    )
    with transaction(acting_as=SYSTEM):
        if not execute(closed.returning(User.id), acting_as=SYSTEM):
            return False
        is_open = (Session.user_id == user_id, Session.revoked_at.is_(None))
        execute(update(Session).where(*is_open).values(revoked_at=func.now()), acting_as=SYSTEM)
    return True


def delete_closed_account(user_id: str, seconds: float = _PATIENCE_SECONDS) -> bool:
    """Delete what a closed account owned, then the account; return False where time ran out."""
    deadline = time.monotonic() + seconds
    values = {"owner": user_id, "count": _BATCH}
    for statement in _deletions():
        while execute(statement, values, acting_as=SYSTEM):
            if time.monotonic() > deadline:
                return False
    execute(delete(User).where(User.id == user_id, *ACCOUNT_IS_CLOSED), acting_as=SYSTEM)
    return True


def find_closed_accounts() -> list[str]:
    """Return the accounts whose deletion is not finished."""
    return [
        row["id"] for row in execute(select(User.id).where(*ACCOUNT_IS_CLOSED), acting_as=SYSTEM)
    ]


@cache
def _deletions() -> Sequence[ClauseElement]:
    """Make the statement that deletes a batch, for each table that goes with an account."""
    return [
        _deletion(table)
        for table in db.metadata.sorted_tables
        if any(key.column.table.name == User.__tablename__ for key in table.foreign_keys)
    ]


def _deletion(table: Table) -> ClauseElement:
    owner = bindparam("owner", type_=User.id.type)
    is_owned = table.c.user_id == owner
    [key] = [column for column in table.primary_key.columns if column.name != "user_id"]
    some = select(key).where(is_owned).limit(bindparam("count", type_=Integer()))
    # An array is made once. The planner would join a subquery anew to each row of an account that
    # its statistics do not know: 20,000 tasks took longer than 5 s.
    is_some = key == func.any(func.array(some.scalar_subquery()))
    return delete(table).where(is_owned, is_some).returning(table.c.user_id)
