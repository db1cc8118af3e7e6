"""What goes over the wire to PostgreSQL, read between the service and the server."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url

STARTUP = 0
"""The first message has no type (PostgreSQL's documentation, Message Formats)."""

PREPARATION = r"(DEALLOCATE \w+; )?DO \$do\$ BEGIN EXECUTE \$prepare\$PREPARE (?s:.*?) END \$do\$; "
"""What goes before a message that prepares its statement, as a regular expression."""


class Wire:
    """A server on loopback that passes everything on and keeps what the client says."""

    def __init__(self, database_url: str) -> None:
        self._target = make_url(database_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        # Unencrypted, so that it can be read here.
        self.url = self._target.set(
            host="127.0.0.1", port=self._listener.getsockname()[1], query={"sslmode": "disable"}
        ).render_as_string(hide_password=False)
        self.messages: list[str] = []
        """The SQL of each message, in the order of their coming."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                threading.Thread(target=self._listen, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        directory = self._target.query.get("host") or self._target.host or "127.0.0.1"
        port = self._target.port or 5432
        if not str(directory).startswith("/"):
            return socket.create_connection((str(directory), port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{directory}/.s.PGSQL.{port}")
        return server

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client.makefile("rb") as stream:
            kind = STARTUP
            while head := stream.read(4 if kind == STARTUP else 5):
                body = stream.read(struct.unpack("!I", head[-4:])[0] - 4)
                kind = head[0] if kind != STARTUP else -1
                if kind == ord("Q"):
                    self.messages.append(body.rstrip(b"\0").decode())
                server.sendall(head + body)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def tapped(database_url: str) -> Iterator[Wire]:
    """Put a wire that can be read before a database."""
    wire = Wire(database_url)
    try:
        yield wire
    finally:
        wire.close()
