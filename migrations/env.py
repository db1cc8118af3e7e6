"""Run the migrations in one transaction, one process at a time."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import text

from taskapi.db.base import db
from taskapi.db.execute import SYSTEM
from taskapi.db.readiness import MIGRATION_LOCK


def _is_ours(_object: object, _name: str | None, _type: str, reflected: bool, ours: object) -> bool:
    """Ignore objects that only the database has, such as tables of other programs."""
    return not (reflected and ours is None)


if context.is_offline_mode():
    context.configure(
        url=current_app.config["SQLALCHEMY_DATABASE_URI"],
        target_metadata=db.metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with db.engine.connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED", acting_as=SYSTEM)
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            include_object=_is_ours,
        )
        with context.begin_transaction():
            # Waiting for another process's migrations has no timeout. A migration itself must not
            # queue behind a long transaction, since requests would queue behind it.
            connection.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            context.run_migrations()
