"""What a connection to PostgreSQL is like: its limits, its types, and whether it is alive."""

from __future__ import annotations

import select
from typing import Any, Final

import psycopg2.extensions
from psycopg2.extensions import UNICODE, new_type, register_type
from sqlalchemy.exc import DisconnectionError

from taskapi.config import Settings


class Connection(psycopg2.extensions.connection):
    """A connection, and what is known of it.

    `prepared` has the names of what is prepared on it; None where nothing may be. `limits`
    goes before each statement where another server may be behind the connection each time.
    """

    prepared: set[str] | None = None
    limits = ""


CONNECT_ARGS: Final = {
    "application_name": "taskapi",
    "client_encoding": "utf8",
    "connect_timeout": 2,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,
    "connection_factory": Connection,
}


def set_up(settings: Settings, connection: Connection, _record: object) -> None:
    """Make a new connection ours."""
    limits = (
        f"SET {{}} statement_timeout = {round(settings.statement_timeout * 1000)}; "
        f"SET {{}} lock_timeout = {round(settings.lock_timeout * 1000)}; "
        "SET {} idle_in_transaction_session_timeout = 30000; "
    )
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")  # A pooler keeps this one for us.
        if settings.prepare_statements:
            connection.prepared = set()
            cursor.execute(limits.format(*["SESSION"] * 3))
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


def _to_rfc3339(text: Any, _cursor: object) -> str | None:
    # 2026-11-20 09:30:00.25+00, in the time zone of our connections, which is UTC.
    if text is None:
        return None
    seconds, _, fraction = text.removesuffix("+00").partition(".")
    return f"{seconds[:10]}T{seconds[11:]}.{fraction:0<6}Z"


_UUID: Final = new_type((2950,), "UUID", UNICODE)
_TIMESTAMPTZ: Final = new_type((1184,), "TIMESTAMPTZ", _to_rfc3339)
