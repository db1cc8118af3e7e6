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
    String,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import USER_ID_LENGTH, Base
from taskapi.tasks.fields import TaskFields


class Owned:
    """What somebody owns. The owner leads the primary key, so that their rows lie together."""

    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class Content(TaskFields, Owned):
    """What a task says. `version` is the number of its last change among those of its owner."""


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
