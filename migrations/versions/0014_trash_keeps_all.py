"""Keep columns in the trash that are unknown to the release which deletes a task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trash", sa.Column("other_columns", JSONB(), server_default="{}", nullable=False))
    # Missing columns get their defaults. The function has the rights of its caller, so that
    # row-level security applies.
    op.execute("""
        CREATE FUNCTION taskapi_insert_task(kept jsonb) RETURNS tasks LANGUAGE plpgsql AS $$
        DECLARE
          names text;
          inserted tasks;
        BEGIN
          SELECT string_agg(quote_ident(attname), ', ') INTO names FROM pg_attribute
            WHERE attrelid = 'tasks'::regclass AND attnum > 0 AND NOT attisdropped
              AND attgenerated = '' AND kept ? attname;
          EXECUTE format(
            'INSERT INTO tasks (%1$s) SELECT %1$s FROM jsonb_populate_record(NULL::tasks, $1)'
            ' RETURNING *', names) INTO inserted USING kept;
          RETURN inserted;
        END $$
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION taskapi_insert_task(jsonb)")
    op.drop_column("trash", "other_columns")
