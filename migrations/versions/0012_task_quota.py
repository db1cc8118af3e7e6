"""Store the number of tasks of each owner, for the quota."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("task_count", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.execute("""
        UPDATE users SET task_count = count
          FROM (SELECT user_id, count(*) AS count
                  FROM (SELECT user_id FROM tasks UNION ALL SELECT user_id FROM trash) AS owned
                 GROUP BY user_id) AS counted
         WHERE users.id = counted.user_id
    """)
    op.execute("""
        GRANT SELECT (task_count), INSERT (task_count), UPDATE (task_count)
          ON users TO taskapi_user
    """)


def downgrade() -> None:
    op.drop_column("users", "task_count")
