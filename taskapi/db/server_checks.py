"""Check that PostgreSQL and a pooler before it fit the way in which statements are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from flask import current_app
from psycopg2 import OperationalError
from sqlalchemy import Engine, text

from taskapi.db.connections import SESSION_OVERRIDES
from taskapi.db.execute import SYSTEM

_POOLER_COMPARISONS: Final = 8
"""Comparisons of two connections; the first one is conclusive unless the pooler is busy."""

_MIN_SERVER_VERSION_NUM: Final = 140_000

_REQUIRED_SETTINGS: Final = {
    **SESSION_OVERRIDES,
    # Not overridden: the first is a protection, the second needs a superuser, and psycopg2 reads
    # the third only when it connects.
    "default_transaction_read_only": "off",
    "session_replication_role": "origin",
    "standard_conforming_strings": "on",
}

_SERVER: Final = text("""
    SELECT current_setting('server_version_num')::int AS version_number,
           current_setting('server_version') AS version,
           current_setting('server_encoding') AS encoding,
           current_setting('search_path') AS search_path,
           current_schema()::text AS schema,
           (SELECT relnamespace::regnamespace::text FROM pg_class
             WHERE oid = coalesce(to_regclass('alembic_version'), to_regclass('tasks')))
             AS schema_of_tables,
           format('ALTER ROLE %I IN DATABASE %I SET', current_user, current_database()) AS alter,
           format('CREATE DATABASE %I TEMPLATE template0 ENCODING ''UTF8''', current_database())
             AS create
""")
_SETTINGS: Final = text("SELECT name, setting, source FROM pg_settings WHERE name = ANY(:names)")

_BACKEND_PID: Final = "SELECT pg_backend_pid()"


def find_mismatches(engine: Engine) -> Iterator[str]:
    """Yield a sentence for each mismatch of server, settings or pooler, with the fix."""
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        server = connection.execute(_SERVER).one()
        settings = connection.execute(_SETTINGS, {"names": list(_REQUIRED_SETTINGS)}).all()
    if server.version_number < _MIN_SERVER_VERSION_NUM:
        yield f"PostgreSQL {server.version} is too old; use version 14 or newer."
    if server.encoding != "UTF8":
        yield (
            f"The database is in {server.encoding}, which cannot hold every text; make another by "
            f"{server.create}, and move the data by `flask backup` and `flask restore`."
        )
    for setting in settings:
        required = _REQUIRED_SETTINGS[setting.name]
        if setting.setting != required:
            fault = f"{setting.name} is {setting.setting}; it must be {required}"
            if setting.source == "client":
                yield f"{fault}: take it out of DATABASE_URL or PGOPTIONS."
                continue
            # With default_transaction_read_only, ALTER ROLE itself needs a writable transaction.
            fix = f"BEGIN READ WRITE; {server.alter} {setting.name} = '{required}'; COMMIT"
            yield f"{fault}, so run: {fix}."
    if server.schema is None:
        yield (
            f"search_path is {server.search_path}, where no schema is, so run: "
            f"{server.alter} search_path = public."
        )
    elif server.schema_of_tables not in (None, server.schema):
        yield (
            f"search_path is {server.search_path}, but the tables are in "
            f"{server.schema_of_tables} and new ones would be made in {server.schema}, so run: "
            f"{server.alter} search_path = {server.schema_of_tables}."
        )
    if current_app.config["PREPARE_STATEMENTS"] and has_transaction_pooler(engine):
        yield (
            "A pooler hands out another server for each transaction, which loses what was "
            "prepared; set PREPARE_STATEMENTS=no."
        )


def has_transaction_pooler(engine: Engine) -> bool:
    """Return whether a pooler in transaction mode is in front of the database.

    PostgreSQL sends the pid of its backend process when a connection starts. A pooler cannot know
    it yet, so a different pid reveals the pooler. Two connections are then compared: unless the
    pooler works in transaction mode, each keeps a backend of its own.
    """
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)

        def fetch_backend_pid() -> int:
            return int(connection.scalar(text(_BACKEND_PID)))

        if fetch_backend_pid() == connection.connection.get_backend_pid():
            return False
        # A separate pool, because the service's may have a single connection.
        pool = engine.pool.recreate()
        try:
            with closing(pool.connect()) as other:
                pairs = {
                    (fetch_backend_pid(), _fetch_backend_pid(other))
                    for _ in range(_POOLER_COMPARISONS)
                }
        except OperationalError:
            # The pooler has no second backend although the first connection is idle: session mode.
            return False
        finally:
            pool.dispose()
    return len(pairs) > 1 or any(first == second for first, second in pairs)


def _fetch_backend_pid(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_BACKEND_PID)
        return int(cursor.fetchone()[0])
