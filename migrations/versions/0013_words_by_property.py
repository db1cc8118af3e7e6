"""Recompute the search words of texts that are not ASCII, by Unicode properties.

The rules are copied as of this revision; those of later revisions may differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BATCH = 1000  # tasks
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
)
_UNSPACED = (
    *("CJK ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ", "YI ", "NUSHU "),
    *("TANGUT ", "THAI ", "LAO ", "MYANMAR ", "KHMER ", "TAI ", "NEW TAI ", "IDEOGRAPHIC "),
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def upgrade() -> None:
    for table in ("tasks", "trash"):
        for tasks in _batches(table):
            op.get_bind().execute(
                sa.text(f"""
                    UPDATE {table} SET title_words = new.title, description_words = new.description
                      FROM unnest(CAST(:users AS text[]), CAST(:ids AS uuid[]),
                                  CAST(:titles AS text[]), CAST(:descriptions AS text[]))
                           AS new (user_id, id, title, description)
                     WHERE {table}.user_id = new.user_id AND {table}.id = new.id
                """),
                {
                    "users": [task.user_id for task in tasks],
                    "ids": [str(task.id) for task in tasks],
                    "titles": [_folded(task.title) for task in tasks],
                    "descriptions": [_folded(task.description) for task in tasks],
                },
            )


def downgrade() -> None:
    # The previous release finds the texts that it writes, and ASCII words are unchanged.
    pass


def _batches(table: str) -> Iterator[Sequence[sa.Row[tuple[str, str, str, str]]]]:
    statement = sa.text(f"""
        SELECT user_id, id, title, description FROM {table}
         WHERE (user_id, id) > (:user_id, CAST(:id AS uuid))
           AND (title ~ '[^\\x01-\\x7f]' OR description ~ '[^\\x01-\\x7f]')
         ORDER BY user_id, id LIMIT {_BATCH}
    """)
    last = {"user_id": "", "id": "00000000-0000-0000-0000-000000000000"}
    while tasks := op.get_bind().execute(statement, last).all():
        yield tasks
        last = {"user_id": tasks[-1].user_id, "id": str(tasks[-1].id)}


def _folded(text: str | None) -> str:
    if not text:
        return ""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())[:8000]
        kept = "".join(character for character in decomposed if not _is_dropped(character))
        text = unicodedata.normalize("NFC", kept).translate(_STROKES)
    return " ".join("".join(map(_separated, text.casefold())).split())


def _is_dropped(character: str) -> bool:
    kind = unicodedata.combining(character)
    is_accent = unicodedata.category(character) == "Mn" and (
        kind == 1 or 10 <= kind <= 36 or kind >= 200
    )
    return is_accent or _INVISIBLE.match(character) is not None


def _separated(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LNM":
        is_unspaced = unicodedata.name(character, "").startswith(_UNSPACED)
        return f" {character} " if is_unspaced else character
    is_picture = category in ("So", "Sm", "Sk") and character > "\xff"
    return f" {character} " if is_picture else " "
