"""Fold texts into words without case and accents, for searching and sorting.

PostgreSQL can fold them only with extensions and locales that not every server has, so Python folds
them, and the result is stored beside the text. Characters are classified by their Unicode
properties, so that every script is treated alike. If the rules change, a migration folds all stored
texts again.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from taskapi.text import INVISIBLE

# Letters without a decomposition that are often typed without their stroke.
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
)

# Scripts without spaces between words, by the prefix of their characters' names.
_UNSPACED: Final = (
    *("CJK ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ", "YI ", "NUSHU "),
    *("TANGUT ", "THAI ", "LAO ", "MYANMAR ", "KHMER ", "TAI ", "NEW TAI ", "IDEOGRAPHIC "),
)
_MAX_DECOMPOSED_LENGTH: Final = 8000  # characters; some decompose into eighteen
_MAX_CACHED_CODE_POINT: Final = 0x3000
"""The limit, exclusive, of cached replacements: 12,000 code points, without 100,000 ideographs."""


class _Table(dict[int, str]):
    """A table for `str.translate` that computes and caches its entries."""

    def __missing__(self, code: int) -> str:
        replacement = self.replace(chr(code))
        if code < _MAX_CACHED_CODE_POINT:
            self[code] = replacement
        return replacement

    def replace(self, character: str) -> str:
        """Return the replacement of a character."""
        raise NotImplementedError


class _Marks(_Table):
    """Remove invisible characters and accents.

    Accents are nonspacing marks above and below (combining class 200 and more, or 1) and the points
    of Hebrew and Arabic (10 to 36). In other scripts, marks are vowels or make another letter.
    """

    def replace(self, character: str) -> str:
        kind = unicodedata.combining(character)
        is_accent = unicodedata.category(character) == "Mn" and (
            kind == 1 or 10 <= kind <= 36 or kind >= 200
        )
        return "" if is_accent or INVISIBLE.match(character) else character


class _Separators(_Table):
    """Separate words by spaces.

    Letters, digits and marks make up words. A symbol beyond Latin-1, emoji included, and a
    character of a script without spaces is a word by itself. All other characters are separators.
    """

    def replace(self, character: str) -> str:
        category = unicodedata.category(character)
        if category[0] in "LNM":
            is_unspaced = unicodedata.name(character, "").startswith(_UNSPACED)
            return f" {character} " if is_unspaced else character
        is_picture = category in ("So", "Sm", "Sk") and character > "\xff"
        return f" {character} " if is_picture else " "


_MARKS: Final = _Marks()
_SEPARATORS: Final = _Separators()


def words(text: str | None) -> list[str]:
    """Return the folded words of a text: `creme` and `brulee` for "Crème Brûlée!"."""
    if not text:
        return []
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())[:_MAX_DECOMPOSED_LENGTH]
        text = unicodedata.normalize("NFC", decomposed.translate(_MARKS)).translate(_STROKES)
    return text.casefold().translate(_SEPARATORS).split()


def fold(text: str | None) -> str:
    """Return the folded words of a text, separated by spaces, as they are stored."""
    return " ".join(words(text))


def patterns(query: str) -> list[str]:
    """Return a pattern of LIKE for each word of a search, which matches words with this prefix."""
    # Folded words contain no character that is special in LIKE.
    return [f"% {word}%" for word in words(query)]
