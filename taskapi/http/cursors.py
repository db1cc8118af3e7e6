"""Encode positions in lists as signed cursors, valid only for the list that issued them."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Any, Final

import orjson
from flask import Flask
from itsdangerous import BadData, URLSafeSerializer

from taskapi.exceptions import FieldError, ValidationFailed
from taskapi.extension import Extension
from taskapi.settings import Settings

_SERIALIZER: Final[Extension[URLSafeSerializer]] = Extension("cursors")


def init_app(app: Flask, settings: Settings) -> None:
    """Set up signing with the keys of the tokens; the salt separates the two uses."""
    serializer = URLSafeSerializer(
        list(reversed(settings.jwt_secret_keys)),  # The last one signs.
        salt="taskapi.cursors",
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )
    _SERIALIZER.set(app, serializer)


def write(position: list[Any], *scope: Any) -> str:
    """Encode a position as a cursor; `scope` identifies the list: name, user, filters, sort."""
    return str(_SERIALIZER.get().dumps([_digest(scope), *position]))


def read(cursor: str, parameter: str, *scope: Any) -> list[Any]:
    """Decode a cursor that was sent in the query parameter `parameter` to a position.

    Raises `ValidationFailed` if the signature is invalid or the cursor belongs to another list.
    """
    try:
        digest, *position = _SERIALIZER.get().loads(cursor)
    except BadData:
        detail = "This is not a cursor that this list gave out; start without one."
        raise ValidationFailed([FieldError(f"/query/{parameter}", "invalid", detail)]) from None
    if digest != _digest(scope):
        detail = (
            "This belongs to another list: send the same filters and sort with it, as "
            "the same user, or start without one."
        )
        raise ValidationFailed([FieldError(f"/query/{parameter}", "of_another_list", detail)])
    return list(position)


def _digest(scope: tuple[Any, ...]) -> str:
    digest = hashlib.sha256(orjson.dumps(scope, option=orjson.OPT_SORT_KEYS)).digest()
    return urlsafe_b64encode(digest[:6]).decode()
