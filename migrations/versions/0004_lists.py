"""Add the columns and indexes for searching and sorting lists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 1000  # tasks
_ORDERS = ("created_at", "completed_at", "title_key", "order")


def upgrade() -> None:
    # The previous release inserts tasks without these columns while it still runs.
    for name in ("title_words", "description_words"):
        op.add_column("tasks", sa.Column(name, sa.Text(), server_default="", nullable=False))
    for tasks in _batches():
        op.get_bind().execute(
            sa.text("""
                UPDATE tasks SET title_words = new.title, description_words = new.description
                  FROM unnest(CAST(:users AS text[]), CAST(:ids AS uuid[]),
                              CAST(:titles AS text[]), CAST(:descriptions AS text[]))
                       AS new (user_id, id, title, description)
                 WHERE tasks.user_id = new.user_id AND tasks.id = new.id
            """),
            {
                "users": [task.user_id for task in tasks],
                "ids": [str(task.id) for task in tasks],
                "titles": [_folded(task.title) for task in tasks],
                "descriptions": [_folded(task.description) for task in tasks],
            },
        )
    op.add_column(
        "tasks",
        sa.Column(
            "title_key",
            sa.Text(collation="C"),
            sa.Computed("left(title_words, 255)", persisted=True),
            nullable=False,
        ),
    )
    op.create_index(op.f("ix_tasks_user_id_version"), "tasks", ["user_id", "version"], unique=True)
    for order in _ORDERS:
        op.create_index(op.f(f"ix_tasks_user_id_{order}_id"), "tasks", ["user_id", order, "id"])


def downgrade() -> None:
    for order in _ORDERS:
        op.drop_index(op.f(f"ix_tasks_user_id_{order}_id"), "tasks")
    op.drop_index(op.f("ix_tasks_user_id_version"), "tasks")
    for name in ("title_key", "title_words", "description_words"):
        op.drop_column("tasks", name)


def _batches() -> Iterator[Sequence[sa.Row[tuple[str, str, str, str | None]]]]:
    """Read all tasks in the order of their primary key."""
    user_id, task_id = "", "00000000-0000-0000-0000-000000000000"
    while True:
        tasks = (
            op.get_bind()
            .execute(
                sa.text("""
                    SELECT user_id, id, title, description FROM tasks
                     WHERE (user_id, id) > (:user_id, CAST(:id AS uuid))
                     ORDER BY user_id, id LIMIT :count
                """),
                {"user_id": user_id, "id": str(task_id), "count": _BATCH},
            )
            .all()
        )
        if not tasks:
            return
        yield tasks
        user_id, task_id = tasks[-1].user_id, tasks[-1].id


# The folding of texts as of this revision; `taskapi.tasks.words` may differ.

# Letters without a decomposition that are commonly typed without their stroke.
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
)

# Scripts without spaces between words, and pictographs: each character is a word.
_ALONE = (
    "\u2190-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U0001f000-\U0003ffff"
)
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")


def _words(text: str | None) -> list[str]:
    if not text:
        return []
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())
        unaccented = (char for char in decomposed if unicodedata.category(char) != "Mn")
        text = "".join(unaccented).translate(_STROKES)
    return _WORD.findall(text.casefold())


def _folded(text: str | None) -> str:
    return " ".join(_words(text))
