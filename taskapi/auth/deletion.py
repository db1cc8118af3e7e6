"""Delete accounts of any size in batches.

First a short transaction closes the account: it ends all sessions, prevents logins and frees the
e-mail address. Its rows are then deleted in batches, each far below the statement timeout, and
`flask purge` finishes an interrupted deletion.
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

_BATCH_ROWS: Final = 500  # A batch takes 3 ms.
_DELETION_TIMEOUT_SECONDS: Final = 10.0

ACCOUNT_IS_CLOSED: Final = (User.email.is_(None), User.disabled_at.is_not(None))
"""The conditions for an account being deleted; accounts of an issuer are never disabled."""


def close_account(user_id: str, *conditions: ColumnElement[bool]) -> bool:
    """Close the account if it meets the conditions; return whether it did."""
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


def delete_closed_account(user_id: str, timeout_seconds: float = _DELETION_TIMEOUT_SECONDS) -> bool:
    """Delete the rows of a closed account, then the account; return False on timeout."""
    deadline = time.monotonic() + timeout_seconds
    values = {"owner": user_id, "count": _BATCH_ROWS}
    for statement in _build_batch_deletions():
        while execute(statement, values, acting_as=SYSTEM):
            if time.monotonic() > deadline:
                return False
    execute(delete(User).where(User.id == user_id, *ACCOUNT_IS_CLOSED), acting_as=SYSTEM)
    return True


def find_closed_accounts() -> list[str]:
    """Return the ids of accounts whose deletion is unfinished."""
    return [
        row["id"] for row in execute(select(User.id).where(*ACCOUNT_IS_CLOSED), acting_as=SYSTEM)
    ]


@cache
def _build_batch_deletions() -> Sequence[ClauseElement]:
    """Build the statement that deletes a batch, for each table that references `users`."""
    return [
        _build_batch_deletion(table)
        for table in db.metadata.sorted_tables
        if any(key.column.table.name == User.__tablename__ for key in table.foreign_keys)
    ]


def _build_batch_deletion(table: Table) -> ClauseElement:
    owner = bindparam("owner", type_=User.id.type)
    is_owned = table.c.user_id == owner
    [key] = [column for column in table.primary_key.columns if column.name != "user_id"]
    batch = select(key).where(is_owned).limit(bindparam("count", type_=Integer()))
    # 20,000 tasks took longer than 5 s without the array: for an account unknown to its statistics,
    # the planner re-evaluated a subquery for each row. The array is evaluated once.
    is_in_batch = key == func.any(func.array(batch.scalar_subquery()))
    return delete(table).where(is_owned, is_in_batch).returning(table.c.user_id)
