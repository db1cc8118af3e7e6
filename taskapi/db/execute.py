"""How a statement reaches PostgreSQL, and on whose behalf.

A statement for a user travels in one message with the check of the session, the switch to
the role that row-level security binds, and the user's id; PostgreSQL runs the message as
one transaction. One round trip does what BEGIN, SET, the statement and COMMIT need four
for, and who asked is forgotten when it ends.

SQLAlchemy words the statements and keeps the connections, psycopg2 sends the words. What
SQLAlchemy would do around a statement and its result takes several times as long as
PostgreSQL needs to answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, cast

import psycopg2
import structlog
from flask import Flask, current_app, g
from sqlalchemy import ClauseElement, Engine, QueuePool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from taskapi.db.base import db
from taskapi.db.connections import (
    GRACE,
    Cursor,
    Watchdog,
    connect_args,
    discard_unless_idle,
    explain,
    replace_if_dead,
    set_up,
)
from taskapi.db.prepared import Statement, worded
from taskapi.exceptions import (
    Busy,
    DatabaseNotReady,
    DatabaseUnavailable,
    SessionEnded,
)
from taskapi.observability.metrics import connections_in_use, database_errors, pool_waits
from taskapi.settings import Settings

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

_NOT_PREPARED: Final = "26000"

# What was prepared is gone, or has been overtaken by a migration: a new connection mends it.
_STALE: Final = (_NOT_PREPARED, "0A000")

_WHILE: Final = 0.5  # seconds

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

Row = dict[str, Any]
"""A row as JSON has it: ids are text, and times are RFC 3339 in UTC with microseconds."""


class _Transaction(NamedTuple):
    """What has begun on a connection, and on whose behalf."""

    cursor: Any
    acting_as: Actor | System


has_waited: Final[ContextVar[bool]] = ContextVar("has_waited", default=False)
"""Whether whoever asks has waited for so long already that they wait for no stuck database."""

_transaction: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


def init_app(app: Flask, settings: Settings, prepare: Callable[[Engine], None]) -> None:
    """Bind the engine; `prepare` makes the database fit to serve before its first use."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": settings.threads,
        "max_overflow": 0,
        "pool_timeout": settings.pool_timeout,
        "pool_reset_on_return": None,  # What is not idle is discarded.
        "connect_args": connect_args(settings.database_url),
    }
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    app.extensions["taskapi.database"] = _Gate(engine, prepare, settings.pool_timeout)
    watchdog = Watchdog(settings.statement_timeout + GRACE)
    event.listen(engine, "connect", partial(set_up, settings, watchdog))
    event.listen(engine, "checkout", replace_if_dead)
    event.listen(engine, "checkin", discard_unless_idle)
    event.listen(engine, "before_cursor_execute", _refuse_unless_system)
    event.listen(engine, "handle_error", _translate_what_is_wrapped)


def prepare() -> None:
    """Make the database fit to serve, as its first use would.

    Raises `DatabaseUnavailable` where it is away, `DatabaseNotReady` where it cannot serve.
    """
    _gate().enter()


def prepare_anew() -> None:
    """Prepare the database again before its next use, since something about it has changed."""
    _gate().close()


def execute(
    statement: ClauseElement,
    parameters: Mapping[str, Any] | None = None,
    *,
    acting_as: Actor | System,
    time_limit: float | None = None,
) -> list[Row]:
    """Run one statement and return its rows; outside of a `transaction` it is one by itself.

    `time_limit` are the seconds that it may run, where these are fewer than usual; a statement
    within a `transaction` has none of its own.

    Raises `SessionEnded` where the actor's session is over, `Unavailable` where the
    database is away, busy or not yet prepared.
    """
    who_asks = _say_who_asks(acting_as)
    if time_limit is not None:
        limit = f"SET LOCAL statement_timeout = {round(time_limit * 1000)}; "
        who_asks = (who_asks[0] + limit, who_asks[1])
    if begun := _transaction.get():
        return _send(_joined(begun, acting_as), worded(statement), parameters)
    with _cursor() as cursor:
        return _send(cursor, worded(statement), parameters, who_asks)


@contextmanager
def transaction(*, acting_as: Actor | System) -> Iterator[None]:
    """Make one transaction of the statements that run inside, all of them on the same behalf.

    Inside of another it is a part that can be undone by itself. Whatever raises, undoes.
    """
    who_asks, who = _say_who_asks(acting_as)
    if begun := _transaction.get():
        cursor = _joined(begun, acting_as)
        with _undone_on_error(cursor, "SAVEPOINT part", "ROLLBACK TO part; RELEASE part"):
            yield
        cursor.execute("RELEASE part")  # Or the next one out would have its name for nothing.
        return
    with _cursor() as cursor:
        token = _transaction.set(_Transaction(cursor, acting_as))
        try:
            with _undone_on_error(cursor, f"BEGIN; {who_asks}", "ROLLBACK", who):
                yield
        finally:
            _transaction.reset(token)
        cursor.execute("COMMIT")
        if cursor.statusmessage != "COMMIT":
            # PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, without an error.
            raise RuntimeError("A statement of this transaction failed; nothing of it was kept.")


