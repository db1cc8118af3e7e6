"""What is true of an account and of a session, whoever asks."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.extensions import Base

USER_ID_LENGTH = 255
EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
NAME_LENGTH = 255


class User(Base):
    """Somebody who owns tasks. `change_seq` numbers the changes of all that they own."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(USER_ID_LENGTH), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(EMAIL_LENGTH), unique=True)
    name: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    password_hash: Mapped[str | None] = mapped_column(Text)
    change_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (CheckConstraint("id <> ''", name="id_not_empty"),)


class Session(Base):
    """One login. Its tokens name it, and end with it.

    `refresh_id` is the id of the only refresh token that has not been spent.
    """

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    refresh_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
