"""Serve connections from gunicorn's threads directly with epoll, on Linux."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from gunicorn.http.wsgi import Response, create
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn

from taskapi.db.execute import fail_fast
from taskapi.server.worker import PortableWorker
from taskapi.threads import start_thread

_STANDBY_INTERVAL_SECONDS: Final = 0.02

_OVERDUE_AFTER_SECONDS: Final = 1.0
"""Wait for a thread after which a request gets a thread of its own."""

_MAX_HEAD_BYTES: Final = 64 * 1024
_LIVENESS_REQUESTS: Final = (b"GET /health/live ", b"HEAD /health/live ")

log = structlog.get_logger()


class _SendBuffer(list[bytes]):
    """Collects the bytes that are sent, in place of a socket."""

    sendall = list.append


class WholeResponse(Response):  # type: ignore[misc]
    """A response that sends its head together with the first part of its body.

    Two packets cost a tenth more CPU time, and wake the client twice.
    """

    sock: Any

    def write(self, part: bytes) -> None:
        """Send a part of the body; the first part follows the head in one packet."""
        if self.headers_sent:
            super().write(part)
            return
        connection, buffer = self.sock, _SendBuffer()
        self.sock = buffer
        try:
            super().write(part)
        finally:
            self.sock = connection
        connection.sendall(b"".join(buffer))


class _ThreadPool:
    """Daemon threads that all run one function, in place of gunicorn's executor."""

    def __init__(self, count: int, serve: Callable[[], None]) -> None:
        for _ in range(count):
            threading.Thread(target=serve, daemon=True).start()

    def shutdown(self, wait: bool = False) -> None:
        """Do nothing: daemon threads end with the process."""