def _joined(begun: _Transaction, acting_as: Actor | System) -> Any:
    if acting_as != begun.acting_as:
        raise TypeError("A transaction is on one behalf; this statement is on another.")
    return begun.cursor


@contextmanager
def _undone_on_error(
    cursor: Any, begin: str, undo: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[None]:
    try:
        cursor.execute(begin, parameters)
        yield
    except BaseException:
        with suppress(psycopg2.Error):  # What went wrong first is what is told.
            cursor.execute(undo)
        raise


def _say_who_asks(acting_as: Actor | System) -> tuple[str, dict[str, Any]]:
    if acting_as is SYSTEM:
        return "", {}
    if not isinstance(acting_as, Actor):
        raise TypeError("A statement must say on whose behalf it runs: acting_as=Actor or SYSTEM.")
    who = {"acting_user_id": acting_as.user_id, "acting_session_id": acting_as.session_id}
    return (_CHECK_SESSION if acting_as.session_id else "") + _ACT_AS_USER, who


def _send(
    cursor: Any,
    statement: Statement,
    parameters: Mapping[str, Any] | None = None,
    who_asks: tuple[str, Mapping[str, Any]] = ("", {}),
) -> list[Row]:
    before, who = who_asks
    connection = cursor.connection
    preparation, text = statement.words(connection.prepared)
    values = {**statement.values, **(parameters or {}), **who}
    cursor.execute(preparation + connection.limits + before + text, values)
    if preparation:
        connection.prepared.add(statement.name)
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _cursor() -> Iterator[Any]:
    gate = _gate()
    gate.enter()
    if has_waited.get() and gate.is_stuck():
        raise Busy
    asked = time.perf_counter()
    try:
        connection = gate.engine.pool.connect()
    except PoolTimeoutError:
        raise Busy from None
    except InvalidRequestError as error:
        # The pool gave up: connections died as fast as they were made.
        raise DatabaseUnavailable from error
    except psycopg2.Error as error:
        _translate(error)
    got = time.perf_counter()
    pool_waits.observe(got - asked)
    connections_in_use.inc()
    try:
        yield connection.cursor(cursor_factory=Cursor)
    except psycopg2.Error as error:
        if connection.closed or _is_lost(error) or error.pgcode in _STALE:
            connection.invalidate(error)
        if error.pgcode == _NOT_PREPARED:
            gate.close()
        _translate(error)
    finally:
        connection.close()
        gate.last_returned = time.monotonic()
        connections_in_use.dec()
        g.database_seconds = g.get("database_seconds", 0.0) + time.perf_counter() - got


def _is_lost(error: psycopg2.Error) -> bool:
    """Whether the connection is lost, which no SQLSTATE says.

    A server that is killed between the results of one message is no `OperationalError` but a
    bare `DatabaseError`.
    """
    kinds = (psycopg2.OperationalError, psycopg2.InterfaceError)
    is_bare = type(error) is psycopg2.DatabaseError
    return error.pgcode is None and (is_bare or isinstance(error, kinds))


def _translate(error: psycopg2.Error) -> NoReturn:
    database_errors.labels(error.pgcode or "none").inc()
    if error.pgcode == SESSION_ENDED:
        raise SessionEnded from None
    lost = _is_lost(error)
    if lost or (error.pgcode or "").startswith((*_OUTAGES, *_STALE)):
        # Only a lost connection's text is free of what the statement was about.
        log.warning(
            "database_unavailable",
            sqlstate=error.pgcode,
            reason=explain(error) if lost else type(error).__name__,
        )
        raise DatabaseUnavailable from error
    raise error


def _translate_what_is_wrapped(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, psycopg2.Error):
        _translate(context.original_exception)


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
        self.last_returned = time.monotonic()

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

    def close(self) -> None:
        """Let nothing through until the database has been prepared again."""
        self._is_open = False

    def is_stuck(self) -> bool:
        """Whether all connections are in use, and none has been given back for a while."""
        pool = cast("QueuePool", self.engine.pool)
        is_exhausted = pool.checkedout() >= pool.size()
        return is_exhausted and time.monotonic() - self.last_returned > _WHILE


def _refuse_unless_system(
    _connection: object, _cursor: object, _text: str, _values: object, context: Any, _many: bool
) -> None:
    if context.execution_options.get("acting_as") is not SYSTEM:
        raise TypeError("A statement must say on whose behalf it runs; `execute` lets it.")
