"""Store e-mail addresses as they were typed, in addition to the canonical form.

The column stays null for existing accounts: the typed form cannot be derived from `email`, and
the previous release finds accounts by `email` as it is. A login fills it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("display_email", sa.String(254)))
    op.execute("GRANT SELECT (display_email) ON users TO taskapi_user")


def downgrade() -> None:
    op.drop_column("users", "display_email")
