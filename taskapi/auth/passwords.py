"""Passwords: hashed slowly on purpose, and never the ones that everybody tries first."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

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

# A hash occupies a core for its whole length: more of them at once than there are cores
# finish no sooner, and would leave none for the other requests.
_places = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1)))


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
            matches, updated = _HASHES.verify_and_update(password, password_hash or _DECOY)
        except UnknownHashError:
            return False, None
        return matches and password_hash is not None, updated if password_hash else None


def is_common(password: str) -> bool:
    """Whether the password is among the 30,000 that leaks show most often."""
    return password.lower() in _common_passwords()


@contextmanager
def _place() -> Iterator[None]:
    if not _places.acquire(timeout=_PATIENCE_SECONDS):
        raise Busy
    try:
        yield
    finally:
        _places.release()


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word for word in FREQUENCY_LISTS["passwords"] if len(word) >= SHORTEST)
