"""Add device and address of sessions, login attempts, and owners of an external issuer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("device", sa.String(255)))
    op.add_column("sessions", sa.Column("address", sa.String(45)))
    op.create_table(
        "login_attempts",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "counted_since",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.Column(
            "last_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_attempts")),
    )
    # The first write of an external user inserts its own row. The policy allows no other id.
    op.execute("""
        GRANT SELECT (device) ON sessions TO taskapi_user;
        GRANT INSERT (id, change_seq) ON users TO taskapi_user
    """)


def downgrade() -> None:
    op.execute("REVOKE INSERT (id, change_seq) ON users FROM taskapi_user")
    op.drop_table("login_attempts")
    op.drop_column("sessions", "address")
    op.drop_column("sessions", "device")
