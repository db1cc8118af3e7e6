"""gunicorn's threads where there is epoll: they take what has arrived by themselves."""

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

_LOOK: Final = 0.02  # seconds
_LONG: Final = 1.0  # seconds; who has waited for a thread for so long gets one of its own
_LONGEST_HEAD: Final = 64 * 1024  # bytes
_ASKS_WHETHER_ALIVE: Final = (b"GET /health/live ", b"HEAD /health/live ")

log = structlog.get_logger()


class _Pieces(list[bytes]):
    """Takes what is sent."""

    sendall = list.append


class WholeResponse(Response):  # type: ignore[misc]
    """An answer whose head and first part are sent together.

    Two packets wake the client twice, and cost a tenth of the processor's time more.
    """

    sock: Any

    def write(self, part: bytes) -> None:
        """Send a part of the body, and before the first one the head."""
        if self.headers_sent:
            super().write(part)
            return
        connection, pieces = self.sock, _Pieces()
        self.sock = pieces
        try:
            super().write(part)
        finally:
            self.sock = connection
        connection.sendall(b"".join(pieces))


class _Threads:
    """What the worker starts and stops in place of an executor."""

    def __init__(self, count: int, serve: Callable[[], None]) -> None:
        for _ in range(count):
            threading.Thread(target=serve, daemon=True).start()

    def shutdown(self, wait: bool = False) -> None:
        """Do nothing: daemon threads end with the process."""


class EpollWorker(PortableWorker):
    """A worker whose threads take the next request that has arrived by themselves.

    gunicorn's main thread takes a connection from its poller, hands it to a thread, is woken
    to take it back and gives it to the poller again, for each request; that was a sixth of
    the processor's time. Here all threads wait on one epoll, which gives each connection
    that is ready to one of them. The main thread accepts, and closes what is idle for long.

    One thread more stands by while all others are busy. It answers whether the process is alive,
    since waiting for the database is no reason to be restarted; and whoever has waited for long
    it gives a thread of their own, to be told at once that there is no connection either.
    """

    def init_process(self) -> None:
        """Make what the threads share before they start."""
        # gunicorn looks each setting up by name, thirty times in a request; as attributes
        # they are at hand.
        self.cfg.__dict__.update({name: one.get() for name, one in self.cfg.settings.items()})
        self._epoll = select.epoll()
        # By file descriptor, the longest idle first. Whoever takes one out of it owns it.
        self._idle: dict[int, TConn] = {}
        # Those of the threads that have nothing to do; a set, since it is changed in one step.
        self._free: set[int] = set()
        self._more = threading.BoundedSemaphore(self.cfg.threads)
        super().init_process()

    def get_thread_pool(self) -> _Threads:
        """Start the threads."""
        threading.Thread(target=self._stand_by, name="standing by", daemon=True).start()
        return _Threads(self.cfg.threads, self._serve)

    def enqueue_req(self, conn: TConn) -> None:
        """Let a thread have the new connection as soon as it says something."""
        if len(self._idle) > self.max_keepalived:
            for longest in list(self._idle)[:1]:  # Threads may have taken all meanwhile.
                self._drop(longest)
        conn.data_ready = True
        conn.waits_since = None
        self._await(conn, self._epoll.register)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close the connections that have been idle for too long, or all that are idle."""
        now = time.monotonic()
        for descriptor, conn in list(self._idle.items()):
            if conn.timeout > now and not force:
                break
            self._drop(descriptor)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in list(self._idle.values()):
            conn.timeout = min(conn.timeout, deadline)

    def _drop(self, descriptor: int) -> None:
        if conn := self._idle.pop(descriptor, None):
            self._epoll.unregister(descriptor)
            self.nr_conns -= 1
            conn.close()

    def _uncount(self) -> None:
        self.nr_conns -= 1

    def _await(self, conn: TConn, watch: Callable[[int, int], None]) -> None:
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        descriptor = conn.sock.fileno()
        self._idle[descriptor] = conn
        try:
            watch(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        except (OSError, ValueError):
            # It was closed at this very moment; the thread goes on.
            if self._idle.pop(descriptor, None):
                conn.close()
                self.method_queue.defer(self._uncount)

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            self._free.add(me)
            ready = self._epoll.poll(maxevents=1)
            self._free.discard(me)
            for descriptor, _ in ready:
                # It may have been idle for too long at this very moment.
                if conn := self._idle.pop(descriptor, None):
                    self._answer(conn)

    def _stand_by(self) -> None:
        while True:
            time.sleep(_LOOK)
            if self._free:
                continue
            for descriptor, _ in self._epoll.poll(0):
                if conn := self._idle.pop(descriptor, None):
                    self._look_after(conn)

    def _look_after(self, conn: TConn) -> None:
        now = time.monotonic()
        conn.waits_since = conn.waits_since or now
        if _peek(conn, 32).startswith(_ASKS_WHETHER_ALIVE):
            self._answer(conn)
        elif (
            now - conn.waits_since > _LONG
            # Of a slow client nobody waits for the rest.
            and b"\r\n\r\n" in _peek(conn, _LONGEST_HEAD)
            and self._more.acquire(blocking=False)
        ):
            if not start_thread(self._answer_overdue, conn, name="overdue"):
                self._more.release()
                self._await(conn, self._epoll.modify)
        else:
            self._await(conn, self._epoll.modify)

    def _answer_overdue(self, conn: TConn) -> None:
        try:
            fail_fast.set(True)
            self._answer(conn)
        finally:
            self._more.release()

    def handle_request(self, request: Any, conn: TConn) -> bool:
        """Let the application answer; return whether the connection can be kept."""
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
            answer = self.wsgi(environ, response.start_response)
            try:
                for part in answer:
                    response.write(part)
                response.close()
            finally:
                answer.close()
        except Exception as error:
            if isinstance(error, OSError) or not response.headers_sent:
                raise
            # Another answer behind half of one would be taken for the rest of it.
            self._tell_aborted(error)
            close_graceful(conn.sock)
            return False
        return not response.should_close()

    def _answer(self, conn: TConn) -> None:
        is_kept = False
        conn.waits_since = None
        try:
            is_kept = self.handle(conn)
            while is_kept and conn.parser.unreader.buf.getvalue():
                is_kept = self.handle(conn)  # The next request came together with this one.
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the thread goes on
            is_kept = False
            self._tell_aborted(error)
        if is_kept:
            self._await(conn, self._epoll.modify)
        else:
            # Where an answer broke off, the socket is closed, and so in no epoll any more.
            if conn.sock.fileno() >= 0:
                self._epoll.unregister(conn.sock.fileno())
                # Here, since it waits for the client to close too, and the main thread accepts.
                conn.close(graceful=True)
            self.method_queue.defer(self._uncount)  # Where connections are counted.

    def _tell_aborted(self, error: BaseException) -> None:
        log.error("request_aborted", error=type(error).__name__)  # A trace may quote it.


def _peek(conn: TConn, length: int) -> bytes:
    try:
        said: bytes = conn.sock.recv(length, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):  # Of what is encrypted nothing can be seen.
        return b""
    return said
