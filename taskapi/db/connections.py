"""What a connection to PostgreSQL is like: its limits, its types, and whether it is alive."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import Any, Final
from weakref import WeakSet

import psycopg2.extensions
from psycopg2.extensions import (
    TRANSACTION_STATUS_IDLE,
    UNICODE,
    new_type,
    register_type,
)
from sqlalchemy import make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from taskapi.db.prepared import PreparedStatements
from taskapi.settings import Settings
from taskapi.threads import start_thread

_QUOTED: Final = re.compile(
    r'^(connection to server .*? failed: |(?!connection to server ))(.*?)".*"', re.MULTILINE
)
GRACE: Final = 1.0  # seconds beyond the time limit in which the server itself gives up


class Cursor(psycopg2.extensions.cursor):
    """A cursor whose connection knows since when it waits for an answer."""

    def execute(self, query: Any, values: Any = None) -> None:
        """Run a statement."""
        connection: Any = self.connection
        connection.waits_since = time.monotonic()
        try:
            super().execute(query, values)
        finally:
            connection.waits_since = None


class Connection(psycopg2.extensions.connection):
    """A connection, and what is known of it.

    `prepared` knows what is prepared on it; None where nothing may be. `limits`
    goes before each statement where another server may be behind the connection each time.
    """

    prepared: PreparedStatements | None = None
    limits = ""
    waits_since: float | None = None


class Watchdog:
    """Hangs up on a server that does not even say that the time limit is over.

    A frozen machine or a dead network leaves a connection open and silent, and whoever waits
    for it would wait for minutes. One thread of each process looks, once a second.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._connections: WeakSet[Connection] = WeakSet()
        self._lock = threading.Lock()
        self._watching_in = 0

    def watch(self, connection: Connection) -> None:
        """Look after a connection as long as there is one."""
        with self._lock:
            self._connections.add(connection)
            # A thread does not come along when a process forks.
            if self._watching_in != os.getpid() and start_thread(self._watch, name="watchdog"):
                self._watching_in = os.getpid()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            with self._lock:
                connections = list(self._connections)
            for connection in connections:
                since = connection.waits_since
                if since is not None and time.monotonic() - since > self._patience:
                    self._hang_up(connection)

    def _hang_up(self, connection: Connection) -> None:
        with suppress(OSError, psycopg2.Error):
            line = socket(fileno=os.dup(connection.fileno()))
            with line:
                line.shutdown(SHUT_RDWR)


_DEFAULTS: Final = {
    "application_name": "taskapi",
    "connect_timeout": 2,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,
}

OVERRULED: Final = {
    "default_transaction_isolation": "read committed",
    "row_security": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
}
"""Settings that statements rely on, whatever the server, the database or the role has."""


def connect_args(url: str) -> dict[str, Any]:
    """Return what is said to libpq beside the URL, which wins but for the encoding."""
    said = make_url(url).query
    chosen = {name: value for name, value in _DEFAULTS.items() if name not in said}
    return {**chosen, "client_encoding": "utf8", "connection_factory": Connection}


def explain(error: BaseException) -> str:
    """Return what an error says, for the operator.

    Of a failed connection nothing is repeated that it quotes but the server's address: whatever
    was mistyped, a part of the password may stand in the place of the user or the database.
    """
    said = str(error).strip()
    is_about_connection = isinstance(error, psycopg2.Error) and error.pgcode is None
    return _QUOTED.sub(r'\1\2"…"', said) if is_about_connection else said


def set_up(settings: Settings, watchdog: Watchdog, connection: Connection, _record: object) -> None:
    """Make a new connection ours."""
    watchdog.watch(connection)
    limits = (
        f"SET {{}} statement_timeout = {round(settings.statement_timeout * 1000)}; "
        f"SET {{}} lock_timeout = {round(settings.lock_timeout * 1000)}; "
        "SET {} idle_in_transaction_session_timeout = 30000; "
    )
    with connection.cursor(cursor_factory=Cursor) as cursor:
        cursor.execute("SET timezone = 'UTC'")  # A pooler keeps this one for us.
        if settings.prepare_statements:
            connection.prepared = PreparedStatements()
            cursor.execute(limits.format(*["SESSION"] * 3))
            cursor.execute(
                "; ".join(f"SET {name} = '{value}'" for name, value in OVERRULED.items())
            )
            # A plan that is kept must be one for large tables, however small they are yet.
            cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        else:
            connection.limits = limits.format(*["LOCAL"] * 3)
    register_type(_UUID, connection)
    register_type(_TIMESTAMPTZ, connection)


def replace_if_dead(connection: Connection, _record: object, _proxy: object) -> None:
    """Let the pool replace a connection whose server has hung up."""
    # A server that hung up has left its last word, or the end of the stream, to be read;
    # a living one is silent between statements. Asking the socket costs no round trip.
    poller = select.poll()
    try:
        poller.register(connection.fileno(), select.POLLIN)
    except psycopg2.InterfaceError:
        raise DisconnectionError from None
    if poller.poll(0):
        raise DisconnectionError


def discard_unless_idle(connection: Connection | None, record: ConnectionPoolEntry) -> None:
    """Let the pool replace a connection that comes back in the middle of a transaction.

    Its rollback was cancelled, or something began one by itself; the next statement would be
    refused, or be part of it. libpq knows the status without a round trip.
    """
    if connection is None or connection.closed:
        return
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        record.invalidate()


def _to_rfc3339(text: Any, _cursor: object) -> str | None:
    # 2026-11-20 09:30:00.25+00, in the time zone of our connections, which is UTC.
    if text is None:
        return None
    if len(text) == 29 and text[10] == " ":
        # With all six digits of the microseconds, as nine of ten have them.
        return f"{text[:10]}T{text[11:26]}Z"
    seconds, _, fraction = text.removesuffix("+00").partition(".")
    return f"{seconds[:10]}T{seconds[11:]}.{fraction:0<6}Z"


_UUID: Final = new_type((2950,), "UUID", UNICODE)
_TIMESTAMPTZ: Final = new_type((1184,), "TIMESTAMPTZ", _to_rfc3339)
