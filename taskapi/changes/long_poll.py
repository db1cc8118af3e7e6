"""Hold long polls open without a connection to the database.

While requests wait, one thread of the process reads the change counters of their users, four times
a second, with one statement for all of them. Unlike LISTEN, this works through PgBouncer; unlike
NOTIFY, it costs the writers nothing.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from select import POLLIN, poll
from typing import Final

import psycopg2
from flask import Flask, request
from sqlalchemy import ARRAY, String, bindparam, func, select

from taskapi.auth.models import User
from taskapi.db.execute import SYSTEM, execute
from taskapi.exceptions import Unavailable
from taskapi.extension import Extension
from taskapi.observability.metrics import waiters
from taskapi.settings import Settings
from taskapi.threads import start_thread

_MAX_SHARE_PER_USER: Final = 0.75  # of the slots, so that no user takes all of them
_POLL_INTERVAL_SECONDS: Final = 0.25
_COUNTERS = select(User.id, User.change_seq).where(
    User.id == func.any(bindparam("owners", type_=ARRAY(String)))
)

LONG_POLLER: Final[Extension[LongPoller]] = Extension("waiting")


def init_app(app: Flask, settings: Settings) -> None:
    """Provide slots for a share of the threads; the others stay free for other requests."""
    slots = int(settings.threads * settings.changes_wait_share)
    LONG_POLLER.set(app, LongPoller(app, slots))


def wait_for_change(user_id: str, known: int, seconds: float) -> bool:
    """Wait until the user's change counter exceeds `known`, for at most `seconds`.

    Return False at once if no slot is free, or as soon as the client disconnects.
    """
    return LONG_POLLER.get().wait(user_id, known, seconds, request.environ.get("gunicorn.socket"))


class _Waiter:
    def __init__(self, user_id: str, known: int, connection: socket.socket | None) -> None:
        self.user_id = user_id
        self.known = known
        self.connection = connection
        self.is_woken = threading.Event()
        self.is_disconnected = False


class LongPoller:
    """The waiting requests of this process, and the thread that polls the database for them."""

    def __init__(self, app: Flask, slots: int) -> None:
        self._app = app
        self._slots = slots
        self._slots_per_user = math.ceil(slots * _MAX_SHARE_PER_USER)
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._is_polling = False
        self._is_closed = False

    def wait(
        self, user_id: str, known: int, seconds: float, connection: socket.socket | None = None
    ) -> bool:
        """Wait as `wait_for_change` does; `connection` is the client's, to detect its closing."""
        waiter = _Waiter(user_id, known, connection)
        with self._lock:
            own = sum(other.user_id == user_id for other in self._waiters)
            if self._is_closed or len(self._waiters) >= self._slots or own >= self._slots_per_user:
                return False
            self._waiters.add(waiter)
            waiters.inc()
            if not self._is_polling:
                # If no thread can start, this client waits to the end, and the next one retries.
                self._is_polling = start_thread(self._poll, name="waiting")
        try:
            waiter.is_woken.wait(seconds)
        finally:
            waiters.dec()
            with self._lock:
                self._waiters.discard(waiter)
        return not waiter.is_disconnected

    def close(self) -> None:
        """Wake all waiting requests and accept no further ones, since the process is draining."""
        with self._lock:
            self._is_closed = True
            for waiter in self._waiters:
                waiter.is_woken.set()

    def _poll(self) -> None:
        try:
            while waiting := self._next_waiters():
                counters = self._read_counters({waiter.user_id for waiter in waiting})
                for waiter in waiting:
                    if counters.get(waiter.user_id, 0) > waiter.known:
                        waiter.is_woken.set()
        except BaseException:
            self._is_polling = False  # The next waiting request starts a new thread.
            raise

    def _next_waiters(self) -> tuple[_Waiter, ...]:
        """Return the waiters after the poll interval; without any, the thread ends."""
        time.sleep(_POLL_INTERVAL_SECONDS)
        with self._lock:
            waiting = tuple(self._waiters)
            self._is_polling = bool(waiting)
            # Under the lock, no waiter can leave and hand its connection to another thread.
            for waiter in _find_disconnected(waiting):
                waiter.is_disconnected = True
                waiter.is_woken.set()
        return waiting

    def _read_counters(self, owners: set[str]) -> dict[str, int]:
        try:
            with self._app.app_context():
                rows = execute(_COUNTERS, {"owners": sorted(owners)}, acting_as=SYSTEM)
        except (Unavailable, psycopg2.Error):
            return {}  # The requests go on waiting; their next read reports the outage.
        return {row["id"]: row["change_seq"] for row in rows}


def _find_disconnected(waiting: Iterable[_Waiter]) -> Iterator[_Waiter]:
    """Find the waiters with closed connections, to free their slots."""
    by_descriptor = {waiter.connection.fileno(): waiter for waiter in waiting if waiter.connection}
    poller = poll()
    for descriptor in by_descriptor:
        poller.register(descriptor, POLLIN)
    for descriptor, _ in poller.poll(0):
        waiter = by_descriptor[descriptor]
        if waiter.connection and _is_connection_closed(waiter.connection):
            yield waiter


def _is_connection_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
    except ValueError:
        return False  # A TLS socket refuses MSG_PEEK.
