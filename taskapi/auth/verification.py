"""Verify JSON Web Tokens (RFC 7519) of the service and of an external issuer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK, PyJWTError

from taskapi.auth.exceptions import TokenExpired, TokenInvalid

MAX_CACHED_TOKENS = 10_000
"""Verified tokens that each process caches; a cached token needs only its expiry checked."""


@dataclass(frozen=True)
class Rule:
    """Validate the claims of a token.

    `issuer=None` accepts any issuer. `audience=None` accepts only tokens without an audience
    (RFC 7519, 4.1.3). A token is accepted up to `clock_skew` seconds before its `nbf` and `iat`,
    and up to `expiry_leeway` seconds after its `exp`.
    """

    issuer: str | None
    audience: str | None
    clock_skew: int
    expiry_leeway: int

    def decode(
        self, token: str, key: PyJWK | str, algorithm: str, *, verify_iat: bool = True
    ) -> dict[str, Any]:
        """Verify the signature and the claims, and return the claims.

        Raises `TokenExpired` and the exceptions of PyJWT, which `translate_jwt_errors` translates.
        """
        payload = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self.issuer,
            audience=self.audience,
            leeway=self.clock_skew,
            options={
                "require": ["exp", "sub"],
                "verify_exp": False,  # `validate_expiry` applies its own leeway.
                "verify_iat": verify_iat,
            },
        )
        self.validate_expiry(int(payload["exp"]))
        return payload

    def validate_expiry(self, expires: int) -> None:
        """Raise `TokenExpired` for an expiry, in seconds since 1970, beyond the leeway."""
        if expires + self.expiry_leeway <= time.time():
            raise TokenExpired


@contextmanager
def translate_jwt_errors() -> Iterator[None]:
    """Translate exceptions of PyJWT and of claim parsing to `TokenInvalid`."""
    try:
        yield
    except (
        PyJWTError,
        # Hostile claims and headers raise these in PyJWT and in the parsing of claims.
        *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    ):
        raise TokenInvalid from None
