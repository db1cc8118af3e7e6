"""Tokens: who asks, said in a form that can be checked without asking anybody."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import jwt
from flask import Flask, current_app
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token
from uuid_utils import uuid7

from taskapi.auth.exceptions import TokenInvalid
from taskapi.auth.verification import CACHED_TOKENS, Rule, translate_jwt_errors
from taskapi.settings import Settings

_ALGORITHM = "HS256"
_RULE = "taskapi.token_rule"
_LONGEST_TOKEN = 4096  # characters


class Claims(NamedTuple):
    """What a verified token says. `expires` is in seconds since 1970."""

    user_id: str
    session_id: str
    token_id: str
    kind: str
    expires: int


def init_app(app: Flask, settings: Settings) -> None:
    """Configure how tokens are signed and what a token must say to be ours."""
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
    app.extensions[_RULE] = Rule(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_clock_skew,
        settings.jwt_expiry_leeway,
    )
    app.extensions["taskapi.signing_keys"] = {_key_id(key): key for key in settings.jwt_secret_keys}
    # A signature that was right stays right: each token is verified once, and from then on
    # only its expiry is compared. Whether its session lives is the database's to say.
    app.extensions["taskapi.tokens"] = lru_cache(maxsize=CACHED_TOKENS)(_decode)


class Grant(NamedTuple):
    """What a pair of tokens says; the same grant is always the same tokens.

    `issued_at` is in seconds since 1970.
    """

    user: dict[str, Any]
    session_id: str
    access_id: str
    refresh_id: str
    issued_at: int


def grant(user: dict[str, Any], session_id: str, refresh_id: str) -> Grant:
    """Decide what a new pair says. `user` is the profile that is answered with it."""
    return Grant(user, session_id, str(uuid7()), refresh_id, int(time.time()))


def sign_pair(granted: Grant) -> dict[str, Any]:
    """Sign an access token for requests, and a refresh token for one exchange."""
    return {
        "access_token": _sign(create_access_token, granted, granted.access_id, "ACCESS"),
        "refresh_token": _sign(create_refresh_token, granted, granted.refresh_id, "REFRESH"),
        "token_type": "Bearer",
        "expires_in": int(_lifetime("ACCESS").total_seconds()),
        "user": granted.user,
    }


def _sign(create: Callable[..., str], granted: Grant, token_id: str, kind: str) -> str:
    claims = {
        "sid": granted.session_id,
        "jti": token_id,
        "iat": granted.issued_at,
        "exp": granted.issued_at + int(_lifetime(kind).total_seconds()),
    }
    return str(
        create(granted.user["id"], additional_claims=claims, additional_headers=_signed_by())
    )


def _lifetime(kind: str) -> timedelta:
    lifetime: timedelta = current_app.config[f"JWT_{kind}_TOKEN_EXPIRES"]
    return lifetime


def _find_key(token: str) -> str:
    keys: dict[str, str] = current_app.extensions["taskapi.signing_keys"]
    headers = jwt.get_unverified_header(token)
    return keys[headers["kid"]] if "kid" in headers else next(iter(keys.values()))


def _signed_by() -> dict[str, str]:
    """Name the key that signs, so that it is found among several (RFC 7515, 4.1.4)."""
    return {"kid": next(iter(current_app.extensions["taskapi.signing_keys"]))}


def _key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def verify_token(token: str, kind: str) -> Claims:
    """Read an `access` or a `refresh` token.

    Raises `TokenExpired`, or `TokenInvalid` for all else that may be wrong with it.
    """
    if len(token) > _LONGEST_TOKEN:
        raise TokenInvalid
    decode: Callable[[str, str], Claims] = current_app.extensions["taskapi.tokens"]
    claims = decode(token, kind)
    _rule().require_unexpired(claims.expires)
    return claims


def _rule() -> Rule:
    rule: Rule = current_app.extensions[_RULE]
    return rule


def _decode(token: str, kind: str) -> Claims:
    with translate_jwt_errors():
        payload = _rule().decode(
            token,
            _find_key(token),
            _ALGORITHM,
            # The database knows which refresh token is unspent. So a session survives a clock
            # that ran ahead and was set back, by however much.
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
    longest = _lifetime(kind.upper()).total_seconds()
    # Written so that NaN, which compares false with everything, is refused.
    if not 0 < lifetime <= longest:
        raise TokenInvalid
    return claims
