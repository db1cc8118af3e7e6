"""Verify JSON Web Tokens (RFC 7519) by one rule, whether the service or an issuer signed them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK, PyJWTError

from taskapi.auth.exceptions import TokenExpired, TokenInvalid

CACHED_TOKENS = 10_000
"""Verified tokens that a process remembers; afterwards only their expiry is compared."""


@dataclass(frozen=True)
class Rule:
    """What a token must claim. Durations are in seconds.

    None accepts any issuer, and as the audience tokens that name none (RFC 7519, 4.1.3).

    `clock_skew` is how long before its `nbf` and `iat` a token is accepted, and `expiry_leeway`
    how long after its `exp`.
    """

    issuer: str | None
    audience: str | None
    clock_skew: int
    expiry_leeway: int

    def decode(
        self, token: str, key: PyJWK | str, algorithm: str, *, verify_iat: bool = True
    ) -> dict[str, Any]:
        """Verify signature and claims, and return the claims.

        Raises `TokenExpired`, and what PyJWT raises; see `translate_jwt_errors`.
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
                "verify_exp": False,  # It has a leeway of its own.
                "verify_iat": verify_iat,
            },
        )
        self.require_unexpired(int(payload["exp"]))
        return payload

    def require_unexpired(self, expires: int) -> None:
        """Raise `TokenExpired` where it is too late for a token."""
        if expires + self.expiry_leeway <= time.time():
            raise TokenExpired


@contextmanager
def translate_jwt_errors() -> Iterator[None]:
    """Raise `TokenInvalid` for whatever PyJWT and the reading of claims raise."""
    try:
        yield
    except (
        PyJWTError,
        # What hostile claims and headers bring out of the library, and out of our reading.
        *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    ):
        raise TokenInvalid from None
