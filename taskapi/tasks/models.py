"""What is true of a task, whoever asks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Integer,
    String,
    Uuid,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.auth.models import USER_ID_LENGTH
from taskapi.extensions import Base

TITLE_LENGTH = 500
DESCRIPTION_LENGTH = 2000


class Task(Base):
    """Something to be done.

    The owner leads the primary key: the rows of one user lie together, newest last since
    the ids are time-ordered, and one index serves look-ups, lists and their cursors.
    Whether a task is completed is no column: it has a `completed_at` or it has not.
    `version` is the number of its last change among the changes of its owner.
    """

    __tablename__ = "tasks"

    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(String(DESCRIPTION_LENGTH))
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    order: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    version: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("title <> ''", name="title_not_empty"),)
