"""What is true of a task, whoever asks: one that is there, and one that was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import USER_ID_LENGTH, Base

TITLE_LENGTH = 500
DESCRIPTION_LENGTH = 2000
LONGEST_DESCRIPTION = 10_000
"""What the column holds: as much as any contract takes."""


class Owned:
    """What somebody owns. The owner leads the primary key, so that their rows lie together."""

    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class Content(Owned):
    """What a task says, and when it was said.

    Whether a task is completed is no column: it has a `completed_at` or it has not.
    `version` is the number of its last change among the changes of its owner. What ends in
    `_words` is what `words.folded` makes of the text.
    """

    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(String(LONGEST_DESCRIPTION))
    title_words: Mapped[str] = mapped_column(Text, server_default="")
    description_words: Mapped[str] = mapped_column(Text, server_default="")
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    order: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Task(Content, Base):
    """Something to be done, with an index for each order in which a list may come.

    Versions rise as `updated_at` does, so one index serves that order and the change feed.
    """

    __tablename__ = "tasks"

    # As much of it as an entry of an index can hold beside the longest user id.
    title_key: Mapped[str] = mapped_column(
        Text(collation="C"), Computed("left(title_words, 255)", persisted=True)
    )

    __table_args__ = (
        CheckConstraint("title <> ''", name="title_not_empty"),
        Index(None, "user_id", "version", unique=True),
        Index(None, "user_id", "created_at", "id"),
        Index(None, "user_id", "completed_at", "id"),
        Index(None, "user_id", "title_key", "id"),
        Index(None, "user_id", "order", "id"),
    )


class TrashedTask(Content, Base):
    """A task that was deleted and can be restored."""

    __tablename__ = "trash"

    deleted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    # What a later release may have added to tasks while this one still serves beside it.
    other_columns: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")

    __table_args__ = (Index(None, "user_id", "deleted_at", "id"),)


class Tombstone(Owned, Base):
    """That a task was deleted, and as which of its owner's changes; nothing of what it said."""

    __tablename__ = "tombstones"

    deleted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)

    __table_args__ = (Index(None, "user_id", "version", unique=True),)
