"""Extend descriptions to the limit of contract B, which rewrites no rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = ("tasks", "trash")


def upgrade() -> None:
    for table in _TABLES:
        op.alter_column(table, "description", type_=sa.String(10_000))


def downgrade() -> None:
    for table in _TABLES:
        # Longer descriptions are truncated to the limit of the previous release.
        op.execute(
            f"UPDATE {table} SET description = left(description, 2000) "
            "WHERE length(description) > 2000"
        )
        op.alter_column(table, "description", type_=sa.String(2000))
