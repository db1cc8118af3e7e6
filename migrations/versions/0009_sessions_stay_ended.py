"""Prevent statements for a user from reopening an ended session."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_IS_OWN = "user_id = (SELECT nullif(current_setting('taskapi.user_id', true), ''))"


def upgrade() -> None:
    op.execute(
        f"ALTER POLICY own_rows ON sessions WITH CHECK ({_IS_OWN} AND revoked_at IS NOT NULL)"
    )


def downgrade() -> None:
    op.execute(f"ALTER POLICY own_rows ON sessions WITH CHECK ({_IS_OWN})")
