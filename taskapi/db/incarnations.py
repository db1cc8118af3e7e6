"""Begin and read incarnations of the database, which keep change numbers unique.

A database that returns to an earlier state (a restore, a point-in-time recovery, a failover that
lost the last transactions) would assign the same numbers again to other changes. A new incarnation
continues every counter above all numbers assigned so far. Entity tags and cursors of lost changes
therefore match nothing, and no request needs to check the incarnation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import Base
from taskapi.db.execute import SYSTEM, execute, transaction

_BEGIN_INCARNATION: Final = text("SELECT taskapi_begin_incarnation(0) AS first_change")
_SELECT_LATEST: Final = text("""
    SELECT began_at, server <> taskapi_server() AS has_moved
      FROM incarnations ORDER BY first_change DESC LIMIT 1
""")


class Incarnation(Base):
    """One continuous history of the database: its first change number, start time and server.

    `server` is PostgreSQL's system identifier with the timeline.
    """

    __tablename__ = "incarnations"

    first_change: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    server: Mapped[str | None] = mapped_column(Text)


class LatestIncarnation(NamedTuple):
    """The start of the current incarnation, and whether promotion or replacement followed."""

    began_at: str
    has_moved: bool | None
    """None if the server does not disclose its identity."""


def begin_incarnation() -> int:
    """Begin a new incarnation; return its first change number, the new value of all counters."""
    with transaction(acting_as=SYSTEM):
        # One row per user is written while the lock blocks all writes, which may take long.
        execute(text("SET LOCAL statement_timeout = 0"), acting_as=SYSTEM)
        [row] = execute(_BEGIN_INCARNATION, acting_as=SYSTEM)
    return int(row["first_change"])


def find_latest() -> LatestIncarnation:
    """Return the current incarnation of the database."""
    [row] = execute(_SELECT_LATEST, acting_as=SYSTEM)
    return LatestIncarnation(**row)
