"""What a text is sought and sorted by: its words, without case and accents.

PostgreSQL could fold them only with extensions and locales that not every server has, so it
is done here, and what comes out is stored beside the text. Characters are told apart by their
Unicode properties, so that every script is treated alike; a migration renews what is stored
where the rules change.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from taskapi.text import INVISIBLE

# Letters that have no accent to lose but are typed without their stroke all the same.
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
)

# Scripts that put no space between words, by the beginning of their characters' names.
_UNSPACED: Final = (
    *("CJK ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ", "YI ", "NUSHU "),
    *("TANGUT ", "THAI ", "LAO ", "MYANMAR ", "KHMER ", "TAI ", "NEW TAI ", "IDEOGRAPHIC "),
)
_LONGEST: Final = 8000  # characters; some decompose into eighteen
_CACHED_BELOW: Final = 0x3000
"""The code points whose treatment is remembered: 12,000 of them, but not 100,000 ideographs."""


class _Table(dict[int, str]):
    """A table for `str.translate` that fills itself."""

    def __missing__(self, code: int) -> str:
        replacement = self.replace(chr(code))
        if code < _CACHED_BELOW:
            self[code] = replacement
        return replacement

    def replace(self, character: str) -> str:
        """Return what a character becomes."""
        raise NotImplementedError


class _Marks(_Table):
    """Drop invisible characters, and the marks that people leave out when they type.

    Those are nonspacing marks above and below (combining class 200 and more, or 1) and the points
    of Hebrew and Arabic (10 to 36). In other scripts marks are vowels, or make another letter.
    """

    def replace(self, character: str) -> str:
        kind = unicodedata.combining(character)
        is_accent = unicodedata.category(character) == "Mn" and (
            kind == 1 or 10 <= kind <= 36 or kind >= 200
        )
        return "" if is_accent or INVISIBLE.match(character) else character


class _Separators(_Table):
    """Put spaces between words.

    Letters, digits and marks make words. A symbol beyond Latin-1, pictures included, and a
    character of an unspaced script is a word by itself. All else stands between words.
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
    """Return the words of a text as they are compared; "Crème Brûlée!" has creme and brulee."""
    if not text:
        return []
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())[:_LONGEST]
        text = unicodedata.normalize("NFC", decomposed.translate(_MARKS)).translate(_STROKES)
    return text.casefold().translate(_SEPARATORS).split()


def folded(text: str | None) -> str:
    """Return the words of a text as they are stored, with a space between them."""
    return " ".join(words(text))


def patterns(query: str) -> list[str]:
    """Return the patterns of LIKE that find a space and the words' beginnings behind it."""
    # No word has a character that means something to LIKE.
    return [f"% {word}%" for word in words(query)]
