"""The tables of tasks, trash and tombstones."""

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
    """A row of one user. `user_id` leads the primary key, so the rows of a user are adjacent."""

    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class Content(TaskFields, Owned):
    """The content of a task. `version` is the owner's change counter at its last change."""


class Task(Content, Base):
    """A task, with an index for each sort order of lists.

    Versions increase with `updated_at`, so one index serves that order and the change feed.
    """

    __tablename__ = "tasks"

    # The longest prefix that fits into an index entry beside the longest user id.
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
    # Columns that a later release has added to tasks while this release serves beside it.
    other_columns: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")

    __table_args__ = (Index(None, "user_id", "deleted_at", "id"),)


class Tombstone(Owned, Base):
    """The record of a deletion in the change feed: id, change number and time, no content."""

    __tablename__ = "tombstones"

    deleted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)

    __table_args__ = (Index(None, "user_id", "version", unique=True),)
