"""What a text is sought and sorted by: its words, without case and accents.

PostgreSQL could fold them only with extensions and locales that not every server has, so it
is done here, and what comes out is stored beside the text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Letters that have no accent to lose but are typed without their stroke all the same.
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
)

# Signs above and below that people leave out when they type: of Latin, Greek and Cyrillic
# letters, of Hebrew, of Arabic. In other scripts such signs are vowels.
_ACCENTS: Final = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")

# Scripts that put no space between words, and pictures: each character is a word.
_ALONE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2190-\u23ff\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001f000-\U0003ffff"
)
# In the scripts of India the vowels are signs that Python takes for no part of a word.
_WORD: Final = re.compile(rf"[{_ALONE}]|(?:[^\W_{_ALONE}]|[\u0900-\u0963\u0966-\u0dff])+")
_LONGEST: Final = 8000  # characters; some decompose into eighteen


def words(text: str | None) -> list[str]:
    """Return the words of a text as they are compared; "Crème Brûlée!" has creme and brulee."""
    if not text:
        return []
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())[:_LONGEST]
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).translate(_STROKES)
    return _WORD.findall(text.casefold())


def folded(text: str | None) -> str:
    """Return the words of a text as they are stored, with a space between them."""
    return " ".join(words(text))


def patterns(query: str) -> list[str]:
    """Return the patterns of LIKE that find a space and the words' beginnings behind it."""
    # No word has a character that means something to LIKE.
    return [f"% {word}%" for word in words(query)]
