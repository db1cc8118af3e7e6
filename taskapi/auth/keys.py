"""The keys that an issuer outside publishes (RFC 7517), kept at hand.

Whoever has a key that is known never waits for the issuer: keys are refreshed beside the
requests, and old ones serve while it is away.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import orjson
import structlog
from jwt import PyJWK, PyJWTError

from taskapi.auth.exceptions import IssuerUnavailable, TokenInvalid
from taskapi.settings import VERSION
from taskapi.threads import start_thread

_FRESH_SECONDS = 300
_ASK_AGAIN_SECONDS = 30
_ASK_AGAIN_WITHOUT_KEYS_SECONDS = 5
_PATIENCE_SECONDS = 2
_DEADLINE_SECONDS = 4  # Less than any pause, so that one answer at a time is waited for.
_LONGEST_ANSWER = 256 * 1024  # bytes
_SHORTEST_RSA_KEY = 2048  # bits (RFC 7518, 3.3)

# What signs in which way is the key's to say, never the token's.
_ALGORITHMS: Final = {"EdDSA", "ES256", "RS256"}

log = structlog.get_logger()


class KeySet:
    """The keys of one issuer. At most `places` threads wait for it at a time."""

    def __init__(self, url: str, places: int) -> None:
        self._url = url
        self._places = threading.BoundedSemaphore(places)
        self._lock = threading.Lock()
        self._keys: dict[str | None, PyJWK] = {}
        self._generation = 0
        self._fetched_at = self._asked_at = self._asked_for_unknown_at = float("-inf")
        self._last_answer_was_good = False
        self._is_answered = threading.Event()
        self._is_answered.set()

    def learn(self) -> None:
        """Ask for the keys and wait for them, though not for long."""
        self._ask(for_unknown_key=False).wait(_PATIENCE_SECONDS)

    def generation(self) -> int:
        """Return a number that grows when keys are withdrawn or replaced.

        Where the keys are no longer fresh, they are asked for beside the request.
        """
        if time.monotonic() - self._fetched_at > _FRESH_SECONDS:
            self._ask(for_unknown_key=False)
        return self._generation

    def find(self, key_id: str | None) -> PyJWK:
        """Return a key; a token without a key id may mean the only one there is.

        Raises `TokenInvalid` for a key that the issuer does not publish, and
        `IssuerUnavailable` where that cannot be known.
        """
        key = self._choose(key_id)
        if key is not None:
            return key
        is_answered = self._ask(for_unknown_key=True)
        if not is_answered.is_set():
            # Only some may wait, so that there are threads left for those whose key is known.
            if not self._places.acquire(blocking=False):
                raise IssuerUnavailable
            try:
                if not is_answered.wait(_PATIENCE_SECONDS):
                    raise IssuerUnavailable
            finally:
                self._places.release()
        key = self._choose(key_id)
        if key is None:
            raise TokenInvalid if self._last_answer_was_good else IssuerUnavailable
        return key

    def _choose(self, key_id: str | None) -> PyJWK | None:
        keys = self._keys
        if key_id is None and len(keys) == 1:
            [key] = keys.values()
            return key
        return keys.get(key_id)

    def _ask(self, *, for_unknown_key: bool) -> threading.Event:
        """Ask the issuer, unless that is being done or was a moment ago.

        An unknown key may be a new one, and asks even so, but that once. The event says that
        the last answer has come, or will not.
        """
        with self._lock:
            now = time.monotonic()
            pause = _ASK_AGAIN_SECONDS if self._keys else _ASK_AGAIN_WITHOUT_KEYS_SECONDS
            is_due = now - self._asked_at >= pause
            may_be_new = for_unknown_key and self._last_answer_was_good
            if may_be_new and self._is_answered.is_set():
                is_due = now - self._asked_for_unknown_at >= pause
            if is_due:
                self._asked_at = now
                if may_be_new:
                    self._asked_for_unknown_at = now
                self._is_answered = threading.Event()
                if not start_thread(self._refresh, self._is_answered, name="issuer's keys"):
                    self._last_answer_was_good = False
                    self._is_answered.set()
            return self._is_answered

    def _refresh(self, is_answered: threading.Event) -> None:
        try:
            keys = fetch_keys(self._url)
        except (OSError, HTTPException, ValueError, RuntimeError) as error:
            self._last_answer_was_good = False
            # Not what it says, which may quote the answer.
            reason = getattr(error, "strerror", None) or type(error).__name__
            log.warning("issuer_unavailable", reason=reason)
        else:
            stays = all(_is_same(key, keys.get(key_id)) for key_id, key in self._keys.items())
            self._keys = keys
            self._generation += not stays
            self._fetched_at = time.monotonic()
            self._last_answer_was_good = True
        finally:
            is_answered.set()


def fetch_keys(url: str) -> dict[str | None, PyJWK]:
    """Get the set and read it. Raises OSError, HTTPException, ValueError.

    Redirects are not followed: whose keys count is what the operator has written.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=_PATIENCE_SECONDS)
    connection.connect()
    # The time-out is for each packet; an issuer whose answer comes in drops is cut off.
    deadline = threading.Timer(_DEADLINE_SECONDS, _hang_up, (connection.sock,))
    deadline.daemon = True
    try:
        deadline.start()  # RuntimeError where the system starts no more threads.
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"Accept": "application/json", "User-Agent": f"taskapi/{VERSION}"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise ValueError("the answer is no success")
        document = orjson.loads(response.read(_LONGEST_ANSWER))
    finally:
        deadline.cancel()
        connection.close()
    published = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(published, list):
        raise ValueError("the answer is no set of keys")  # noqa: TRY004 -- its content, not ours
    return {key.key_id: key for jwk in published if (key := _usable(jwk)) is not None}


def _hang_up(line: socket) -> None:
    with suppress(OSError):
        line.shutdown(SHUT_RDWR)


def _usable(jwk: object) -> PyJWK | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(jwk.get("kid"), str | None):
        return None
    try:
        key = PyJWK.from_dict(jwk)
    except (PyJWTError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    if key.algorithm_name not in _ALGORITHMS or jwk.get("crv") == "Ed448":
        return None
    if key.key_type == "RSA" and key.key.key_size < _SHORTEST_RSA_KEY:
        return None
    return key


def _is_same(key: PyJWK, other: PyJWK | None) -> bool:
    return other is not None and bool(key.key == other.key)
