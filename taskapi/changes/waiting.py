"""Waiting for a change without holding a connection to the database.

One thread of the process asks for all who wait, a few times a second and only while
somebody does: a statement for each look, however many wait. It works through PgBouncer,
which LISTEN does not, and costs those who write nothing, which NOTIFY does.
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

_SHARE_OF_ONE: Final = 0.75  # Nobody keeps all others standing.
_PAUSE: Final = 0.25  # seconds between two looks
_COUNTERS = select(User.id, User.change_seq).where(
    User.id == func.any(bindparam("owners", type_=ARRAY(String)))
)

WAITING_ROOM: Final[Extension[WaitingRoom]] = Extension("waiting")


def init_app(app: Flask, settings: Settings) -> None:
    """Provide seats for a share of the threads; the others go on answering."""
    seats = int(settings.threads * settings.changes_wait_share)
    WAITING_ROOM.set(app, WaitingRoom(app, seats))


def wait_for_change(user_id: str, known: int, seconds: float) -> bool:
    """Wait until this owner has changed something after the change `known`, or the time is over.

    Return False at once where no seat is free, or as soon as the client has gone.
    """
    room = WAITING_ROOM.get()
    return room.wait(user_id, known, seconds, request.environ.get("gunicorn.socket"))


class _Waiter:
    def __init__(self, user_id: str, known: int, connection: socket.socket | None) -> None:
        self.user_id = user_id
        self.known = known
        self.connection = connection
        self.is_called = threading.Event()
        self.has_gone = False


class WaitingRoom:
    """Whoever waits in this process, and the thread that looks for them."""

    def __init__(self, app: Flask, seats: int) -> None:
        self._app = app
        self._seats = seats
        self._seats_of_one = math.ceil(seats * _SHARE_OF_ONE)
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._is_looking = False
        self._is_closed = False

    def wait(
        self, user_id: str, known: int, seconds: float, connection: socket.socket | None = None
    ) -> bool:
        """Wait as `wait_for_change` does, for the client of this connection."""
        waiter = _Waiter(user_id, known, connection)
        with self._lock:
            own = sum(one.user_id == user_id for one in self._waiters)
            if self._is_closed or len(self._waiters) >= self._seats or own >= self._seats_of_one:
                return False
            self._waiters.add(waiter)
            waiters.inc()
            if not self._is_looking:
                # Without a thread the client waits to the end, and the next one tries again.
                self._is_looking = start_thread(self._look, name="waiting")
        try:
            waiter.is_called.wait(seconds)
        finally:
            waiters.dec()
            with self._lock:
                self._waiters.discard(waiter)
        return not waiter.has_gone

    def close(self) -> None:
        """Let all go, and nobody in: the process is about to end."""
        with self._lock:
            self._is_closed = True
            for waiter in self._waiters:
                waiter.is_called.set()

    def _look(self) -> None:
        try:
            while waiting := self._see_who_waits():
                counters = self._ask({waiter.user_id for waiter in waiting})
                for waiter in waiting:
                    if counters.get(waiter.user_id, 0) > waiter.known:
                        waiter.is_called.set()
        except BaseException:
            self._is_looking = False  # Whoever comes next sends another one to look.
            raise

    def _see_who_waits(self) -> tuple[_Waiter, ...]:
        """Return those who wait after a pause; where there are none, nobody looks any longer."""
        time.sleep(_PAUSE)
        with self._lock:
            waiting = tuple(self._waiters)
            self._is_looking = bool(waiting)
            # With the lock, so that nobody else has its connection yet.
            for waiter in _gone(waiting):
                waiter.has_gone = True
                waiter.is_called.set()
        return waiting

    def _ask(self, owners: set[str]) -> dict[str, int]:
        try:
            with self._app.app_context():
                rows = execute(_COUNTERS, {"owners": sorted(owners)}, acting_as=SYSTEM)
        except (Unavailable, psycopg2.Error):
            return {}  # They wait on, and hear of it when their time is over.
        return {row["id"]: row["change_seq"] for row in rows}


def _gone(waiting: Iterable[_Waiter]) -> Iterator[_Waiter]:
    """Find those whose clients have closed their connection: a seat is not kept for them."""
    by_descriptor = {one.connection.fileno(): one for one in waiting if one.connection}
    looked_at = poll()
    for descriptor in by_descriptor:
        looked_at.register(descriptor, POLLIN)
    for descriptor, _ in looked_at.poll(0):
        waiter = by_descriptor[descriptor]
        if waiter.connection and _has_ended(waiter.connection):
            yield waiter


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
    except ValueError:
        return False  # Into what is encrypted here nobody can look.
