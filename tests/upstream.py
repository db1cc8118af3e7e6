"""A server in the service's place that keeps what nginx sends on."""

from __future__ import annotations

import socketserver
import threading
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
            if path == "/be-silent":
                self.server.closing.wait(20)
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


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
