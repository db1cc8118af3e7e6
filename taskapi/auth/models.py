"""The tables of accounts, sessions and login attempts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    LargeBinary,
    String,
    Text,
    Uuid,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from taskapi.db.base import USER_ID_LENGTH, Base

EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
NAME_LENGTH = 255
DEVICE_LENGTH = 255
ADDRESS_LENGTH = 45  # An IPv6 address with an embedded IPv4 address.


class User(Base):
    """An owner of tasks.

    `email` is the canonical form for comparison. `display_email` is the address as typed, or NULL
    if an older release stored it. `change_seq` is the change counter and `feed_floor` the feed
    floor. `task_count` is an upper bound of the number of tasks, trash included: it increases with
    every insert, and is recounted at the quota.
    """

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(USER_ID_LENGTH), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(EMAIL_LENGTH), unique=True)
    display_email: Mapped[str | None] = mapped_column(String(EMAIL_LENGTH))
    name: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    password_hash: Mapped[str | None] = mapped_column(Text)
    change_seq: Mapped[int] = mapped_column(BigInteger, server_default=func.taskapi_first_change())
    feed_floor: Mapped[int] = mapped_column(BigInteger, server_default=func.taskapi_first_change())
    task_count: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (CheckConstraint("id <> ''", name="id_not_empty"),)


PROFILE_COLUMNS = (
    User.id,
    func.coalesce(User.display_email, User.email).label("email"),
    User.name,
    User.created_at,
)
"""The columns of the public profile."""


class Session(Base):
    """A login, identified by the `sid` of its tokens; ending it revokes them.

    `refresh_id` is the id (`jti`) of the current refresh token. `device` is the `User-Agent` of
    the login, and `address` its client address.
    """

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        String(USER_ID_LENGTH), ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    refresh_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    device: Mapped[str | None] = mapped_column(String(DEVICE_LENGTH))
    address: Mapped[str | None] = mapped_column(String(ADDRESS_LENGTH))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class LoginAttempts(Base):
    """A counter of login attempts, maintained by `throttle`.

    `subject` is a digest: an unknown e-mail address may be a password typed into the wrong field.
    """

    __tablename__ = "login_attempts"

    subject: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    attempts: Mapped[int] = mapped_column(server_default="0")
    counted_since: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
