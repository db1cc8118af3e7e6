"""How a statement reaches PostgreSQL, and on whose behalf.

A statement for a user travels in one message with the check of the session, the switch to
the role that row-level security binds, and the user's id; PostgreSQL runs the message as
one transaction. One round trip does what BEGIN, SET, the statement and COMMIT need four
for, and who asked is forgotten when it ends.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg2
import structlog
from flask import Flask, current_app
from sqlalchemy import Connection, Engine, Executable, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from taskapi.config import Settings
from taskapi.exceptions import (
    Busy,
    DatabaseNotReady,
    DatabaseUnavailable,
    SessionEnded,
)
from taskapi.extensions import db

ROLE: Final = "taskapi_user"
"""The role that statements for users run as; it owns nothing and bypasses nothing."""

SESSION_ENDED: Final = "TA401"
"""The SQLSTATE that the function `taskapi_check_session` raises."""

_CHECK_SESSION: Final = "SELECT taskapi_check_session(%(acting_session_id)s, %(acting_user_id)s); "
_ACT_AS_USER: Final = f"SET LOCAL ROLE {ROLE}; SET LOCAL taskapi.user_id = %(acting_user_id)s; "

# The SQLSTATEs (and classes of them) that tell of the server's state, not of the statement:
# connection, resources, shutdown, system, then a standby, a lock or the time limit.
_OUTAGES: Final = (
    *("08", "53", "57P", "58"),
    *("25006", "55P03", "57014", "40001", "40P01"),
)

log = structlog.get_logger()


class Actor(NamedTuple):
    """The user on whose behalf a statement runs, and the session that says so.

    There is no session where somebody else says who asks: an issuer outside, a gateway.
    """

    user_id: str
    session_id: str | None = None


class System:
    """Not a user but the service itself: log-in look-ups, migrations, maintenance."""


SYSTEM: Final = System()


def init_app(app: Flask, settings: Settings, prepare: Callable[[Engine], None]) -> None:
    """Bind the engine; `prepare` makes the database fit to serve before its first use."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": settings.threads,
        "max_overflow": 0,
        "pool_timeout": settings.pool_timeout,
        "connect_args": {
            "application_name": "taskapi",
            "client_encoding": "utf8",
            "connect_timeout": 2,
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,
        },
    }
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    app.extensions["taskapi.database"] = _Gate(engine, prepare, settings.pool_timeout)

    @event.listens_for(engine, "connect")
    def set_limits(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SET statement_timeout = %s; SET lock_timeout = %s; SET timezone = 'UTC'; "
                "SET idle_in_transaction_session_timeout = '30s'",
                (round(settings.statement_timeout * 1000), round(settings.lock_timeout * 1000)),
            )

    event.listen(engine, "checkout", _replace_if_dead)
    event.listen(engine, "before_cursor_execute", _say_who_asks, retval=True)
    event.listen(engine, "handle_error", _translate)


def prepare() -> None:
    """Make the database fit to serve, as its first use would.

    Raises `DatabaseUnavailable` where it is away, `DatabaseNotReady` where it cannot serve.
    """
    _gate().enter()


def execute(
    statement: Executable,
    parameters: Mapping[str, Any] | None = None,
    *,
    acting_as: Actor | System,
) -> list[dict[str, Any]]:
    """Run one statement as a transaction of its own and return its rows.

    Raises `SessionEnded` where the actor's session is over, `Unavailable` where the
    database is away, busy or not yet prepared.
    """
    with _connect() as connection:
        result = connection.execute(
            statement, parameters, execution_options={"acting_as": acting_as}
        )
        if not result.returns_rows:
            return []
        keys = tuple(result.keys())
        return [dict(zip(keys, row, strict=True)) for row in result]


@contextmanager
def transaction(*, acting_as: Actor | System) -> Iterator[Connection]:
    """Run several statements as one transaction, all of them on the same behalf."""
    with _connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED", acting_as=acting_as)
        with connection.begin():
            yield connection


@contextmanager
def _connect() -> Iterator[Connection]:
    gate = _gate()
    gate.enter()
    try:
        connection = gate.engine.connect()
    except PoolTimeoutError:
        raise Busy from None
    except InvalidRequestError as error:
        # The pool gave up: connections died as fast as they were made.
        raise DatabaseUnavailable from error
    with connection:
        yield connection


def _gate() -> _Gate:
    gate: _Gate = current_app.extensions["taskapi.database"]
    return gate


class _Gate:
    """Lets statements through once the database has been prepared, which is tried until then."""

    def __init__(self, engine: Engine, prepare: Callable[[Engine], None], patience: float):
        self.engine = engine
        self._prepare = prepare
        self._patience = patience
        self._lock = threading.Lock()
        self._is_open = False

    def enter(self) -> None:
        if self._is_open:
            return
        if not self._lock.acquire(timeout=self._patience):
            raise DatabaseNotReady
        try:
            if not self._is_open:
                self._prepare(self.engine)
                self._is_open = True
        finally:
            self._lock.release()


def _say_who_asks(
    _connection: Connection,
    _cursor: object,
    statement: str,
    parameters: Any,
    context: Any,
    _executemany: bool,
) -> tuple[str, Any]:
    acting_as = context.execution_options.get("acting_as")
    if acting_as is SYSTEM:
        return statement, parameters
    if not isinstance(acting_as, Actor):
        raise TypeError("A statement must say on whose behalf it runs: acting_as=Actor or SYSTEM.")
    who = {"acting_user_id": acting_as.user_id, "acting_session_id": acting_as.session_id}
    check = _CHECK_SESSION if acting_as.session_id else ""
    return check + _ACT_AS_USER + statement, {**parameters, **who}


def _replace_if_dead(connection: Any, _record: object, _proxy: object) -> None:
    # A server that hung up has left its last word, or the end of the stream, to be read;
    # a living one is silent between statements. Asking the socket costs no round trip.
    poller = select.poll()
    try:
        poller.register(connection.fileno(), select.POLLIN)
    except psycopg2.InterfaceError:
        raise DisconnectionError from None
    if poller.poll(0):
        raise DisconnectionError


def _translate(context: ExceptionContext) -> None:
    error = context.original_exception
    if not isinstance(error, psycopg2.Error):
        return
    if error.pgcode == SESSION_ENDED:
        raise SessionEnded from None
    lost = context.is_disconnect or (
        error.pgcode is None and isinstance(error, psycopg2.OperationalError)
    )
    if lost or (error.pgcode or "").startswith(_OUTAGES):
        # Only a lost connection's text is free of what the statement was about.
        log.warning(
            "database_unavailable",
            sqlstate=error.pgcode,
            reason=str(error).strip() if lost else type(error).__name__,
        )
        raise DatabaseUnavailable from error
