"""Detect invisible characters, by Unicode properties that `unicodedata` lacks."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

INVISIBLE_IN_BMP: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
)
# Default_Ignorable_Code_Point of DerivedCoreProperties.txt, which `unicodedata` lacks.
INVISIBLE_RANGES: Final = (
    f"{INVISIBLE_IN_BMP}\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
INVISIBLE: Final = re.compile(f"[{INVISIBLE_RANGES}]")
"""Matches one character that fonts render as nothing."""


def is_blank(text: str) -> bool:
    """Return whether a text has only white space, control and invisible characters."""
    return all(
        character.isspace()
        or unicodedata.category(character) == "Cc"
        or INVISIBLE.match(character) is not None
        for character in text
    )
