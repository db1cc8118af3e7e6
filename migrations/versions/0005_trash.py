"""Create the trash, and tombstones for the change feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_WHO_ASKS = "(SELECT nullif(current_setting('taskapi.user_id', true), ''))"


def upgrade() -> None:
    op.create_table(
        "trash",
        *_owned("trash"),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("description", sa.String(2000)),
        sa.Column("title_words", sa.Text(), server_default="", nullable=False),
        sa.Column("description_words", sa.Text(), server_default="", nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("order", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        op.f("ix_trash_user_id_deleted_at_id"), "trash", ["user_id", "deleted_at", "id"]
    )
    op.create_table(
        "tombstones",
        *_owned("tombstones"),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        op.f("ix_tombstones_user_id_version"), "tombstones", ["user_id", "version"], unique=True
    )
    for table in ("trash", "tombstones"):
        op.create_index(op.f(f"ix_{table}_deleted_at"), table, ["deleted_at"])
    op.add_column(
        "users", sa.Column("feed_floor", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.execute("GRANT SELECT (feed_floor) ON users TO taskapi_user")
    for table in ("trash", "tombstones"):
        op.execute(f"""
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO taskapi_user;
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own_rows ON {table}
              USING (user_id = {_WHO_ASKS}) WITH CHECK (user_id = {_WHO_ASKS})
        """)


def downgrade() -> None:
    op.drop_column("users", "feed_floor")
    op.drop_table("tombstones")
    op.drop_table("trash")


def _owned(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f(f"pk_{table}")),
    ]
