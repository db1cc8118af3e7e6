"""Compose examples of schemas from the examples of their fields."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


def example_of(schema: Schema, overrides: Any = None) -> Any:
    """Compose the example of a schema from those of its fields; `overrides` replaces members."""
    if schema.many:
        return [example_of(type(schema)())]
    example: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if isinstance(field, fields.Nested):
            example[name] = example_of(field.schema)
        elif isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
            example[name] = [example_of(field.inner.schema)]
        elif isinstance(field, fields.Constant):
            example[name] = field.constant
        elif "example" in field.metadata:
            example[name] = field.metadata["example"]
    return example | (overrides or {})
