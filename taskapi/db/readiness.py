"""Migrate the database and verify server, schema and row-level security before it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import Flask, current_app
from psycopg2 import Error
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Engine, text

from taskapi.db.connections import describe_error
from taskapi.db.execute import SYSTEM, USER_ROLE
from taskapi.db.server_checks import find_mismatches
from taskapi.exceptions import DatabaseNotReady
from taskapi.extension import Extension

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

# One message, run as the role of statements for users. `row_security_active` tells whether
# row-level security binds that role on each table.
_ISOLATION = text(f"""
    SET LOCAL ROLE {USER_ROLE};
    SELECT rolname || ' is a superuser or bypasses row-level security' AS gap
      FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)
    UNION ALL
    SELECT 'row-level security is not in force on ' || oid::regclass
      FROM pg_class
     WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
       AND (relname = 'users' OR EXISTS (
             SELECT FROM pg_attribute
              WHERE attrelid = pg_class.oid AND attname = 'user_id' AND NOT attisdropped))
       AND NOT row_security_active(oid)
    UNION ALL
    SELECT 'the policy ' || policyname || ' on ' || tablename || ' does not check the acting user'
      FROM pg_policies
     WHERE schemaname = current_schema() AND permissive = 'PERMISSIVE'
       AND (coalesce(qual, with_check) NOT LIKE '%taskapi.user_id%'
            OR coalesce(with_check, qual) NOT LIKE '%taskapi.user_id%')
    UNION ALL
    SELECT 'the tables are missing, `python -m taskapi --migrate-only` makes them'
     WHERE to_regclass('tasks') IS NULL
""")

_OWNERSHIP_HINT = (
    "The role of DATABASE_URL must own the database (or at least may create in its schema)."
)

MIGRATION_LOCK = 7_291_004_551
"""Key of the migrations' advisory lock: an arbitrary number, unique within the database."""

_STEPS: Final[Extension[list[Callable[[Engine], None]]]] = Extension("readiness_steps")

log = structlog.get_logger()


def add_step(app: Flask, step: Callable[[Engine], None]) -> None:
    """Run `step` after the migrations, each time that the service starts.

    A step may raise `PermissionError` with an instruction for the operator; `migrate_and_verify`
    then raises `DatabaseNotReady`.
    """
    _STEPS.set(app, [*(_STEPS.find(app) or []), step])


class ServerMismatch(Exception):
    """The server does not meet a requirement; `str()` contains the fix."""


def migrate_and_verify(engine: Engine) -> None:
    """Apply pending migrations if `MIGRATE_ON_START` allows it, and verify the database.

    Raises `DatabaseNotReady` if the database cannot serve; the cause has the reason.
    """
    try:
        _verify_server(engine)
        if current_app.config["MIGRATE_ON_START"] and _is_behind(engine):
            command.upgrade(current_app.extensions["migrate"].migrate.get_config(), "head")
        for step in _STEPS.find() or []:
            step(engine)
        _verify_isolation(engine)
    except (PermissionError, ServerMismatch, Error, CommandError) as error:
        cause: Exception = error
        if isinstance(error, InsufficientPrivilege):
            cause = PermissionError(f"{str(error).strip()}\n{_OWNERSHIP_HINT}")
        log.error("database_not_fit", reason=describe_error(cause))
        raise DatabaseNotReady from cause


def _verify_server(engine: Engine) -> None:
    mismatches = list(find_mismatches(engine))
    if mismatches:
        raise ServerMismatch(" ".join(mismatches))


def _is_behind(engine: Engine) -> bool:
    script = ScriptDirectory(str(MIGRATIONS))
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        applied = set(MigrationContext.configure(connection).get_current_heads())
    known = {revision.revision for revision in script.walk_revisions()}
    # An unknown revision belongs to a newer release, whose schema this release supports.
    return applied <= known and applied != set(script.get_heads())


def find_isolation_gaps(engine: Engine) -> Sequence[str]:
    """Return a sentence for each gap in the isolation of users by row-level security."""
    with engine.connect() as connection:
        result = connection.execute(_ISOLATION, execution_options={"acting_as": SYSTEM})
        return result.scalars().all()


def _verify_isolation(engine: Engine) -> None:
    gaps = find_isolation_gaps(engine)
    if gaps:
        raise PermissionError(f"The database does not keep users apart: {'; '.join(gaps)}.")
