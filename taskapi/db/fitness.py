"""Verify that the server and what stands before it fit the way in which statements are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from flask import current_app
from psycopg2 import OperationalError
from sqlalchemy import Engine, text

from taskapi.db.connections import OVERRULED
from taskapi.db.execute import SYSTEM

_LOOKS: Final = 8
"""How often two connections are compared: the first look tells, unless the pooler is busy."""

_OLDEST_VERSION: Final = 140_000  # as server_version_num has it

_REQUIRED: Final = {
    **OVERRULED,
    # To overrule the first would defeat a protection, the second takes a superuser, and the third
    # is what psycopg2 quotes by from the beginning of a connection.
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

_FIND_SERVER: Final = "SELECT pg_backend_pid()"


def find_misfits(engine: Engine) -> Iterator[str]:
    """Yield a sentence with its mend for each thing that does not fit."""
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        server = connection.execute(_SERVER).one()
        settings = connection.execute(_SETTINGS, {"names": list(_REQUIRED)}).all()
    if server.version_number < _OLDEST_VERSION:
        yield f"PostgreSQL {server.version} is too old; use version 14 or newer."
    if server.encoding != "UTF8":
        yield (
            f"The database is in {server.encoding}, which cannot hold every text; make another by "
            f"{server.create}, and move the data by `flask backup` and `flask restore`."
        )
    for setting in settings:
        required = _REQUIRED[setting.name]
        if setting.setting != required:
            said = f"{setting.name} is {setting.setting}; it must be {required}"
            if setting.source == "client":
                yield f"{said}: take it out of DATABASE_URL or PGOPTIONS."
                continue
            # Where all is read-only, so would be the mend.
            mend = f"BEGIN READ WRITE; {server.alter} {setting.name} = '{required}'; COMMIT"
            yield f"{said}, so run: {mend}."
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
    if current_app.config["PREPARE_STATEMENTS"] and is_pooled_by_transaction(engine):
        yield (
            "A pooler hands out another server for each transaction, which loses what was "
            "prepared; set PREPARE_STATEMENTS=no."
        )


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
