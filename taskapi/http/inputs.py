"""Schemas of input, with error reports for unknown and missing fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, validates_schema

from taskapi.exceptions import FieldError
from taskapi.http.fields import Fault


class Input(Schema):
    """The schema of a client's input: its fields, and the names in `ignored`.

    `dependent_required` maps a field to one that must be sent with it, as in JSON Schema. Exactly
    one of the fields in `one_of` must be sent.
    """

    ignored: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    dependent_required: Mapping[str, str] = {}

    class Meta:
        """The options of marshmallow."""

        unknown = RAISE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = (field.data_key or name for name, field in self.load_fields.items())
        known = sorted(names)
        listed = ", ".join(known) or "none"
        self._accepted = frozenset([*known, *self.ignored])
        self._unknown = Fault("unknown", f"There is no such field here; there are: {listed}.")
        messages: dict[str, Any] = {"type": Fault("wrong_type", "This must be a JSON object.")}
        self.error_messages = messages

    def find_unknown(self, data: Any) -> list[str]:
        """Return the unknown names in `data`, in its order."""
        if self.unknown != RAISE or not isinstance(data, Mapping):
            return []
        return [name for name in data if name not in self._accepted]

    def unknown_errors(self, names: Iterable[str], pointer: str) -> list[FieldError]:
        """Return an error for each unknown name; `pointer` is the JSON Pointer of their parent."""
        return [
            FieldError(f"{pointer}/{_escape(name)}", self._unknown.code, self._unknown.detail)
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


def flatten_errors(messages: Mapping[Any, Any], parent: str) -> list[FieldError]:
    """Flatten marshmallow's nested messages; `parent` is the JSON Pointer of their parent."""
    errors = []
    for name, value in messages.items():
        # marshmallow's key for errors of the whole object is "_schema".
        pointer = parent if name == "_schema" else f"{parent}/{_escape(str(name))}"
        if isinstance(value, Mapping):
            errors += flatten_errors(value, pointer)
        else:
            errors += [FieldError(pointer, fault.code, fault.detail) for fault in value]
    return errors


def _escape(step: str) -> str:
    """Escape a reference token of a JSON Pointer (RFC 6901, section 3)."""
    return step.replace("~", "~0").replace("/", "~1")
