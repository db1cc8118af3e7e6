"""Passwords: hashed slowly on purpose, and never the ones that are guessed first."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from flask import Flask, current_app
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from taskapi.exceptions import Busy
from taskapi.settings import Settings

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

_LOWEST_SCORE = 2  # of zxcvbn's 0 to 4: a million guesses
# Of 16 characters zxcvbn takes at most 0.1 s, of 72 it takes 3.
_LONGEST_FOR_ZXCVBN = 16
_zxcvbn_lock = threading.Lock()


def init_app(app: Flask, settings: Settings) -> None:
    """Bound how many passwords are hashed at the same time.

    A hash occupies a core for its whole length: more of them at once than there are cores
    finish no sooner, and would leave none for the other requests. Those that hash or wait for it
    are at most half of the threads.
    """
    cores = max(1, (os.cpu_count() or 1) // settings.web_concurrency)
    app.extensions["taskapi.passwords"] = threading.BoundedSemaphore(cores)
    app.extensions["taskapi.password_threads"] = threading.BoundedSemaphore(
        max(cores, settings.threads // 2)
    )


def normalise(password: str) -> str:
    """Return the form in which a password is hashed (RFC 8265, 4.2: OpaqueString).

    Keyboards and systems differ in how they compose letters, and in their spaces. No character is
    refused, as the RFC would have it: which ones are unassigned depends on the Python, and emoji
    are joined by characters that it forbids.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def hash_password(password: str) -> str:
    """Hash a password; raises `Busy` when too many wait for the same."""
    with _place():
        return _HASHES.hash(normalise(password))


def verify_password(password: str, password_hash: str | None) -> tuple[bool, str | None]:
    """Say whether the password is right, and its new hash where the old is out of date.

    Older hashes, and those from elsewhere, may be of the form that was typed. Takes as long without
    a hash (an unknown user) as with one. Raises `Busy`.
    """
    normalised = normalise(password)
    with _place():
        for form in dict.fromkeys((normalised, password)):
            matches, is_outdated = _verify_form(form, password_hash or _DECOY)
            if matches and password_hash:
                is_renewed = is_outdated or form != normalised
                return True, _HASHES.hash(normalised) if is_renewed else None
        return False, None


def _verify_form(password: str, password_hash: str) -> tuple[bool, bool]:
    """Whether a form of the password is right, and whether its hash is out of date."""
    try:
        if password_hash.startswith("$2"):
            password_bytes = password.encode()
            matches = _HASHES.verify(password_bytes[:_LONGEST_FOR_BCRYPT], password_hash)
            # What bcrypt did not look at was not verified: a new hash would make it count.
            return matches, len(password_bytes) < _LONGEST_FOR_BCRYPT
        matches, updated = _HASHES.verify_and_update(password, password_hash)
    except (UnknownHashError, ValueError):  # The latter is bcrypt's word for the same.
        return False, False
    return matches, updated is not None


def is_guessable(password: str, user_inputs: list[str]) -> bool:
    """Whether a million guesses find the password, given what is known of the user.

    Of a long password its start and its end are looked at, and one that is hard to guess is enough.
    Raises `Busy`.
    """
    from zxcvbn import zxcvbn

    starts = slice(None, _LONGEST_FOR_ZXCVBN)
    ends = slice(-_LONGEST_FOR_ZXCVBN, None)
    # zxcvbn keeps the inputs in a global variable.
    with _place(), _zxcvbn_lock:
        return all(
            zxcvbn(password[part], [text[part] for text in user_inputs])["score"] < _LOWEST_SCORE
            for part in (starts, ends)
        )


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
    threads: threading.BoundedSemaphore = current_app.extensions["taskapi.password_threads"]
    if not threads.acquire(blocking=False):
        raise Busy
    try:
        if not places.acquire(timeout=_PATIENCE_SECONDS):
            raise Busy
        try:
            yield
        finally:
            places.release()
    finally:
        threads.release()
