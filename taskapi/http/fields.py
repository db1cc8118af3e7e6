"""Strict fields of JSON input, with a code for each kind of error.

marshmallow's own fields accept "5" for 5 and "yes" for true, which hides errors of clients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from marshmallow import ValidationError, fields

from taskapi.text import INVISIBLE_IN_BMP, is_blank

UUID_TEXT: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
)
_FORBIDDEN = "\x00"  # PostgreSQL's type text cannot store it.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>T\d\d:\d\d:(?P<second>\d\d)(\.\d{1,9})?"
    r"(?P<offset>Z|[ +-]\d\d:\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Fault:
    """An error of a value: a code for programs, and a sentence for people."""

    code: str
    detail: str


class Coded(fields.Field[Any]):
    """A field with marshmallow's keys of error messages as the codes of its errors."""

    default_error_messages = {
        "required": "This field is required.",
        "null": "This field may not be null.",
    }

    def make_error(self, key: str, **kwargs: Any) -> ValidationError:
        """Make the error with the message of `key`."""
        detail = str(self.error_messages[key]).format(**kwargs)
        return ValidationError([Fault(key, detail)])


class Text(Coded):
    """Text of `shortest` to `longest` characters, unchanged unless `trim` is set.

    `empty_is_null` loads "" as None; `not_blank` rejects text of only white space and invisible
    characters.
    """

    default_error_messages = {
        "wrong_type": "This must be text.",
        "blank": "This may not be blank.",
        "too_short": "This has {length} characters; at least {shortest} are needed.",
        "too_long": "This has {length} characters; at most {longest} are allowed.",
        "forbidden_character": "This contains a NUL character or half a surrogate pair.",
    }

    def __init__(
        self,
        longest: int,
        *,
        shortest: int = 0,
        trim: bool = False,
        not_blank: bool = False,
        empty_is_null: bool = False,
        **kwargs: Any,
    ) -> None:
        # JSON Schema expresses `not_blank` as a pattern.
        limits: dict[str, Any] = {"type": "string", "maxLength": longest}
        limits |= {"minLength": shortest} if shortest else {}
        not_blank = not_blank or trim
        visible = (
            rf"[^\s\u0000-\u001f\u007f-\u009f{INVISIBLE_IN_BMP}][^\u0000]*" if not_blank else ""
        )
        limits |= {"pattern": rf"^[^\u0000]*{visible}$"}
        super().__init__(**kwargs)
        self.metadata = {**limits, **self.metadata}
        self.shortest = shortest
        self.longest = longest
        self.trim = trim
        self.not_blank = not_blank
        self.empty_is_null = empty_is_null

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str | None:
        if not isinstance(value, str):
            raise self.make_error("wrong_type")
        if _FORBIDDEN in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise self.make_error("forbidden_character")
        text = value.strip() if self.trim else value
        if self.empty_is_null and not text:
            return None
        if self.not_blank and is_blank(text):
            raise self.make_error("blank")
        if len(text) < self.shortest:
            raise self.make_error("too_short", length=len(text), shortest=self.shortest)
        if len(text) > self.longest:
            raise self.make_error("too_long", length=len(text), longest=self.longest)
        return text


class Integer(Coded):
    """An integer from `smallest` to `largest`; `in_text` parses it from the text of a query."""

    default_error_messages = {
        "wrong_type": "This must be a whole number.",
        "out_of_range": "This must be between {smallest} and {largest}.",
    }

    def __init__(
        self, smallest: int, largest: int, *, in_text: bool = False, **kwargs: Any
    ) -> None:
        limits = {"type": "integer", "minimum": smallest, "maximum": largest}
        super().__init__(**kwargs)
        self.metadata = {**limits, **self.metadata}
        self.smallest = smallest
        self.largest = largest
        self.in_text = in_text

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> int:
        if self.in_text and value.isascii() and value.removeprefix("-").isdigit():
            value = int(value) if len(value) < 20 else self.largest + 1
        # JSON has one number type, so 1.0 is an integer; Python's bool is excluded by type().
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise self.make_error("wrong_type")
        if not self.smallest <= value <= self.largest:
            raise self.make_error("out_of_range", smallest=self.smallest, largest=self.largest)
        return value


class Boolean(Coded):
    """true or false; `in_text` parses it from the text of a query."""

    default_error_messages = {"wrong_type": "This must be true or false."}

    def __init__(self, *, in_text: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "boolean", **self.metadata}
        self.in_text = in_text

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> bool:
        if self.in_text:
            value = {"true": True, "false": False}.get(value)
        if not isinstance(value, bool):
            raise self.make_error("wrong_type")
        return value


class Choice(Coded):
    """One of the texts in `choices`."""

    default_error_messages = {"unknown": "This must be one of: {choices}."}

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "string", "enum": list(choices), **self.metadata}
        self.choices = choices

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        if value not in self.choices:
            raise self.make_error("unknown", choices=", ".join(self.choices))
        return str(value)


class Time(Coded):
    """A time in the format of RFC 3339, with an offset from UTC."""

    default_error_messages = {
        "invalid": "This must be a time such as 2026-11-20T08:15:30Z.",
        "date_alone": "This is a date; say the time as well, as in {date}T00:00:00Z.",
        "no_offset": "This has no offset from UTC; add Z, or +01:00 (in a URL %2B01:00).",
        "unescaped_plus": "This has a space for the sign of its offset, as which a URL reads a +; "
        "write %2B for it, as in {escaped}.",
        "leap_second": "This is a leap second; send the second before it, as in {before}.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "string", "format": "date-time", **self.metadata}

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> datetime:
        if not isinstance(value, str) or not (parts := _TIME.fullmatch(value)):
            raise self.make_error("invalid")
        if not parts["time"]:
            raise self.make_error("date_alone", date=value)
        if not parts["offset"]:
            raise self.make_error("no_offset")
        if parts["offset"].startswith(" "):
            raise self.make_error("unescaped_plus", escaped=value.replace(" ", "%2B"))
        if parts["second"] == "60":
            start, end = parts.span("second")
            raise self.make_error("leap_second", before=f"{value[:start]}59{value[end:]}")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


class Id(Coded):
    """A UUID in its text form of 36 characters (RFC 9562)."""

    default_error_messages = {"invalid": "This must be a UUID, as its text of 36 characters."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "string", "format": "uuid", **self.metadata}

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        if not isinstance(value, str) or not UUID_TEXT.fullmatch(value):
            raise self.make_error("invalid")
        return value.lower()
