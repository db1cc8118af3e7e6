"""What a client may send: its fields, and the errors of those that it may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, validates_schema

from taskapi.exceptions import FieldError
from taskapi.http.fields import Fault


class Input(Schema):
    """What a client may send: its fields, and besides them only what `ignored` names.

    `dependent_required` says which field must come with which, as in JSON Schema, and
    `one_of` names fields of which exactly one must come.
    """

    ignored: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    dependent_required: Mapping[str, str] = {}

    class Meta:
        """marshmallow's own options."""

        unknown = RAISE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = (one.data_key or name for name, one in self.load_fields.items())
        known = sorted(names)
        listed = ", ".join(known) or "none"
        self._accepted = frozenset([*known, *self.ignored])
        self._unknown = Fault("unknown", f"There is no such field here; there are: {listed}.")
        messages: dict[str, Any] = {"type": Fault("wrong_type", "This must be a JSON object.")}
        self.error_messages = messages

    def find_unknown(self, data: Any) -> list[str]:
        """Return the names that `data` has and may not have, in its order."""
        if self.unknown != RAISE or not isinstance(data, Mapping):
            return []
        return [name for name in data if name not in self._accepted]

    def refuse_unknown(self, names: Iterable[str], where: str) -> list[FieldError]:
        """Make an error for each name; `where` is the JSON Pointer that they are below."""
        return [
            FieldError(f"{where}/{_escape(name)}", self._unknown.code, self._unknown.detail)
            for name in names
        ]

    @validates_schema
    def _require_dependent(self, data: Mapping[str, Any], **_kwargs: Any) -> None:
        for name, other in self.dependent_required.items():
            if name in data and other not in data:
                fault = Fault("required", f"This field is required with {name}.")
                raise ValidationError([fault], other)

    @validates_schema
    def _require_one(self, data: Mapping[str, Any], **_kwargs: Any) -> None:
        if self.one_of and sum(name in data for name in self.one_of) != 1:
            detail = f"Send exactly one of these fields: {', '.join(self.one_of)}."
            raise ValidationError([Fault("one_of", detail)])


def field_errors(messages: Mapping[Any, Any], where: str) -> list[FieldError]:
    """Flatten marshmallow's nested messages; `where` is the JSON Pointer they are below."""
    errors = []
    for name, below in messages.items():
        # "_schema" is marshmallow's name for the whole.
        pointer = where if name == "_schema" else f"{where}/{_escape(str(name))}"
        if isinstance(below, Mapping):
            errors += field_errors(below, pointer)
        else:
            errors += [FieldError(pointer, fault.code, fault.detail) for fault in below]
    return errors


def _escape(step: str) -> str:
    """Write a step of a JSON Pointer (RFC 6901, 3)."""
    return step.replace("~", "~0").replace("/", "~1")
