"""Entity tags and conditional requests (RFC 9110, section 13).

The tag of a task is its version; the tag of a list consists of the owner's change counter and a
digest of user and URL. Compressing proxies make tags weak, so weak tags are accepted everywhere.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Final

from flask import Response, request

from taskapi.exceptions import FieldError, ValidationFailed

_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def format_etag(version: int) -> str:
    """Return the entity tag of a task's version."""
    return f'"{version}"'


def parse_if_match() -> list[int] | None:
    """Return the versions that If-Match allows; None if it allows all.

    Foreign tags match no version and are ignored. Raises `ValidationFailed` for If-None-Match,
    which only PUT supports.
    """
    if "HTTP_IF_NONE_MATCH" in request.environ:
        detail = "Here there is nothing to create; send If-Match, or no condition."
        raise ValidationFailed([FieldError("/header/If-None-Match", "invalid", detail)])
    if not has_if_match():
        return None
    if_match = request.if_match
    if if_match.star_tag:
        return None
    return _parse_numbers(if_match.as_set(include_weak=True))


def has_if_match() -> bool:
    """Whether the request has If-Match."""
    return "HTTP_IF_MATCH" in request.environ


def is_create_only() -> bool:
    """Whether the request has `If-None-Match: *` and may only create.

    Raises `ValidationFailed` for any other value, which writes do not support.
    """
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return False
    if not request.if_none_match.star_tag:
        detail = "Here If-None-Match can only be *, to create what is not there."
        raise ValidationFailed([FieldError("/header/If-None-Match", "invalid", detail)])
    return True


def is_current(etag: str) -> bool:
    """Whether If-None-Match contains this tag: the client's copy is current."""
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return False
    return request.if_none_match.contains_weak(etag.strip('"'))


class ListETags:
    """The tags of the requested list, one for each value of the owner's change counter."""

    def __init__(self, user_id: str) -> None:
        target = f"{user_id}\n{request.full_path}".encode()
        self._name = urlsafe_b64encode(hashlib.sha256(target).digest()[:6]).decode()

    def as_of(self, change: int) -> str:
        """Return the list's tag at a value of the change counter."""
        return f'W/"{change}.{self._name}"'

    def is_wildcard(self) -> bool:
        """Whether the request has `If-None-Match: *`."""
        return "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.star_tag

    def read_known_changes(self) -> list[int]:
        """Return the change counters of the client's copies, from If-None-Match."""
        if "HTTP_IF_NONE_MATCH" not in request.environ:
            return []
        tags = request.if_none_match.as_set(include_weak=True)
        parts = (tag.partition(".") for tag in tags if tag)
        return _parse_numbers({number for number, _, name in parts if name == self._name})


def not_modified(etag: str) -> Response:
    """Return 304 with the ETag and without a Content-Type."""
    response = Response(status=304, headers={"ETag": etag})
    del response.headers["Content-Type"]
    return response


def _parse_numbers(tags: Iterable[str | None]) -> list[int]:
    # Werkzeug parses an empty tag as None.
    return sorted(int(tag) for tag in tags if tag and _VERSION.fullmatch(tag))
