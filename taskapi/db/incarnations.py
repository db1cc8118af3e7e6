"""Incarnations of the database: no number of a change is given out twice.

A database that went back in time (a restore, a recovery to a point in time, a failover that lost
the last transactions) would count the same numbers again for other changes. A new incarnation
lets every counter go on at a number that no counter has reached. So the tags and cursors of what
was lost match nothing, and no request has to look which incarnation it is in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import Base
from taskapi.db.execute import SYSTEM, execute, transaction

_BEGIN: Final = text("SELECT taskapi_begin_incarnation(0) AS first_change")
_LOOK: Final = text("""
    SELECT began_at, server <> taskapi_server() AS has_moved
      FROM incarnations ORDER BY first_change DESC LIMIT 1
""")


class Incarnation(Base):
    """A stretch of the database's history: the number at which it began, when, and on which server.

    `server` is PostgreSQL's identifier of the server and its timeline.
    """

    __tablename__ = "incarnations"

    first_change: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    server: Mapped[str | None] = mapped_column(Text)


class Latest(NamedTuple):
    """When the incarnation began, and whether the server has been promoted or replaced since."""

    began_at: str
    has_moved: bool | None
    """None where the server does not tell."""


def begin_incarnation() -> int:
    """Begin a new incarnation; return the number at which all counters go on."""
    with transaction(acting_as=SYSTEM):
        # There is a row to write for each user, and no change may be counted meanwhile.
        execute(text("SET LOCAL statement_timeout = 0"), acting_as=SYSTEM)
        [row] = execute(_BEGIN, acting_as=SYSTEM)
    return int(row["first_change"])


def look() -> Latest:
    """Look at the incarnation that the database is in."""
    [row] = execute(_LOOK, acting_as=SYSTEM)
    return Latest(**row)
