"""Verify the access tokens of an external issuer, such as Better Auth."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import jwt
from flask import Flask
from jwt import PyJWK

from taskapi.auth.exceptions import TokenInvalid
from taskapi.auth.keys import KeySet
from taskapi.auth.verification import MAX_CACHED_TOKENS, Rule, translate_jwt_errors
from taskapi.db.base import USER_ID_LENGTH
from taskapi.extension import Extension
from taskapi.settings import Settings

_MAX_TOKEN_CHARACTERS = 8000  # Just below gunicorn's header limit.
_MAX_LIFETIME_SECONDS = 366 * 86400

_VERIFIER: Final[Extension[Verifier]] = Extension("external")


class Claims(NamedTuple):
    """The claims of a verified token. `expires` is in seconds since 1970."""

    user_id: str
    email: str | None
    name: str | None
    expires: int
    session_id: None = None


def init_app(app: Flask, settings: Settings) -> None:
    """Configure the verifier for the issuer of the settings."""
    _VERIFIER.set(app, Verifier(settings))


def prefetch_keys(app: Flask) -> None:
    """Prefetch the issuer's keys, so that a worker's first requests need not wait."""
    if verifier := _VERIFIER.find(app):
        verifier.prefetch_keys()


def verify_token(token: str, _kind: str) -> Claims:
    """Verify an access token and return its claims.

    Raises `TokenExpired`, `IssuerUnavailable` if its key is not cached and the issuer does not
    respond, or `TokenInvalid` for any other fault.
    """
    return _VERIFIER.get().verify(token)


class Verifier:
    """Verify tokens, and cache the result: a cached token needs only its expiry checked."""

    def __init__(self, settings: Settings) -> None:
        self._rule = Rule(
            settings.external_jwt_issuer or None,
            settings.external_jwt_audience or None,
            settings.jwt_clock_skew,
            settings.jwt_expiry_leeway,
        )
        self._keys = _build_key_source(settings)
        self._verified: Callable[[str, int], Claims] = lru_cache(MAX_CACHED_TOKENS)(self._decode)

    def prefetch_keys(self) -> None:
        """Fetch the keys of an issuer that publishes them."""
        self._keys.prefetch()

    def verify(self, token: str) -> Claims:
        """Verify a token and return its claims; see `verify_token`."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise TokenInvalid
        # A new generation of keys invalidates the cached tokens.
        claims = self._verified(token, self._keys.get_generation())
        self._rule.validate_expiry(claims.expires)
        return claims

    def _decode(self, token: str, _generation: int) -> Claims:
        with translate_jwt_errors():
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
            payload = self._rule.decode(token, key, key.algorithm_name)
            claims = Claims(
                user_id=payload["sub"],
                email=_read_text_claim(payload.get("email")),
                name=_read_text_claim(payload.get("name")),
                expires=int(payload["exp"]),
            )
            length = len(claims.user_id.encode().decode())
        if claims.expires - time.time() > _MAX_LIFETIME_SECONDS:
            raise TokenInvalid
        if length > USER_ID_LENGTH or "\x00" in claims.user_id or not claims.user_id.strip():
            raise TokenInvalid
        return claims


class _SharedSecret:
    """The key of an issuer that signs with a shared secret (HS256)."""

    def __init__(self, secret: str) -> None:
        self._key = PyJWK.from_dict({"kty": "oct", "alg": "HS256", "k": _base64url(secret)})

    def prefetch(self) -> None:
        pass

    def get_generation(self) -> int:
        return 0

    def find(self, _key_id: str | None) -> PyJWK:
        return self._key


def _build_key_source(settings: Settings) -> KeySet | _SharedSecret:
    if settings.external_jwks_url:
        return KeySet(settings.external_jwks_url, max_waiting_threads=max(1, settings.threads // 2))
    return _SharedSecret(settings.external_jwt_secret)


def _base64url(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _read_text_claim(claim: object) -> str | None:
    """Return a claim that is valid text, else None; lone surrogates cannot be encoded."""
    is_text = isinstance(claim, str) and not any("\ud800" <= char <= "\udfff" for char in claim)
    return str(claim) if is_text else None
