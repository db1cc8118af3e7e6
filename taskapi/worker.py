"""gunicorn's threads, with the differences that what they serve asks for."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.wsgi import Response, create
from gunicorn.util import close_graceful, write_nonblock
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker
from uuid_utils import uuid4

from taskapi.errors import REFUSALS, problem_document

_STATUSES: dict[type[Exception], int] = {
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}

log = structlog.get_logger()


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own words, without a line for each request: the application writes that."""

    def access(self, *_request: Any) -> None:
        """Say nothing, and above all gather nothing."""


class PortableWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that answers and logs unreadable requests in our own way.

    gunicorn's own page is HTML, and its log line quotes the request: where a length was
    wrong, that is the body of a login.
    """

    def handle_exit(self, signal_number: int, frame: Any) -> None:
        """Finish what has begun, and let nobody wait any longer."""
        super().handle_exit(signal_number, frame)
        if app := getattr(self, "wsgi", None):  # It may not have been loaded yet.
            app.extensions["taskapi.waiting"].close()

    def handle_error(self, _request: Any, client: Any, address: Any, error: Exception) -> None:
        """Refuse a request that could not be read."""
        status = 400 if isinstance(error, ParseException) else 500
        status = _STATUSES.get(type(error), status)
        request_id = uuid4().hex
        structlog.contextvars.clear_contextvars()
        log.warning(
            "request_unreadable",
            status=status,
            error=type(error).__name__,
            client=address[0] if address else None,
            request_id=request_id,
        )
        document = problem_document(status, *REFUSALS[status], request_id)
        body = orjson.dumps(document)
        head = (
            f"HTTP/1.1 {status} {document['title']}\r\n"
            "Connection: close\r\n"
            "Content-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"X-Request-ID: {request_id}\r\n\r\n"
        )
        try:
            write_nonblock(client, head.encode() + body)
        except OSError:
            # Whoever cannot form a request often does not wait for the answer either.
            return


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
    """

    def init_process(self) -> None:
        """Make what the threads share before they start."""
        # gunicorn looks each setting up by name, thirty times in a request; as attributes
        # they are at hand.
        self.cfg.__dict__.update({name: one.get() for name, one in self.cfg.settings.items()})
        self._epoll = select.epoll()
        # By file descriptor, the longest idle first. Whoever takes one out of it owns it.
        self._idle: dict[int, TConn] = {}
        super().init_process()

    def get_thread_pool(self) -> _Threads:
        """Start the threads."""
        return _Threads(self.cfg.threads, self._serve)

    def enqueue_req(self, conn: TConn) -> None:
        """Let a thread have the new connection as soon as it says something."""
        if len(self._idle) > self.max_keepalived:
            for longest in list(self._idle)[:1]:  # Threads may have taken all meanwhile.
                self._drop(longest)
        conn.data_ready = True
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
        watch(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def _serve(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll(maxevents=1):
                # It may have been idle for too long at this very moment.
                if conn := self._idle.pop(descriptor, None):
                    self._answer(conn)

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
