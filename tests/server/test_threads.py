"""Where the system starts no more threads, work goes on with those that there are."""

import os
import queue
import select
import socket
import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from taskapi.auth.exceptions import IssuerUnavailable
from taskapi.auth.keys import KeySet
from taskapi.changes.long_poll import LongPoller
from taskapi.db.connections import Watchdog
from taskapi.server import epoll
from taskapi.server.epoll import EpollWorker


class Switch:
    """Whether threads start."""

    def __init__(self, monkeypatch):
        self.is_on = False
        start = threading.Thread.start

        def start_or_fail(thread):
            if not self.is_on:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_fail)


@pytest.fixture
def threads(monkeypatch):
    return Switch(monkeypatch)


class Connection(SimpleNamespace):
    """As much of gunicorn's connection as is looked at."""

    def set_timeout(self):
        self.timeout = 2**31

    def close(self):
        self.sock.close()


@pytest.fixture
def worker():
    worker = EpollWorker.__new__(EpollWorker)
    worker._epoll = select.epoll()
    worker._idle = {}
    worker._overdue_slots = threading.BoundedSemaphore(1)
    worker.alive = True
    worker.nr_conns = 1
    deferred: queue.SimpleQueue[Any] = queue.SimpleQueue()
    worker.method_queue = SimpleNamespace(defer=deferred.put, deferred=deferred)
    yield worker
    worker._epoll.close()


@pytest.fixture
def overdue(worker):
    """A connection whose whole request has waited for a thread for too long."""
    client, served = socket.socketpair()
    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    conn = Connection(sock=served, waiting_since=None)
    worker._wait_for_data(conn, worker._epoll.register)
    [(descriptor, _)] = worker._epoll.poll(1)
    conn = worker._idle.pop(descriptor)
    conn.waiting_since = -epoll._OVERDUE_AFTER_SECONDS
    yield conn
    client.close()
    served.close()


needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is epoll on Linux")


@needs_epoll
def test_an_overdue_request_without_a_thread_is_kept_and_tried_again(worker, overdue, threads):
    worker._handle_standby(overdue)

    [(descriptor, _)] = worker._epoll.poll(1)
    assert worker._idle[descriptor] is overdue
    assert worker._overdue_slots.acquire(blocking=False)


@needs_epoll
def test_an_overdue_request_is_answered_when_threads_start_again(worker, overdue, threads):
    worker._handle_standby(overdue)
    worker._idle.clear()
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
    worker._handle_connection = answered.put
    threads.is_on = True

    worker._handle_standby(overdue)

    assert answered.get(timeout=10) is overdue


@needs_epoll
def test_a_connection_that_closes_before_it_waits_ends_no_thread(worker, overdue):
    overdue.sock.close()

    worker._wait_for_data(overdue, worker._epoll.modify)

    assert worker._idle == {}
    worker.method_queue.deferred.get(timeout=1)()
    assert worker.nr_conns == 0


def test_a_client_that_waits_for_changes_gets_its_seat_all_the_same(app, threads):
    poller = LongPoller(app, slots=2)

    assert poller.wait("a", 0, seconds=0.01)

    assert poller._waiters == set()
    assert not poller._is_polling  # So that the next one tries again.


def test_an_issuer_that_cannot_be_asked_is_away_and_nobody_waits(threads):
    keys = KeySet("http://127.0.0.1:9/none", max_waiting_threads=1)

    with pytest.raises(IssuerUnavailable):
        keys.find("a")

    assert keys._fetch_done.is_set()


def test_a_connection_is_watched_as_soon_as_a_thread_starts(threads):
    watchdog = Watchdog(5)
    connection: Any = Mock(waiting_since=None)
    watchdog.watch(connection)
    assert watchdog._thread_pid == 0
    threads.is_on = True

    watchdog.watch(connection)

    assert watchdog._thread_pid == os.getpid()
