"""What is true of an account and of a session, whoever asks."""

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
ADDRESS_LENGTH = 45  # An IPv6 address with an IPv4 address inside.


class User(Base):
    """Somebody who owns tasks.

    `email` is the canonical form that is compared, `display_email` what was typed; it is NULL
    where an older release wrote the address. `change_seq` numbers the changes of all that they
    own; `feed_floor` is the number up to which it is no longer known what was deleted.
    `task_count` is at least the number of tasks with those in the trash: it grows with what is
    added and is counted anew at the quota.
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


PROFILE = (
    User.id,
    func.coalesce(User.display_email, User.email).label("email"),
    User.name,
    User.created_at,
)
"""What an account shows of itself."""


class Session(Base):
    """One login. Its tokens name it, and end with it.

    `refresh_id` is the id of the only refresh token that has not been spent. `device` is
    how the client named itself, `address` where it called from when it logged in.
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
    """How many attempts to log in there were of one kind, as `throttle` counts them.

    `subject` is a digest of what is counted: an e-mail address that nobody here has may be
    a password in the wrong field.
    """

    __tablename__ = "login_attempts"

    subject: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    attempts: Mapped[int] = mapped_column(server_default="0")
    counted_since: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
