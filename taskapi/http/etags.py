"""Conditional requests (RFC 9110, section 13): what a client has read already, and as what.

A tag is a task's version, or for a list the number of its owner's last change and what was
asked for. A proxy that compresses makes a tag weak, so weak ones are taken as well.
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


def tag(version: int) -> str:
    """Write a task's version as an entity tag."""
    return f'"{version}"'


def wanted_versions() -> list[int] | None:
    """Return the versions that If-Match allows; None where all are.

    What is no tag of ours allows nothing, since it matches no version. Raises
    `ValidationFailed` where If-None-Match comes as well, which only PUT can mean.
    """
    if "HTTP_IF_NONE_MATCH" in request.environ:
        detail = "Here there is nothing to create; send If-Match, or no condition."
        raise ValidationFailed([FieldError("/header/If-None-Match", "invalid", detail)])
    if not has_version():
        return None
    wanted = request.if_match
    if wanted.star_tag:
        return None
    return _numbers(wanted.as_set(include_weak=True))


def has_version() -> bool:
    """Whether If-Match says that the task must have one of some versions."""
    return "HTTP_IF_MATCH" in request.environ


def wants_new() -> bool:
    """Whether If-None-Match says that there must be nothing yet.

    Raises `ValidationFailed` where it says something else, which no write here can mean.
    """
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return False
    if not request.if_none_match.star_tag:
        detail = "Here If-None-Match can only be *, to create what is not there."
        raise ValidationFailed([FieldError("/header/If-None-Match", "invalid", detail)])
    return True


def has_read(etag: str) -> bool:
    """Whether If-None-Match names this tag."""
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return False
    return request.if_none_match.contains_weak(etag.strip('"'))


class ListTag:
    """The tags of a list that was asked for: each is the list as of one of its owner's changes."""

    def __init__(self, user_id: str) -> None:
        asked = f"{user_id}\n{request.full_path}".encode()
        self._name = urlsafe_b64encode(hashlib.sha256(asked).digest()[:6]).decode()

    def as_of(self, change: int) -> str:
        """Write the list's tag as of a change."""
        return f'W/"{change}.{self._name}"'

    def is_any_read(self) -> bool:
        """Whether If-None-Match says that the client has the list, as of whichever change."""
        return "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.star_tag

    def changes_read(self) -> list[int]:
        """Return the changes as of which If-None-Match says that the client has the list."""
        if "HTTP_IF_NONE_MATCH" not in request.environ:
            return []
        tags = request.if_none_match.as_set(include_weak=True)
        parts = (tag.partition(".") for tag in tags if tag)
        return _numbers({number for number, _, name in parts if name == self._name})


def not_modified(etag: str) -> Response:
    """Answer 304: the client has it already."""
    response = Response(status=304, headers={"ETag": etag})
    del response.headers["Content-Type"]
    return response


def _numbers(tags: Iterable[str | None]) -> list[int]:
    # Werkzeug reads an empty tag as None.
    return sorted(int(tag) for tag in tags if tag and _VERSION.fullmatch(tag))
