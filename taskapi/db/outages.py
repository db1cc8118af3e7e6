"""Tell a database that is away from a statement that is wrong, by the SQLSTATE."""

from __future__ import annotations

from typing import Final, NoReturn

import psycopg2
import structlog
from sqlalchemy.engine import ExceptionContext

from taskapi.db.connections import describe_error
from taskapi.exceptions import DatabaseUnavailable, SessionEnded
from taskapi.observability.metrics import database_errors

SESSION_ENDED_SQLSTATE: Final = "TA401"
"""The SQLSTATE that the database function `taskapi_check_session` raises."""

# SQLSTATEs and classes of SQLSTATEs about the server and not the statement: connection,
# resources, shutdown, system; read-only standby, lock timeout, statement timeout, conflicts.
_UNAVAILABLE_SQLSTATES: Final = (
    *("08", "53", "57P", "58"),
    *("25006", "55P03", "57014", "40001", "40P01"),
)

INVALID_STATEMENT_NAME: Final = "26000"

# A prepared statement is lost, or a migration has changed its result type (0A000). A new
# connection fixes both.
STALE_STATEMENT_SQLSTATES: Final = (INVALID_STATEMENT_NAME, "0A000")

log = structlog.get_logger()


def is_lost(error: psycopg2.Error) -> bool:
    """Return whether the connection is lost; such errors have no SQLSTATE.

    For a server that is killed between the results of one message, psycopg2 raises a plain
    `DatabaseError` and no `OperationalError`.
    """
    kinds = (psycopg2.OperationalError, psycopg2.InterfaceError)
    is_plain = type(error) is psycopg2.DatabaseError
    return error.pgcode is None and (is_plain or isinstance(error, kinds))


def translate_error(error: psycopg2.Error) -> NoReturn:
    """Count a database error and raise its domain exception, or the error itself."""
    database_errors.labels(error.pgcode or "none").inc()
    if error.pgcode == SESSION_ENDED_SQLSTATE:
        raise SessionEnded from None
    lost = is_lost(error)
    if lost or (error.pgcode or "").startswith(
        (*_UNAVAILABLE_SQLSTATES, *STALE_STATEMENT_SQLSTATES)
    ):
        # Other errors may quote values of the statement.
        log.warning(
            "database_unavailable",
            sqlstate=error.pgcode,
            reason=describe_error(error) if lost else type(error).__name__,
        )
        raise DatabaseUnavailable from error
    raise error


def translate_sqlalchemy_error(context: ExceptionContext) -> None:
    """Do the same for a statement that SQLAlchemy executed itself."""
    if isinstance(context.original_exception, psycopg2.Error):
        translate_error(context.original_exception)
