"""Fetch and cache the public keys of an external issuer (JWKS, RFC 7517).

Requests with a cached key never wait for the issuer: a background thread refreshes the keys, and
cached keys stay valid while the issuer is unreachable.
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

_KEYS_FRESH_SECONDS = 300
_REFRESH_PAUSE_SECONDS = 30
_REFRESH_PAUSE_WITHOUT_KEYS_SECONDS = 5
_FETCH_TIMEOUT_SECONDS = 2
_FETCH_DEADLINE_SECONDS = 4  # Shorter than every pause, so that fetches never overlap.
_MAX_RESPONSE_BYTES = 256 * 1024
_MIN_RSA_KEY_BITS = 2048  # RFC 7518, 3.3

# The key determines the algorithm, never the token's header (RFC 8725, 3.1).
_ALGORITHMS: Final = {"EdDSA", "ES256", "RS256"}

log = structlog.get_logger()


class KeySet:
    """The cached keys of one issuer.

    At most `max_waiting_threads` threads wait for its response at the same time.
    """

    def __init__(self, url: str, max_waiting_threads: int) -> None:
        self._url = url
        self._waiting_slots = threading.BoundedSemaphore(max_waiting_threads)
        self._lock = threading.Lock()
        self._keys: dict[str | None, PyJWK] = {}
        self._generation = 0
        self._fetched_at = self._requested_at = self._requested_for_unknown_at = float("-inf")
        self._is_last_fetch_ok = False
        self._fetch_done = threading.Event()
        self._fetch_done.set()

    def prefetch(self) -> None:
        """Fetch the keys, and wait for them for up to two seconds."""
        self._start_refresh(for_unknown_key=False).wait(_FETCH_TIMEOUT_SECONDS)

    def get_generation(self) -> int:
        """Return a number that increases when keys are withdrawn or replaced.

        Keys older than five minutes are refreshed in the background.
        """
        if time.monotonic() - self._fetched_at > _KEYS_FRESH_SECONDS:
            self._start_refresh(for_unknown_key=False)
        return self._generation

    def find(self, key_id: str | None) -> PyJWK:
        """Return the key with this `kid`, or for None the only key of a single-key set.

        Raises `TokenInvalid` for a key that the issuer does not publish, and `IssuerUnavailable`
        if the issuer does not respond.
        """
        key = self._select_key(key_id)
        if key is not None:
            return key
        fetch_done = self._start_refresh(for_unknown_key=True)
        if not fetch_done.is_set():
            # The number of waiting threads is bounded: requests with a cached key need the others.
            if not self._waiting_slots.acquire(blocking=False):
                raise IssuerUnavailable
            try:
                if not fetch_done.wait(_FETCH_TIMEOUT_SECONDS):
                    raise IssuerUnavailable
            finally:
                self._waiting_slots.release()
        key = self._select_key(key_id)
        if key is None:
            raise TokenInvalid if self._is_last_fetch_ok else IssuerUnavailable
        return key

    def _select_key(self, key_id: str | None) -> PyJWK | None:
        keys = self._keys
        if key_id is None and len(keys) == 1:
            [key] = keys.values()
            return key
        return keys.get(key_id)

    def _start_refresh(self, *, for_unknown_key: bool) -> threading.Event:
        """Start a fetch unless one is running or recent; return the event of its end.

        An unknown key may be new, so it starts a fetch early, but only once per pause.
        """
        with self._lock:
            now = time.monotonic()
            pause = _REFRESH_PAUSE_SECONDS if self._keys else _REFRESH_PAUSE_WITHOUT_KEYS_SECONDS
            is_due = now - self._requested_at >= pause
            may_be_new = for_unknown_key and self._is_last_fetch_ok
            if may_be_new and self._fetch_done.is_set():
                is_due = now - self._requested_for_unknown_at >= pause
            if is_due:
                self._requested_at = now
                if may_be_new:
                    self._requested_for_unknown_at = now
                self._fetch_done = threading.Event()
                if not start_thread(self._refresh, self._fetch_done, name="issuer's keys"):
                    self._is_last_fetch_ok = False
                    self._fetch_done.set()
            return self._fetch_done

    def _refresh(self, fetch_done: threading.Event) -> None:
        try:
            keys = fetch_keys(self._url)
        except (OSError, HTTPException, ValueError, RuntimeError) as error:
            self._is_last_fetch_ok = False
            # The error's text is not logged, because it may quote the response.
            reason = getattr(error, "strerror", None) or type(error).__name__
            log.warning("issuer_unavailable", reason=reason)
        else:
            is_unchanged = all(
                _is_same_key(key, keys.get(key_id)) for key_id, key in self._keys.items()
            )
            self._keys = keys
            self._generation += not is_unchanged
            self._fetched_at = time.monotonic()
            self._is_last_fetch_ok = True
        finally:
            fetch_done.set()


def fetch_keys(url: str) -> dict[str | None, PyJWK]:
    """Fetch a JWK set and return its usable keys by `kid`.

    Redirects are not followed, so that only the configured URL supplies keys. Raises OSError,
    HTTPException, ValueError, and RuntimeError if the system starts no more threads.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=_FETCH_TIMEOUT_SECONDS)
    connection.connect()
    # The socket timeout applies to each packet; the timer also ends a slow, dripping response.
    deadline = threading.Timer(_FETCH_DEADLINE_SECONDS, _shut_down, (connection.sock,))
    deadline.daemon = True
    try:
        deadline.start()  # Raises RuntimeError if no thread can be started.
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"Accept": "application/json", "User-Agent": f"taskapi/{VERSION}"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise ValueError("the response status is not 200")
        document = orjson.loads(response.read(_MAX_RESPONSE_BYTES))
    finally:
        deadline.cancel()
        connection.close()
    published = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(published, list):
        raise ValueError("the response is not a JWK set")  # noqa: TRY004 -- the response's content
    return {key.key_id: key for jwk in published if (key := _parse_key(jwk)) is not None}


def _shut_down(connection: socket) -> None:
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)


def _parse_key(jwk: object) -> PyJWK | None:
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
    if key.key_type == "RSA" and key.key.key_size < _MIN_RSA_KEY_BITS:
        return None
    return key


def _is_same_key(key: PyJWK, other: PyJWK | None) -> bool:
    return other is not None and bool(key.key == other.key)
