"""Create the lease that lets one AUTH_MODE at a time serve the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "auth_mode_lease",
        sa.Column("id", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("auth_mode", sa.String(16), nullable=False),
        sa.Column("previous_mode", sa.String(16)),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id", name=op.f("ck_auth_mode_lease_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_mode_lease")),
    )


def downgrade() -> None:
    op.drop_table("auth_mode_lease")
