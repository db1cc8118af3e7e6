"""Configure connections to PostgreSQL: timeouts, type casters, liveness checks."""

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

_QUOTED_VALUE: Final = re.compile(
    r'^(connection to server .*? failed: |(?!connection to server ))(.*?)".*"', re.MULTILINE
)
WATCHDOG_GRACE_SECONDS: Final = 1.0
"""Time after `STATEMENT_TIMEOUT` in which the server should cancel the statement itself."""


class Cursor(psycopg2.extensions.cursor):
    """A cursor that records on its connection when a statement was sent."""

    def execute(self, query: Any, values: Any = None) -> None:
        """Send a statement and wait for its result."""
        connection: Any = self.connection
        connection.waiting_since = time.monotonic()
        try:
            super().execute(query, values)
        finally:
            connection.waiting_since = None


class Connection(psycopg2.extensions.connection):
    """A connection with its prepared statements and timeouts.

    `prepared` holds the prepared statements, or None if preparing is disabled. `timeouts` is SQL
    that precedes each statement if a pooler may switch the server behind the connection.
    `waiting_since` is the monotonic time at which the current statement was sent.
    """

    prepared: PreparedStatements | None = None
    timeouts = ""
    waiting_since: float | None = None


class Watchdog:
    """Shuts down connections whose server does not enforce the statement timeout.

    A frozen machine or a broken network leaves a connection open and silent, and a thread would
    wait on it for minutes. One thread of each process checks once a second.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._connections: WeakSet[Connection] = WeakSet()
        self._lock = threading.Lock()
        self._thread_pid = 0

    def watch(self, connection: Connection) -> None:
        """Watch a connection for as long as it exists."""
        with self._lock:
            self._connections.add(connection)
            # A forked process does not inherit the thread.
            if self._thread_pid != os.getpid() and start_thread(self._watch, name="watchdog"):
                self._thread_pid = os.getpid()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            with self._lock:
                connections = list(self._connections)
            for connection in connections:
                since = connection.waiting_since
                if since is not None and time.monotonic() - since > self._timeout_seconds:
                    self._shut_down(connection)

    def _shut_down(self, connection: Connection) -> None:
        with suppress(OSError, psycopg2.Error):
            duplicate = socket(fileno=os.dup(connection.fileno()))
            with duplicate:
                duplicate.shutdown(SHUT_RDWR)


_DEFAULT_PARAMETERS: Final = {
    "application_name": "taskapi",
    "connect_timeout": 2,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,
}

SESSION_OVERRIDES: Final = {
    "default_transaction_isolation": "read committed",
    "row_security": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
}
"""Settings that the statements require; they override those of server, database and role."""


def connect_args(url: str) -> dict[str, Any]:
    """Return libpq's connection parameters; those in the URL win, except for the encoding."""
    query = make_url(url).query
    defaults = {name: value for name, value in _DEFAULT_PARAMETERS.items() if name not in query}
    return {**defaults, "client_encoding": "utf8", "connection_factory": Connection}


def describe_error(error: BaseException) -> str:
    """Return the message of an error for the operator, without credentials.

    Of a connection error, only the server's address is kept of the quoted values. With a mistyped
    URL, libpq may quote a part of the password as the name of the user or the database.
    """
    message = str(error).strip()
    is_about_connection = isinstance(error, psycopg2.Error) and error.pgcode is None
    return _QUOTED_VALUE.sub(r'\1\2"…"', message) if is_about_connection else message


def configure_connection(
    settings: Settings, watchdog: Watchdog, connection: Connection, _record: object
) -> None:
    """Set timeouts, session settings and type casters of a new connection.

    Without prepared statements a pooler may switch the server for each transaction. Session
    settings would be lost, so the timeouts are then sent with every statement.
    """
    watchdog.watch(connection)
    timeouts = (
        f"SET {{}} statement_timeout = {round(settings.statement_timeout * 1000)}; "
        f"SET {{}} lock_timeout = {round(settings.lock_timeout * 1000)}; "
        "SET {} idle_in_transaction_session_timeout = 30000; "
    )
    with connection.cursor(cursor_factory=Cursor) as cursor:
        cursor.execute("SET timezone = 'UTC'")  # Poolers preserve this setting.
        if settings.prepare_statements:
            connection.prepared = PreparedStatements()
            cursor.execute(timeouts.format(*["SESSION"] * 3))
            cursor.execute(
                "; ".join(f"SET {name} = '{value}'" for name, value in SESSION_OVERRIDES.items())
            )
            # A cached plan must suit large tables, although the tables may still be small.
            cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        else:
            connection.timeouts = timeouts.format(*["LOCAL"] * 3)
    register_type(_UUID, connection)
    register_type(_TIMESTAMPTZ, connection)


def raise_if_disconnected(connection: Connection, _record: object, _proxy: object) -> None:
    """Raise `DisconnectionError` if the server has closed the connection; the pool replaces it."""
    # A closed connection has a last message or an end of file to read, an open one is silent
    # between statements. Polling the socket costs no round trip.
    poller = select.poll()
    try:
        poller.register(connection.fileno(), select.POLLIN)
    except psycopg2.InterfaceError:
        raise DisconnectionError from None
    if poller.poll(0):
        raise DisconnectionError


def invalidate_unless_idle(connection: Connection | None, record: ConnectionPoolEntry) -> None:
    """Invalidate a connection that is returned to the pool inside a transaction.

    Its rollback was cancelled, or a statement began a transaction of its own. The next statement
    would fail or become part of it. libpq knows the status without a round trip.
    """
    if connection is None or connection.closed:
        return
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        record.invalidate()


def _format_rfc3339(text: Any, _cursor: object) -> str | None:
    # PostgreSQL sends 2026-11-20 09:30:00.25+00: the connection has the time zone UTC.
    if text is None:
        return None
    if len(text) == 29 and text[10] == " ":
        # Nine of ten times have all six digits of the microseconds.
        return f"{text[:10]}T{text[11:26]}Z"
    seconds, _, fraction = text.removesuffix("+00").partition(".")
    return f"{seconds[:10]}T{seconds[11:]}.{fraction:0<6}Z"


_UUID: Final = new_type((2950,), "UUID", UNICODE)
_TIMESTAMPTZ: Final = new_type((1184,), "TIMESTAMPTZ", _format_rfc3339)