class EpollWorker(PortableWorker):
    """A threaded worker whose threads wait for requests on one shared epoll.

    For each request gunicorn's main thread takes a connection from its poller, passes it to a
    thread, is woken to take it back, and registers it again: a sixth of the CPU time. Here epoll
    gives each ready connection to one thread directly. The main thread accepts connections, and
    closes those that have been idle too long.

    A standby thread works while all others are busy. It answers liveness requests, since waiting
    for the database is no reason for a restart. It also starts a thread for each overdue request,
    which fails fast if the connection pool is exhausted.
    """

    def init_process(self) -> None:
        """Create the state that the threads share, then start the worker."""
        # gunicorn looks up settings by name thirty times per request. Attributes are faster.
        self.cfg.__dict__.update(
            {name: setting.get() for name, setting in self.cfg.settings.items()}
        )
        self._epoll = select.epoll()
        # By file descriptor, longest idle first. The thread that removes a connection owns it.
        self._idle: dict[int, TConn] = {}
        # Ids of the threads without work. Adding to and removing from a set is atomic.
        self._idle_threads: set[int] = set()
        self._overdue_slots = threading.BoundedSemaphore(self.cfg.threads)
        super().init_process()

    def get_thread_pool(self) -> _ThreadPool:
        """Start the standby thread and the serving threads."""
        threading.Thread(target=self._run_standby, name="standby", daemon=True).start()
        return _ThreadPool(self.cfg.threads, self._serve)

    def enqueue_req(self, conn: TConn) -> None:
        """Register a new connection; a thread serves it once data arrive."""
        if len(self._idle) > self.max_keepalived:
            for longest in list(self._idle)[:1]:  # Threads may have taken all of them.
                self._close_idle(longest)
        conn.data_ready = True
        conn.waiting_since = None
        self._wait_for_data(conn, self._epoll.register)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections that have been idle too long, or with `force` all idle ones."""
        now = time.monotonic()
        for descriptor, conn in list(self._idle.items()):
            if conn.timeout > now and not force:
                break
            self._close_idle(descriptor)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in list(self._idle.values()):
            conn.timeout = min(conn.timeout, deadline)

    def _close_idle(self, descriptor: int) -> None:
        if conn := self._idle.pop(descriptor, None):
            self._epoll.unregister(descriptor)
            self.nr_conns -= 1
            conn.close()

    def _decrement_connections(self) -> None:
        self.nr_conns -= 1

    def _wait_for_data(self, conn: TConn, register: Callable[[int, int], None]) -> None:
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        descriptor = conn.sock.fileno()
        self._idle[descriptor] = conn
        try:
            register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        except (OSError, ValueError):
            # The main thread has closed the connection meanwhile.
            if self._idle.pop(descriptor, None):
                conn.close()
                self.method_queue.defer(self._decrement_connections)

    def _serve(self) -> None:
        thread_id = threading.get_ident()
        while True:
            self._idle_threads.add(thread_id)
            ready = self._epoll.poll(maxevents=1)
            self._idle_threads.discard(thread_id)
            for descriptor, _ in ready:
                # The main thread may have closed it meanwhile, as idle for too long.
                if conn := self._idle.pop(descriptor, None):
                    self._handle_connection(conn)

    def _run_standby(self) -> None:
        while True:
            time.sleep(_STANDBY_INTERVAL_SECONDS)
            if self._idle_threads:
                continue
            for descriptor, _ in self._epoll.poll(0):
                if conn := self._idle.pop(descriptor, None):
                    self._handle_standby(conn)

    def _handle_standby(self, conn: TConn) -> None:
        now = time.monotonic()
        conn.waiting_since = conn.waiting_since or now
        if _peek(conn, 32).startswith(_LIVENESS_REQUESTS):
            self._handle_connection(conn)
        elif (
            now - conn.waiting_since > _OVERDUE_AFTER_SECONDS
            # A thread must not wait for the rest of the request of a slow client.
            and b"\r\n\r\n" in _peek(conn, _MAX_HEAD_BYTES)
            and self._overdue_slots.acquire(blocking=False)
        ):
            if not start_thread(self._handle_failing_fast, conn, name="overdue"):
                self._overdue_slots.release()
                self._wait_for_data(conn, self._epoll.modify)
        else:
            self._wait_for_data(conn, self._epoll.modify)

    def _handle_failing_fast(self, conn: TConn) -> None:
        try:
            fail_fast.set(True)
            self._handle_connection(conn)
        finally:
            self._overdue_slots.release()

    def handle_request(self, request: Any, conn: TConn) -> bool:
        """Call the application and send its response; return whether to keep the connection."""
        response, environ = create(
            request, conn.sock, conn.client, conn.server, self.cfg, WholeResponse
        )
        environ["wsgi.multithread"] = True
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive:
            response.force_close()
        try:
            body = self.wsgi(environ, response.start_response)
            try:
                for part in body:
                    response.write(part)
                response.close()
            finally:
                body.close()
        except Exception as error:
            if isinstance(error, OSError) or not response.headers_sent:
                raise
            # The client would take an error response for the rest of the body.
            self._log_aborted(error)
            close_graceful(conn.sock)
            return False
        return not response.should_close()

    def _handle_connection(self, conn: TConn) -> None:
        is_kept = False
        conn.waiting_since = None
        try:
            is_kept = self.handle(conn)
            while is_kept and conn.parser.unreader.buf.getvalue():
                is_kept = self.handle(conn)  # Pipelined request.
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the thread continues
            is_kept = False
            self._log_aborted(error)
        if is_kept:
            self._wait_for_data(conn, self._epoll.modify)
        else:
            # After an aborted response the socket is closed and has left the epoll.
            if conn.sock.fileno() >= 0:
                self._epoll.unregister(conn.sock.fileno())
                # Not in the main thread, which accepts: closing waits for the client to close.
                conn.close(graceful=True)
            self.method_queue.defer(self._decrement_connections)  # The main thread counts.

    def _log_aborted(self, error: BaseException) -> None:
        # Only the type: a traceback may quote the request.
        log.error("request_aborted", error=type(error).__name__)


def _peek(conn: TConn, length: int) -> bytes:
    try:
        data: bytes = conn.sock.recv(length, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # TLS sockets refuse MSG_PEEK.
        return b""
    return data
