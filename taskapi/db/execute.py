"""Execute statements and transactions on behalf of an actor, each in one round trip.

A statement for a user is sent in one message with the check of its session, the switch to the
role that row-level security binds, and the user id. PostgreSQL runs the message as one
transaction. One round trip replaces the four of BEGIN, SET, the statement and COMMIT, and role
and user id are reset when the transaction ends.

SQLAlchemy compiles the statements and pools the connections, psycopg2 sends the compiled text.
SQLAlchemy's own execution and result processing take several times as long as PostgreSQL needs
to answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg2
import structlog
from flask import Flask, g
from sqlalchemy import ClauseElement, Engine, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from taskapi.db.base import db
from taskapi.db.connections import (
    WATCHDOG_GRACE_SECONDS,
    Cursor,
    Watchdog,
    configure_connection,
    connect_args,
    invalidate_unless_idle,
    raise_if_disconnected,
)
from taskapi.db.gate import ReadinessGate
from taskapi.db.outages import (
    INVALID_STATEMENT_NAME,
    STALE_STATEMENT_SQLSTATES,
    is_lost,
    translate_error,
    translate_sqlalchemy_error,
)
from taskapi.db.prepared import Statement, compile_cached
from taskapi.exceptions import (
    Busy,
    DatabaseUnavailable,
)
from taskapi.extension import Extension
from taskapi.observability.metrics import connections_in_use, pool_waits
from taskapi.settings import Settings

USER_ROLE: Final = "taskapi_user"
"""The database role of statements for users; it owns no table and row-level security binds it."""

_CHECK_SESSION: Final = "SELECT taskapi_check_session(%(acting_session_id)s, %(acting_user_id)s); "
_ACT_AS_USER: Final = (
    f"SET LOCAL ROLE {USER_ROLE}; SET LOCAL taskapi.user_id = %(acting_user_id)s; "
)

log = structlog.get_logger()

_GATE: Final[Extension[ReadinessGate]] = Extension("database")


class Actor(NamedTuple):
    """The user on whose behalf a statement runs, with the session in `AUTH_MODE=local`.

    `session_id` is None if an external issuer or a gateway authenticates the user.
    """

    user_id: str
    session_id: str | None = None


class System:
    """The service itself as the actor: login queries, migrations, maintenance."""


SYSTEM: Final = System()

Row = dict[str, Any]
"""A row in its JSON form: ids are text, times are RFC 3339 in UTC with microseconds."""


class _Transaction(NamedTuple):
    """The current transaction: the cursor of its connection, and its actor."""

    cursor: Any
    acting_as: Actor | System


class _Preamble(NamedTuple):
    """SQL that precedes a statement in its message, with its bind parameters."""

    sql: str
    parameters: Mapping[str, Any]


_NO_PREAMBLE: Final = _Preamble("", {})

fail_fast: Final[ContextVar[bool]] = ContextVar("fail_fast", default=False)
"""Set for overdue requests: fail fast instead of waiting for an exhausted pool."""

_transaction: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


def init_app(app: Flask, settings: Settings, migrate_and_verify: Callable[[Engine], None]) -> None:
    """Create the engine and its pool; the first use of the database calls `migrate_and_verify`."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": settings.threads,
        "max_overflow": 0,
        "pool_timeout": settings.pool_timeout,
        "pool_reset_on_return": None,  # `invalidate_unless_idle` does it.
        "connect_args": connect_args(settings.database_url),
    }
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    _GATE.set(app, ReadinessGate(engine, migrate_and_verify, settings.pool_timeout))
    watchdog = Watchdog(settings.statement_timeout + WATCHDOG_GRACE_SECONDS)
    event.listen(engine, "connect", partial(configure_connection, settings, watchdog))
    event.listen(engine, "checkout", raise_if_disconnected)
    event.listen(engine, "checkin", invalidate_unless_idle)
    event.listen(engine, "before_cursor_execute", _require_system_actor)
    event.listen(engine, "handle_error", translate_sqlalchemy_error)


def ensure_ready() -> None:
    """Migrate and verify the database unless this process has done so.

    Raises `DatabaseUnavailable` if the database cannot be reached, `DatabaseNotReady` if it is not
    fit to serve.
    """
    _GATE.get().ensure_ready()


def invalidate_readiness() -> None:
    """Migrate and verify the database again before its next use."""
    _GATE.get().invalidate()


