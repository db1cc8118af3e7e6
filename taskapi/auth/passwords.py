"""Passwords: hashed slowly on purpose, and never the ones that everybody tries first."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from flask import Flask, current_app
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from taskapi.config import Settings
from taskapi.exceptions import Busy

SHORTEST = 8
LONGEST = 256

# OWASP's second recommendation for Argon2id: 19 MiB, two passes. bcrypt is there for
# accounts that were brought from elsewhere.
_HASHES = PasswordHash(
    (Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1), BcryptHasher())
)
_DECOY = _HASHES.hash("what a stranger's password is compared with")
_PATIENCE_SECONDS = 5

# Of hashes that were made elsewhere.
# The 22nd character of the salt holds but two bits.
_BCRYPT = re.compile(
    r"\$2[aby]\$(?P<rounds>0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)
_ARGON2_DIGITS = re.compile(r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}\Z")
_MOST_ROUNDS = 14
_MOST_MEMORY = 256 * 1024  # KiB
_MOST_WORK = 1024 * 1024  # KiB passed over
_MOST_LANES = 16

_LONGEST_FOR_BCRYPT = 72  # bytes; all that it has ever looked at


def init_app(app: Flask, settings: Settings) -> None:
    """Bound how many passwords are hashed at the same time.

    A hash occupies a core for its whole length: more of them at once than there are cores
    finish no sooner, and would leave none for the other requests.
    """
    cores = max(1, (os.cpu_count() or 1) // settings.web_concurrency)
    app.extensions["taskapi.passwords"] = threading.BoundedSemaphore(cores)


def hash_password(password: str) -> str:
    """Hash a password; raises `Busy` when too many wait for the same."""
    with _place():
        return _HASHES.hash(password)


def verify_password(password: str, password_hash: str | None) -> tuple[bool, str | None]:
    """Say whether the password is right, and its new hash where the old is out of date.

    Takes as long without a hash (an unknown user) as with one. Raises `Busy`.
    """
    with _place():
        try:
            if (password_hash or "").startswith("$2"):
                start = password.encode()[:_LONGEST_FOR_BCRYPT]
                matches = _HASHES.verify(start, password_hash or "")
                return matches, _HASHES.hash(password) if matches else None
            matches, updated = _HASHES.verify_and_update(password, password_hash or _DECOY)
        except (UnknownHashError, ValueError):  # The latter is bcrypt's word for the same.
            return False, None
        return matches and password_hash is not None, updated if password_hash else None


def is_common(password: str) -> bool:
    """Whether the password is among the 30,000 that leaks show most often."""
    return password.lower() in _common_passwords()


def is_usable(password_hash: str) -> bool:
    """Whether a hash from elsewhere can be verified here, and within about a second."""
    if bcrypt := _BCRYPT.fullmatch(password_hash):
        return int(bcrypt["rounds"]) <= _MOST_ROUNDS
    try:
        costs = extract_parameters(password_hash)
    except InvalidHashError:
        return False
    if not _ARGON2_DIGITS.search(password_hash):
        return False
    return (
        costs.memory_cost <= _MOST_MEMORY
        and costs.memory_cost * costs.time_cost <= _MOST_WORK
        and costs.parallelism <= _MOST_LANES
    )


@contextmanager
def _place() -> Iterator[None]:
    places: threading.BoundedSemaphore = current_app.extensions["taskapi.passwords"]
    if not places.acquire(timeout=_PATIENCE_SECONDS):
        raise Busy
    try:
        yield
    finally:
        places.release()


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word for word in FREQUENCY_LISTS["passwords"] if len(word) >= SHORTEST)
