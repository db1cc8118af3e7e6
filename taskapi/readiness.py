"""Verify that the server and what stands before it fit the way in which statements are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from flask import current_app
from psycopg2 import OperationalError
from sqlalchemy import Engine, text

from taskapi.database import SYSTEM

_LOOKS: Final = 8
"""How often two connections are compared: the first look tells, unless the pooler is busy."""

_POOLER_MISFIT: Final = (
    "A pooler hands out another server for each transaction, which loses what was prepared; "
    "set PREPARE_STATEMENTS=no."
)
_FIND_SERVER: Final = "SELECT pg_backend_pid()"


def find_misfits(engine: Engine) -> Iterator[str]:
    """Yield a sentence with its mend for each thing that does not fit."""
    if current_app.config["PREPARE_STATEMENTS"] and is_pooled_by_transaction(engine):
        yield _POOLER_MISFIT


def is_pooled_by_transaction(engine: Engine) -> bool:
    """Whether a pooler stands before the database that gives each transaction another server.

    PostgreSQL names its process when a connection begins, and a pooler cannot know yet which it
    will be. With a pooler two connections are compared: each has a server of its own, and
    keeps it, unless the pooler works by transactions.
    """
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)

        def find_server() -> int:
            return int(connection.scalar(text(_FIND_SERVER)))

        if find_server() == connection.connection.get_backend_pid():
            return False
        # From a pool of its own: the service's may have no second connection.
        pool = engine.pool.recreate()
        try:
            with closing(pool.connect()) as other:
                pairs = {(find_server(), _find_server_of(other)) for _ in range(_LOOKS)}
        except OperationalError:
            # It has to wait for a server, though the first connection is idle.
            return False
        finally:
            pool.dispose()
    return len(pairs) > 1 or any(first == second for first, second in pairs)


def _find_server_of(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_FIND_SERVER)
        return int(cursor.fetchone()[0])
