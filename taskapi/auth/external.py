"""Tokens of an issuer outside: Better Auth, or any other that signs JWTs."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jwt
from flask import Flask, current_app
from jwt import PyJWK

from taskapi.auth.exceptions import TokenInvalid
from taskapi.auth.keys import KeySet
from taskapi.auth.verification import MAX_CACHED_TOKENS, Rule, translate_jwt_errors
from taskapi.db.base import USER_ID_LENGTH
from taskapi.settings import Settings

_LONGEST_TOKEN = 8000  # characters; gunicorn takes no longer header
_LONGEST_LIFETIME = 366 * 86400  # seconds


class Claims(NamedTuple):
    """What a verified token says. `expires` is in seconds since 1970."""

    user_id: str
    email: str | None
    name: str | None
    expires: int
    session_id: None = None


def init_app(app: Flask, settings: Settings) -> None:
    """Learn whose tokens count."""
    app.extensions["taskapi.external"] = Verifier(settings)


def learn_keys(app: Flask) -> None:
    """Know the issuer's keys before anybody asks, since not all who ask may wait for them."""
    if verifier := app.extensions.get("taskapi.external"):
        verifier.learn_keys()


def verify_token(token: str, _kind: str) -> Claims:
    """Read a token.

    Raises `TokenExpired`, `IssuerUnavailable` where its key is not known and cannot be
    asked for, or `TokenInvalid` for all else that may be wrong with it.
    """
    verifier: Verifier = current_app.extensions["taskapi.external"]
    return verifier.verify(token)


class Verifier:
    """Verifies each token once; from then on only its expiry is compared."""

    def __init__(self, settings: Settings) -> None:
        self._rule = Rule(
            settings.external_jwt_issuer or None,
            settings.external_jwt_audience or None,
            settings.jwt_clock_skew,
            settings.jwt_expiry_leeway,
        )
        self._keys = _keys_of(settings)
        self._verified: Callable[[str, int], Claims] = lru_cache(MAX_CACHED_TOKENS)(self._decode)

    def learn_keys(self) -> None:
        """Ask the issuer for its keys, where it publishes them."""
        self._keys.learn()

    def verify(self, token: str) -> Claims:
        """Read a token; raises as `verify_token` does."""
        if len(token) > _LONGEST_TOKEN:
            raise TokenInvalid
        # A key that is withdrawn takes with it what has been verified by it.
        claims = self._verified(token, self._keys.generation())
        self._rule.validate_expiry(claims.expires)
        return claims

    def _decode(self, token: str, _generation: int) -> Claims:
        with translate_jwt_errors():
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
            payload = self._rule.decode(token, key, key.algorithm_name)
            claims = Claims(
                user_id=payload["sub"],
                email=_text(payload.get("email")),
                name=_text(payload.get("name")),
                expires=int(payload["exp"]),
            )
            length = len(claims.user_id.encode().decode())
        if claims.expires - time.time() > _LONGEST_LIFETIME:
            raise TokenInvalid
        if length > USER_ID_LENGTH or "\x00" in claims.user_id or not claims.user_id.strip():
            raise TokenInvalid
        return claims


class _SharedSecret:
    """The one key of an issuer that shares its secret."""

    def __init__(self, secret: str) -> None:
        self._key = PyJWK.from_dict({"kty": "oct", "alg": "HS256", "k": _base64url(secret)})

    def learn(self) -> None:
        pass

    def generation(self) -> int:
        return 0

    def find(self, _key_id: str | None) -> PyJWK:
        return self._key


def _keys_of(settings: Settings) -> KeySet | _SharedSecret:
    if settings.external_jwks_url:
        return KeySet(settings.external_jwks_url, places=max(1, settings.threads // 2))
    return _SharedSecret(settings.external_jwt_secret)


def _base64url(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _text(claim: object) -> str | None:
    """Return a claim that is text; half a surrogate pair, which JSON has no form for, is none."""
    is_text = isinstance(claim, str) and not any("\ud800" <= one <= "\udfff" for one in claim)
    return str(claim) if is_text else None
