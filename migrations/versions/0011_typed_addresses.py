"""E-mail addresses as they were typed, beside the form that is compared.

It stays empty for accounts that are there: `email` cannot tell what was typed, and the release
before finds them by it as it is. A login renews them.
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
