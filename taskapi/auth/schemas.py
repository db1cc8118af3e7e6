"""What JSON may say of accounts."""

from __future__ import annotations

import unicodedata
from typing import Any

from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Email as EmailSyntax

from taskapi.auth import passwords
from taskapi.auth.models import EMAIL_LENGTH, NAME_LENGTH
from taskapi.fields import Input, Text

EXAMPLE_USER_ID = "01936b2e-7d10-7a55-8c0e-5f2d9b1e3a68"
EXAMPLE_TIME = "2026-11-20T08:15:30.123456Z"
_EXAMPLE_EMAIL = "ada@example.com"
_EXAMPLE_PASSWORD = "correct horse battery"  # noqa: S105 -- in the document


class Email(Text):
    """An e-mail address, in the one form in which two spellings of it are the same."""

    default_error_messages = {"not_an_email": "This is not an e-mail address."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(EMAIL_LENGTH, trim=True, **kwargs)
        self.metadata = {**self.metadata, "format": "email"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        address = normalise_email(super()._deserialize(value, *args, **kwargs) or "")
        try:
            EmailSyntax()(address)
        except ValidationError:
            raise self.make_error("not_an_email") from None
        # Normalising may lengthen: the column holds what comes out.
        if len(address) > EMAIL_LENGTH:
            raise self.make_error("too_long", length=len(address), longest=EMAIL_LENGTH)
        return address


def normalise_email(address: str) -> str:
    """Return the form that is stored and compared: compatibility forms folded, no case."""
    return unicodedata.normalize("NFKC", address.strip()).casefold()


class NewPassword(Text):
    """A password that somebody chooses: long enough and not among the common ones."""

    default_error_messages = {
        "too_common": "This is one of the passwords that are guessed first; choose another.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(passwords.LONGEST, shortest=passwords.SHORTEST, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        password = super()._deserialize(value, *args, **kwargs) or ""
        if passwords.is_common(password):
            raise self.make_error("too_common")
        return password


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
    # No address is refused here for its form: a wrong one belongs to no account.
    email = Text(EMAIL_LENGTH, required=True, metadata={"example": _EXAMPLE_EMAIL})
    password = Text(passwords.LONGEST, required=True, metadata={"example": _EXAMPLE_PASSWORD})


class User(Schema):
    id = fields.String(
        required=True,
        metadata={"description": "The owner's id in every task.", "example": EXAMPLE_USER_ID},
    )
    email = fields.String(required=True, allow_none=True, metadata={"example": _EXAMPLE_EMAIL})
    name = fields.String(required=True, allow_none=True, metadata={"example": "Ada"})
    created_at = fields.DateTime(required=True, metadata={"example": EXAMPLE_TIME})


class TokenPair(Schema):
    access_token = fields.String(
        required=True,
        metadata={
            "description": "Send it as `Authorization: Bearer <token>`.",
            "example": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMTkzNmIyZSJ9.6FVCgUPq",
        },
    )
    refresh_token = fields.String(
        required=True,
        metadata={
            "description": "Exchange it once at /auth/refresh for the next pair.",
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
