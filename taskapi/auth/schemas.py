"""The request and response schemas of accounts and sessions."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from taskapi.auth import passwords
from taskapi.auth.addresses import AddressRefused, canonicalise
from taskapi.auth.models import EMAIL_LENGTH, NAME_LENGTH
from taskapi.db.base import USER_ID_LENGTH
from taskapi.http.fields import Boolean, Text
from taskapi.http.inputs import Input

EXAMPLE_USER_ID = "01936b2e-7d10-7a55-8c0e-5f2d9b1e3a68"
EXAMPLE_TIME = "2026-11-20T08:15:30.123456Z"
_EXAMPLE_EMAIL = "ada@example.com"
_EXAMPLE_PASSWORD = "correct horse battery"  # noqa: S105 -- in the document


class Email(Text):
    """An e-mail address as typed, validated by its canonical form."""

    default_error_messages = {
        "not_an_email": "This is not an e-mail address; write it as name@example.com.",
        "invisible_character": "This contains the invisible character {character}; "
        "type the address anew without it.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(EMAIL_LENGTH, trim=True, **kwargs)
        self.metadata = {**self.metadata, "format": "email"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, *args, **kwargs) or ""
        try:
            canonical = canonicalise(address)
        except AddressRefused as error:
            raise self.make_error(error.code, **error.details) from None
        # The canonical form may be longer than the input, and must fit into the column.
        if len(canonical) > EMAIL_LENGTH:
            raise self.make_error("too_long", length=len(canonical), longest=EMAIL_LENGTH)
        return address


class NewPassword(Text):
    """A new password; its length is that of the normalised form, which is hashed."""

    def __init__(self, longest: int = passwords.MAX_LENGTH, **kwargs: Any) -> None:
        super().__init__(longest, shortest=passwords.MIN_LENGTH, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        password = super()._deserialize(value, *args, **kwargs) or ""
        length = len(passwords.normalise(password))
        if length < passwords.MIN_LENGTH:
            raise self.make_error("too_short", length=length, shortest=passwords.MIN_LENGTH)
        return password


class UserIdInPath(Input):
    """The user id in the path: any text, because an issuer may have created it."""

    user_id = Text(
        USER_ID_LENGTH,
        shortest=1,
        not_blank=True,
        required=True,
        metadata={"example": EXAMPLE_USER_ID, "description": "Whose tasks; percent-encoded."},
    )


class ImportedHash(Text):
    """A password hash from another system, in a supported format and at a bounded cost."""

    default_error_messages = {
        "unusable": "This is no bcrypt or Argon2 hash, or one that takes too long to verify.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(512, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        password_hash = super()._deserialize(value, *args, **kwargs) or ""
        if not passwords.is_supported_hash(password_hash):
            raise self.make_error("unusable")
        return password_hash


class Registration(Input):
    email = Email(required=True, metadata={"example": _EXAMPLE_EMAIL})
    password = NewPassword(required=True, metadata={"example": _EXAMPLE_PASSWORD})
    name = Text(
        NAME_LENGTH,
        allow_none=True,
        empty_is_null=True,
        load_default=None,
        metadata={"example": "Ada"},
    )


class Credentials(Input):
    # The address is not validated here: an invalid one matches no account.
    email = Text(EMAIL_LENGTH, required=True, metadata={"example": _EXAMPLE_EMAIL})
    password = Text(passwords.MAX_LENGTH, required=True, metadata={"example": _EXAMPLE_PASSWORD})


class ProfileChange(Input):
    """Changes of name and e-mail address; a new address requires the password."""

    ignored = ("id", "created_at")
    dependent_required = {"email": "password"}

    name = Text(
        NAME_LENGTH, allow_none=True, empty_is_null=True, metadata={"example": "Ada Lovelace"}
    )
    email = Email(metadata={"example": _EXAMPLE_EMAIL})
    password = Text(
        passwords.MAX_LENGTH,
        metadata={
            "example": _EXAMPLE_PASSWORD,
            "description": "The current password; required with `email`.",
        },
    )


class PasswordChange(Input):
    current_password = Text(
        passwords.MAX_LENGTH, required=True, metadata={"example": _EXAMPLE_PASSWORD}
    )
    new_password = NewPassword(required=True, metadata={"example": "a longer horse, stapled"})


class Confirmation(Input):
    password = Text(passwords.MAX_LENGTH, required=True, metadata={"example": _EXAMPLE_PASSWORD})


class CookieQuery(Input):
    cookie = Boolean(
        in_text=True,
        load_default=False,
        metadata={
            "description": "Keep the refresh token in an HttpOnly cookie instead of the body.",
            "example": True,
        },
    )


class LogoutQuery(Input):
    all = Boolean(
        in_text=True,
        load_default=False,
        metadata={"description": "End every session of yours.", "example": True},
    )


class ImportedAccount(Input):
    """An account of another system, with its password hash."""

    email = Email(required=True)
    password_hash = ImportedHash(required=True)
    name = Text(NAME_LENGTH, allow_none=True, empty_is_null=True, load_default=None)


class User(Schema):
    id = fields.String(
        required=True,
        metadata={"description": "The owner's id in every task.", "example": EXAMPLE_USER_ID},
    )
    email = fields.String(required=True, allow_none=True, metadata={"example": _EXAMPLE_EMAIL})
    name = fields.String(required=True, allow_none=True, metadata={"example": "Ada"})
    created_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})


class OutsideUser(User):
    """A user of an external issuer, as described by the token."""

    created_at = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "null: no token says it.", "example": None},
    )


class OpenSession(Schema):
    id = fields.UUID(required=True, metadata={"example": EXAMPLE_USER_ID})
    device = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The `User-Agent` that logged in.",
            "example": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        },
    )
    created_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})
    last_used_at = fields.DateTime(
        required=True,
        metadata={"description": "When its tokens were last made.", "example": EXAMPLE_TIME},
    )
    current = fields.Boolean(
        required=True, metadata={"description": "The session that asks.", "example": True}
    )


class SessionList(Schema):
    sessions = fields.List(fields.Nested(OpenSession), required=True)
    count = fields.Integer(required=True, metadata={"minimum": 0, "example": 1})
    total = fields.Integer(required=True, metadata={"minimum": 0, "example": 1})


class TokenPair(Schema):
    access_token = fields.String(
        required=True,
        metadata={
            "description": "Send it as `Authorization: Bearer <token>`.",
            "example": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMTkzNmIyZSJ9.6FVCgUPq",
        },
    )
    refresh_token = fields.String(
        metadata={
            "description": "Exchange it once at /auth/refresh for the next pair. Absent where "
            "it travels in the cookie.",
            "example": "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiIwMTkzNmIyZSJ9.vwXk2Lrd",
        },
    )
    token_type = fields.Constant(
        "Bearer", required=True, metadata={"type": "string", "enum": ["Bearer"]}
    )
    expires_in = fields.Integer(
        required=True,
        metadata={"description": "Seconds until the access token expires.", "example": 900},
    )
    user = fields.Nested(User, required=True)
