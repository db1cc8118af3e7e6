"""Create tasks, with versions from the owner's change counter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WHO_ASKS = "(SELECT nullif(current_setting('taskapi.user_id', true), ''))"


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("description", sa.String(2000)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("order", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("title <> ''", name=op.f("ck_tasks_title_not_empty")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tasks_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_tasks")),
    )
    op.execute(f"""
        GRANT SELECT, INSERT, UPDATE, DELETE ON tasks TO taskapi_user;
        ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own_rows ON tasks
          USING (user_id = {_WHO_ASKS}) WITH CHECK (user_id = {_WHO_ASKS})
    """)


def downgrade() -> None:
    op.drop_table("tasks")
