"""Hash, verify and check the strength of passwords."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from flask import Flask
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from taskapi.exceptions import Busy
from taskapi.extension import Extension
from taskapi.settings import Settings

MIN_LENGTH = 8
MAX_LENGTH = 256

# 19 MiB and two passes: the second Argon2id configuration of OWASP's Password Storage Cheat
# Sheet. bcrypt verifies the hashes of imported accounts.
_HASHES = PasswordHash(
    (Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1), BcryptHasher())
)
_DECOY_HASH = _HASHES.hash("the password of an unknown account")
_SLOT_TIMEOUT_SECONDS = 5

# Limits for imported hashes. The 22nd character of a bcrypt salt encodes only two bits.
_BCRYPT_HASH = re.compile(
    r"\$2[aby]\$(?P<rounds>0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)
_ARGON2_SALT_AND_HASH = re.compile(r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}\Z")
_MAX_BCRYPT_ROUNDS = 14
_MAX_ARGON2_MEMORY_KIB = 256 * 1024
_MAX_ARGON2_WORK_KIB = 1024 * 1024  # Memory times passes.
_MAX_ARGON2_LANES = 16

_BCRYPT_MAX_BYTES = 72  # bcrypt ignores all further bytes.

_MIN_ZXCVBN_SCORE = 2  # Of 0 to 4: at least a million guesses.
# zxcvbn takes at most 0.1 s for 16 characters, and 3 s for 72.
_ZXCVBN_MAX_CHARACTERS = 16
_zxcvbn_lock = threading.Lock()

_HASH_SLOTS: Final[Extension[threading.BoundedSemaphore]] = Extension("passwords")
_HASH_THREADS: Final[Extension[threading.BoundedSemaphore]] = Extension("password_threads")


def init_app(app: Flask, settings: Settings) -> None:
    """Limit the number of concurrent password hashes.

    A hash occupies a core for its whole duration, so more hashes than cores would finish no sooner
    and delay other requests. At most half of the threads hash or wait to hash.
    """
    cores = max(1, (os.cpu_count() or 1) // settings.web_concurrency)
    _HASH_SLOTS.set(app, threading.BoundedSemaphore(cores))
    _HASH_THREADS.set(app, threading.BoundedSemaphore(max(cores, settings.threads // 2)))


def normalise(password: str) -> str:
    """Return the normalised form of a password for hashing (RFC 8265, 4.2: OpaqueString).

    Keyboards and systems compose letters and spaces differently. Unlike the RFC, no character is
    rejected: the unassigned ones depend on the Python version, and emoji contain forbidden joiners.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def hash_password(password: str) -> str:
    """Hash a password. Raises `Busy` if too many threads are waiting to hash."""
    with _hashing_slot():
        return _HASHES.hash(normalise(password))


def verify_password(password: str, password_hash: str | None) -> tuple[bool, str | None]:
    """Return whether the password matches, and a new hash if the old one is outdated.

    Older and imported hashes may be of the password as typed, which is therefore tried too. An
    unknown account (no hash) takes as long as a known one. Raises `Busy`.
    """
    normalised = normalise(password)
    with _hashing_slot():
        for form in dict.fromkeys((normalised, password)):
            matches, is_outdated = _verify_form(form, password_hash or _DECOY_HASH)
            if matches and password_hash:
                needs_rehash = is_outdated or form != normalised
                return True, _HASHES.hash(normalised) if needs_rehash else None
        return False, None


def _verify_form(password: str, password_hash: str) -> tuple[bool, bool]:
    """Return whether this form of the password matches, and whether its hash is outdated."""
    try:
        if password_hash.startswith("$2"):
            password_bytes = password.encode()
            matches = _HASHES.verify(password_bytes[:_BCRYPT_MAX_BYTES], password_hash)
            # bcrypt did not verify the bytes beyond its limit, so a new hash must not include them.
            return matches, len(password_bytes) < _BCRYPT_MAX_BYTES
        matches, updated = _HASHES.verify_and_update(password, password_hash)
    except (UnknownHashError, ValueError):  # bcrypt raises ValueError.
        return False, False
    return matches, updated is not None


def is_guessable(password: str, user_inputs: list[str]) -> bool:
    """Return whether fewer than a million guesses find the password, given the user's data.

    Of a long password only the start and the end are scored, and a strong one suffices. Raises
    `Busy`.
    """
    from zxcvbn import zxcvbn

    start = slice(None, _ZXCVBN_MAX_CHARACTERS)
    end = slice(-_ZXCVBN_MAX_CHARACTERS, None)
    # zxcvbn is not thread-safe: it keeps the inputs in a global variable.
    with _hashing_slot(), _zxcvbn_lock:
        return all(
            zxcvbn(password[part], [text[part] for text in user_inputs])["score"]
            < _MIN_ZXCVBN_SCORE
            for part in (start, end)
        )


def is_supported_hash(password_hash: str) -> bool:
    """Return whether an imported hash can be verified, and within about a second."""
    if bcrypt := _BCRYPT_HASH.fullmatch(password_hash):
        return int(bcrypt["rounds"]) <= _MAX_BCRYPT_ROUNDS
    try:
        costs = extract_parameters(password_hash)
    except InvalidHashError:
        return False
    if not _ARGON2_SALT_AND_HASH.search(password_hash):
        return False
    return (
        costs.memory_cost <= _MAX_ARGON2_MEMORY_KIB
        and costs.memory_cost * costs.time_cost <= _MAX_ARGON2_WORK_KIB
        and costs.parallelism <= _MAX_ARGON2_LANES
    )


@contextmanager
def _hashing_slot() -> Iterator[None]:
    slots, threads = _HASH_SLOTS.get(), _HASH_THREADS.get()
    if not threads.acquire(blocking=False):
        raise Busy
    try:
        if not slots.acquire(timeout=_SLOT_TIMEOUT_SECONDS):
            raise Busy
        try:
            yield
        finally:
            slots.release()
    finally:
        threads.release()
