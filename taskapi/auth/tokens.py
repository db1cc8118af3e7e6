"""Sign and verify the access and refresh tokens of AUTH_MODE=local."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import jwt
from flask import Flask, current_app
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token
from uuid_utils import uuid7

from taskapi.auth.exceptions import TokenInvalid
from taskapi.auth.verification import MAX_CACHED_TOKENS, Rule, translate_jwt_errors
from taskapi.extension import Extension
from taskapi.settings import Settings

_ALGORITHM = "HS256"
_MAX_TOKEN_CHARACTERS = 4096

_RULE: Final[Extension[Rule]] = Extension("token_rule")
_SIGNING_KEYS: Final[Extension[dict[str, str]]] = Extension("signing_keys")
"""By key id; the first one signs."""

_DECODE: Final[Extension[Callable[[str, str], Claims]]] = Extension("tokens")


class Claims(NamedTuple):
    """The claims of a verified token. `expires` is in seconds since 1970."""

    user_id: str
    session_id: str
    token_id: str
    kind: str
    expires: int


def init_app(app: Flask, settings: Settings) -> None:
    """Configure the signing keys, the lifetimes and the required claims of tokens."""
    app.config.update(
        JWT_SECRET_KEY=settings.jwt_secret_keys[0],
        JWT_ALGORITHM=_ALGORITHM,
        JWT_ENCODE_NBF=False,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=settings.access_token_lifetime),
        JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=settings.refresh_token_lifetime),
        JWT_ENCODE_ISSUER=settings.jwt_issuer,
        JWT_ENCODE_AUDIENCE=settings.jwt_audience,
    )
    JWTManager(app)
    rule = Rule(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_clock_skew,
        settings.jwt_expiry_leeway,
    )
    _RULE.set(app, rule)
    _SIGNING_KEYS.set(app, {_derive_key_id(key): key for key in settings.jwt_secret_keys})
    # Each signature is verified once and cached; afterwards only the expiry is checked. The
    # database checks the session with every statement.
    _DECODE.set(app, lru_cache(maxsize=MAX_CACHED_TOKENS)(_decode))


class Grant(NamedTuple):
    """The content of a token pair; signing the same grant again gives identical tokens.

    `issued_at` is in seconds since 1970.
    """

    user: dict[str, Any]
    session_id: str
    access_id: str
    refresh_id: str
    issued_at: int


def make_grant(user: dict[str, Any], session_id: str, refresh_id: str) -> Grant:
    """Make the grant of a new token pair. `user` is the profile returned with the tokens."""
    return Grant(user, session_id, str(uuid7()), refresh_id, int(time.time()))


def sign_pair(granted: Grant) -> dict[str, Any]:
    """Sign the access token and the single-use refresh token of a grant."""
    return {
        "access_token": _sign(create_access_token, granted, granted.access_id, "ACCESS"),
        "refresh_token": _sign(create_refresh_token, granted, granted.refresh_id, "REFRESH"),
        "token_type": "Bearer",
        "expires_in": int(_get_lifetime("ACCESS").total_seconds()),
        "user": granted.user,
    }


def _sign(create: Callable[..., str], granted: Grant, token_id: str, kind: str) -> str:
    claims = {
        "sid": granted.session_id,
        "jti": token_id,
        "iat": granted.issued_at,
        "exp": granted.issued_at + int(_get_lifetime(kind).total_seconds()),
    }
    return str(
        create(granted.user["id"], additional_claims=claims, additional_headers=_make_key_header())
    )


def _get_lifetime(kind: str) -> timedelta:
    lifetime: timedelta = current_app.config[f"JWT_{kind}_TOKEN_EXPIRES"]
    return lifetime


def _select_key(token: str) -> str:
    keys = _SIGNING_KEYS.get()
    headers = jwt.get_unverified_header(token)
    return keys[headers["kid"]] if "kid" in headers else next(iter(keys.values()))


def _make_key_header() -> dict[str, str]:
    """Return the `kid` header that identifies the signing key (RFC 7515, 4.1.4)."""
    return {"kid": next(iter(_SIGNING_KEYS.get()))}


def _derive_key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def verify_token(token: str, kind: str) -> Claims:
    """Verify a token of the kind `access` or `refresh` and return its claims.

    Raises `TokenExpired`, or `TokenInvalid` for any other fault.
    """
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise TokenInvalid
    claims = _DECODE.get()(token, kind)
    _RULE.get().validate_expiry(claims.expires)
    return claims


def _decode(token: str, kind: str) -> Claims:
    with translate_jwt_errors():
        payload = _RULE.get().decode(
            token,
            _select_key(token),
            _ALGORITHM,
            # The database identifies the current refresh token, so `iat` is not needed for it.
            # A session thus survives a clock that ran ahead and was set back.
            verify_iat=kind != "refresh",
        )
        claims = Claims(
            user_id=payload["sub"],
            session_id=str(UUID(payload["sid"])),
            token_id=str(UUID(payload["jti"])),
            kind=payload.get("type", "access"),
            expires=int(payload["exp"]),
        )
        lifetime = claims.expires - float(payload["iat"])
    if claims.kind != kind or "\x00" in claims.user_id:
        raise TokenInvalid
    max_lifetime = _get_lifetime(kind.upper()).total_seconds()
    # This form also rejects NaN, which compares false with everything.
    if not 0 < lifetime <= max_lifetime:
        raise TokenInvalid
    return claims