def execute(
    statement: ClauseElement,
    parameters: Mapping[str, Any] | None = None,
    *,
    acting_as: Actor | System,
    time_limit: float | None = None,
) -> list[Row]:
    """Execute one statement and return its rows.

    Outside a `transaction` the statement is a transaction of its own. `time_limit` is its
    statement timeout in seconds if it is shorter than `STATEMENT_TIMEOUT`; within a `transaction`
    it has no effect.

    Raises `SessionEnded` if the actor's session has ended, and a subclass of `Unavailable` if the
    database cannot be reached, its pool is exhausted, or it is not ready.
    """
    preamble = _session_preamble(acting_as)
    if time_limit is not None:
        timeout = f"SET LOCAL statement_timeout = {round(time_limit * 1000)}; "
        preamble = preamble._replace(sql=preamble.sql + timeout)
    if current := _transaction.get():
        return _send(_join_transaction(current, acting_as), compile_cached(statement), parameters)
    with _cursor() as cursor:
        return _send(cursor, compile_cached(statement), parameters, preamble)


@contextmanager
def transaction(*, acting_as: Actor | System) -> Iterator[None]:
    """Run the enclosed statements in one transaction, all of them for the same actor.

    Within another `transaction` it is a savepoint. An exception rolls it back and is raised again.
    Raises `TypeError` for a statement of another actor.
    """
    preamble = _session_preamble(acting_as)
    if current := _transaction.get():
        cursor = _join_transaction(current, acting_as)
        with _rollback_on_error(cursor, "SAVEPOINT part", "ROLLBACK TO part; RELEASE part"):
            yield
        # All savepoints have one name. Unreleased, it would shadow that of the outer savepoint.
        cursor.execute("RELEASE part")
        return
    with _cursor() as cursor:
        token = _transaction.set(_Transaction(cursor, acting_as))
        try:
            begin = f"BEGIN; {preamble.sql}"
            with _rollback_on_error(cursor, begin, "ROLLBACK", preamble.parameters):
                yield
        finally:
            _transaction.reset(token)
        cursor.execute("COMMIT")
        if cursor.statusmessage != "COMMIT":
            # PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, without an error.
            raise RuntimeError("A statement of this transaction failed; nothing of it was kept.")


def _join_transaction(current: _Transaction, acting_as: Actor | System) -> Any:
    if acting_as != current.acting_as:
        raise TypeError("A transaction is on one behalf; this statement is on another.")
    return current.cursor


@contextmanager
def _rollback_on_error(
    cursor: Any, begin: str, rollback: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[None]:
    try:
        cursor.execute(begin, parameters)
        yield
    except BaseException:
        with suppress(psycopg2.Error):  # The first error is the one to report.
            cursor.execute(rollback)
        raise


def _session_preamble(acting_as: Actor | System) -> _Preamble:
    """Return the SQL that checks the actor's session and sets role and user id."""
    if acting_as is SYSTEM:
        return _NO_PREAMBLE
    if not isinstance(acting_as, Actor):
        raise TypeError("A statement must say on whose behalf it runs: acting_as=Actor or SYSTEM.")
    parameters = {"acting_user_id": acting_as.user_id, "acting_session_id": acting_as.session_id}
    return _Preamble((_CHECK_SESSION if acting_as.session_id else "") + _ACT_AS_USER, parameters)


def _send(
    cursor: Any,
    statement: Statement,
    parameters: Mapping[str, Any] | None = None,
    preamble: _Preamble = _NO_PREAMBLE,
) -> list[Row]:
    connection = cursor.connection
    preparation, text = statement.render(connection.prepared)
    values = {**statement.values, **(parameters or {}), **preamble.parameters}
    cursor.execute(preparation + connection.timeouts + preamble.sql + text, values)
    if preparation:
        connection.prepared.add(statement.name)
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _cursor() -> Iterator[Any]:
    gate = _GATE.get()
    gate.ensure_ready()
    if fail_fast.get() and gate.is_pool_stuck():
        raise Busy
    requested = time.perf_counter()
    try:
        connection = gate.engine.pool.connect()
    except PoolTimeoutError:
        raise Busy from None
    except InvalidRequestError as error:
        # The pool gave up: new connections were closed as soon as they were opened.
        raise DatabaseUnavailable from error
    except psycopg2.Error as error:
        translate_error(error)
    acquired = time.perf_counter()
    pool_waits.observe(acquired - requested)
    connections_in_use.inc()
    try:
        yield connection.cursor(cursor_factory=Cursor)
    except psycopg2.Error as error:
        if connection.closed or is_lost(error) or error.pgcode in STALE_STATEMENT_SQLSTATES:
            connection.invalidate(error)
        if error.pgcode == INVALID_STATEMENT_NAME:
            gate.invalidate()
        translate_error(error)
    finally:
        connection.close()
        gate.last_returned = time.monotonic()
        connections_in_use.dec()
        g.database_seconds = g.get("database_seconds", 0.0) + time.perf_counter() - acquired


def _require_system_actor(
    _connection: object, _cursor: object, _text: str, _values: object, context: Any, _many: bool
) -> None:
    if context.execution_options.get("acting_as") is not SYSTEM:
        raise TypeError("A statement must say on whose behalf it runs; use `execute`.")
