"""Create accounts, sessions, and the role that row-level security binds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_WHO_ASKS = "(SELECT nullif(current_setting('taskapi.user_id', true), ''))"


def upgrade() -> None:
    _provide_role()
    op.create_table(
        "users",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("email", sa.String(254)),
        sa.Column("name", sa.String(255)),
        sa.Column("password_hash", sa.Text()),
        sa.Column("change_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.CheckConstraint("id <> ''", name=op.f("ck_users_id_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("refresh_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "last_used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])

    # Runs before the role is switched, so it sees all sessions. It reports by its SQLSTATE.
    op.execute("""
        CREATE FUNCTION taskapi_check_session(session_id uuid, owner_id text) RETURNS void
        LANGUAGE plpgsql STABLE AS $$
        BEGIN
          PERFORM FROM sessions
            WHERE sessions.id = session_id AND sessions.user_id = owner_id
              AND sessions.revoked_at IS NULL AND sessions.expires_at > now();
          IF NOT FOUND THEN
            RAISE EXCEPTION 'the session is over' USING ERRCODE = 'TA401';
          END IF;
        END $$
    """)

    # The role cannot read password hashes or refresh-token ids.
    op.execute("""
        GRANT SELECT (id, email, name, change_seq, created_at), UPDATE (change_seq)
          ON users TO taskapi_user;
        GRANT SELECT (id, user_id, created_at, last_used_at, expires_at, revoked_at),
          UPDATE (revoked_at) ON sessions TO taskapi_user
    """)
    for table, owner in (("users", "id"), ("sessions", "user_id")):
        op.execute(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own_rows ON {table}
              USING ({owner} = {_WHO_ASKS}) WITH CHECK ({owner} = {_WHO_ASKS})
        """)


def downgrade() -> None:
    op.drop_table("sessions")
    op.drop_table("users")
    op.execute("DROP FUNCTION taskapi_check_session(uuid, text)")
    # The role is shared by all databases of the server, and another one may use it. Keep it.
    op.execute("""
        DO $$ BEGIN
          EXECUTE format('REVOKE ALL ON SCHEMA %I FROM taskapi_user', current_schema());
        END $$
    """)


def _provide_role() -> None:
    """Create the role and grant it to the current role.

    Raises `PermissionError` with the SQL for an administrator if the current role may not.
    """
    connection = op.get_bind()
    me = connection.execute(
        sa.text("""
            SELECT quote_ident(current_user) AS name, rolsuper OR rolcreaterole AS may_create,
                   EXISTS (SELECT FROM pg_roles WHERE rolname = 'taskapi_user') AS exists
              FROM pg_roles WHERE rolname = current_user
        """)
    ).one()
    create = "CREATE ROLE taskapi_user NOLOGIN NOBYPASSRLS"
    grant = f"GRANT taskapi_user TO {me.name}"
    if not me.exists and me.may_create:
        # A migration of another database of this server may create it at the same time.
        op.execute(f"""
            DO $$ BEGIN {create};
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
        """)
    may_switch = """
        SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'taskapi_user')
           AND pg_has_role(current_user, 'taskapi_user', CASE
                 WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET'
                 ELSE 'MEMBER' END)
    """
    if me.may_create and not connection.execute(sa.text(may_switch)).scalar_one():
        op.execute(grant)
    if not me.may_create and not (
        me.exists and connection.execute(sa.text(may_switch)).scalar_one()
    ):
        lines = f"{grant};" if me.exists else f"{create};\n{grant};"
        raise PermissionError(
            f"The database role {me.name} may not create roles. Let an administrator run "
            f"this, then start again:\n{lines}"
        )
    op.execute("""
        DO $$ BEGIN
          EXECUTE format('GRANT USAGE ON SCHEMA %I TO taskapi_user', current_schema());
        END $$
    """)
