"""Whether the database is fit to serve: as the service needs it, migrated, and isolating users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from alembic import command
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import Flask, current_app
from psycopg2 import Error
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Engine, text

from taskapi.db.connections import explain
from taskapi.db.execute import ROLE, SYSTEM
from taskapi.db.fitness import find_misfits
from taskapi.exceptions import DatabaseNotReady

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

# One message, run as the role that statements for users run as: PostgreSQL itself says
# whether row-level security binds that role on each table.
_ISOLATION = text(f"""
    SET LOCAL ROLE {ROLE};
    SELECT rolname || ' is a superuser or bypasses row-level security' AS leak
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
    SELECT 'the policy ' || policyname || ' on ' || tablename || ' does not ask who asks'
      FROM pg_policies
     WHERE schemaname = current_schema() AND permissive = 'PERMISSIVE'
       AND (coalesce(qual, with_check) NOT LIKE '%taskapi.user_id%'
            OR coalesce(with_check, qual) NOT LIKE '%taskapi.user_id%')
    UNION ALL
    SELECT 'the tables are missing, `python -m taskapi --migrate-only` makes them'
     WHERE to_regclass('tasks') IS NULL
""")

_OWNERSHIP = (
    "The role of DATABASE_URL must own the database (or at least may create in its schema)."
)

MIGRATION_LOCK = 7_291_004_551
"""The advisory lock of migrations; any number serves that nothing else in the database locks."""

_STEPS = "taskapi.prepare_steps"

log = structlog.get_logger()


def add_step(app: Flask, step: Callable[[Engine], None]) -> None:
    """Have `step` run after the migrations, each time that the service starts.

    What it raises is raised by `prepare`: `PermissionError` with what an operator has to do.
    """
    app.extensions.setdefault(_STEPS, []).append(step)


class Misfit(Exception):
    """The server is not as the service needs it; `str()` has the mend."""


def prepare(engine: Engine) -> None:
    """Migrate the database if that is wanted and due, and verify it.

    Raises `DatabaseNotReady` where it cannot serve.
    """
    try:
        _verify_fitness(engine)
        if current_app.config["MIGRATE_ON_START"] and _is_behind(engine):
            command.upgrade(current_app.extensions["migrate"].migrate.get_config(), "head")
        for step in current_app.extensions.get(_STEPS, []):
            step(engine)
        _verify_isolation(engine)
    except (PermissionError, Misfit, Error, CommandError) as error:
        cause: Exception = error
        if isinstance(error, InsufficientPrivilege):
            cause = PermissionError(f"{str(error).strip()}\n{_OWNERSHIP}")
        log.error("database_not_fit", reason=explain(cause))
        raise DatabaseNotReady from cause


def _verify_fitness(engine: Engine) -> None:
    misfits = list(find_misfits(engine))
    if misfits:
        raise Misfit(" ".join(misfits))


def _is_behind(engine: Engine) -> bool:
    script = ScriptDirectory(str(MIGRATIONS))
    with engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        applied = set(MigrationContext.configure(connection).get_current_heads())
    known = {revision.revision for revision in script.walk_revisions()}
    # A revision that is not known here is a newer release's, which this one can live with.
    return applied <= known and applied != set(script.get_heads())


def find_leaks(engine: Engine) -> Sequence[str]:
    """Return what would let users see what is not theirs."""
    with engine.connect() as connection:
        result = connection.execute(_ISOLATION, execution_options={"acting_as": SYSTEM})
        return result.scalars().all()


def _verify_isolation(engine: Engine) -> None:
    leaks = find_leaks(engine)
    if leaks:
        raise PermissionError(f"The database does not keep users apart: {'; '.join(leaks)}.")
