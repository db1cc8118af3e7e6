"""Add incarnations, which keep change numbers unique after a restore or recovery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incarnations",
        sa.Column("first_change", sa.BigInteger(), nullable=False),
        sa.Column(
            "began_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("server", sa.Text()),
        sa.PrimaryKeyConstraint("first_change", name=op.f("pk_incarnations")),
    )
    # The system identifier and the timeline, which changes with a promotion and a point-in-time
    # recovery. NULL if the database's provider does not disclose them.
    op.execute("""
        CREATE FUNCTION taskapi_server() RETURNS text LANGUAGE plpgsql STABLE AS $$
        BEGIN
          IF pg_is_in_recovery() THEN
            RETURN NULL;
          END IF;
          RETURN (SELECT system_identifier FROM pg_control_system())
                 || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
        EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
          RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION taskapi_first_change() RETURNS bigint LANGUAGE sql STABLE AS
          'SELECT max(first_change) FROM incarnations'
    """)
    # Microseconds since 1970 are above any counter, including those of a lost history. They are
    # exact in JavaScript until the year 2255.
    op.execute("""
        CREATE FUNCTION taskapi_begin_incarnation(at_least bigint) RETURNS bigint
        LANGUAGE plpgsql AS $$
        DECLARE
          first bigint;
        BEGIN
          LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;
          first := greatest(
            at_least,
            floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
            (SELECT max(change_seq) FROM users) + 1,
            taskapi_first_change() + 1
          );
          INSERT INTO incarnations (first_change, server) VALUES (first, taskapi_server());
          UPDATE users SET change_seq = first, feed_floor = first;
          RETURN first;
        END $$
    """)
    op.execute("""
        INSERT INTO incarnations (first_change, server) VALUES (0, taskapi_server());
        GRANT SELECT ON incarnations TO taskapi_user
    """)
    for name in ("change_seq", "feed_floor"):
        op.alter_column("users", name, server_default=sa.func.taskapi_first_change())


def downgrade() -> None:
    for name in ("change_seq", "feed_floor"):
        op.alter_column("users", name, server_default="0")
    op.execute("DROP FUNCTION taskapi_begin_incarnation(bigint)")
    op.execute("DROP FUNCTION taskapi_first_change()")
    op.execute("DROP FUNCTION taskapi_server()")
    op.drop_table("incarnations")
