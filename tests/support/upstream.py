"""A server in the service's place that keeps what nginx sends on."""

from __future__ import annotations

import queue
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Listener(socketserver.StreamRequestHandler):
    server: Upstream

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            head = [line]
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head.append(line)
            lengths = [one for one in head if one.lower().startswith(b"content-length:")]
            self.rfile.read(int(lengths[0].split(b":")[1]) if lengths else 0)
            request = b"".join(head).decode("latin-1").rstrip("\r\n")
            self.server.requests.append(request)
            path = request.split()[1]
            if path == "/break-off":
                return
            if path == "/endless":
                self._send_endlessly()
                return
            if path == "/be-silent" or "X-Be-Silent" in request:
                self.server.closing.wait(20)
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def _send_endlessly(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        self.connection.settimeout(2)
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += self.connection.send(b"a" * 65536)
        except OSError:
            pass
        self.server.stalled.put(sent)


class Upstream(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A server in the service's place that keeps what reaches it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Listener)
        self.path = path
        self.requests: list[str] = []
        """Request line and headers of each."""
        self.connections = 0
        self.closing = threading.Event()
        self.stalled: queue.Queue[int] = queue.Queue()

    def wait_for(self, number: int) -> None:
        """Wait until so many requests have come."""
        deadline = time.monotonic() + 10
        while len(self.requests) < number:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stalled_after(self) -> int:
        """Return how many bytes of an endless answer nobody takes any more."""
        return self.stalled.get(timeout=30)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: nginx hangs up on whom it does not need any more."""


@contextmanager
def listening_upstream(path: Path) -> Iterator[Upstream]:
    upstream = Upstream(path)
    threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield upstream
    finally:
        upstream.closing.set()
        upstream.shutdown()
        upstream.server_close()
