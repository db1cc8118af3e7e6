"""What JSON may say in a batch: each operation by itself is good or bad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from marshmallow import Schema, fields

from taskapi.exceptions import ValidationFailed
from taskapi.http.endpoint import component_name
from taskapi.http.examples import example_of
from taskapi.http.fields import Boolean, Choice, Coded, Id
from taskapi.http.inputs import Input
from taskapi.http.payload import load
from taskapi.tasks.schemas import (
    EXAMPLE_COMPLETION,
    EXAMPLE_ID,
    Completion,
    Move,
    Task,
    TaskInput,
)

MOST: Final = 100  # operations


class Operation(NamedTuple):
    """An operation of a batch. Without an id a task gets one of ours."""

    op: str
    id: str | None
    versions: list[int] | None
    data: dict[str, Any]


class Version(Coded):
    """The version that a task must have: the number, or its ETag."""

    default_error_messages = {
        "invalid": 'This must be a version such as 42, or its ETag, "\\"42\\"".'
    }

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> list[int]:
        # To JSON, 42.0 is as whole as 42; true is no number.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        digits = str(value).removeprefix("W/").strip('"') if type(value) in (int, str) else ""
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise self.make_error("invalid")
        return [int(digits)]


class _Creating(Input):
    op = Choice(["create"], required=True)
    id = Id()
    data = Coded(required=True)


class _Closing(Input):
    op = Choice(["create", "update", "complete", "move", "delete"], required=True)
    id = Id(required=True)
    if_match = Version()
    data = Coded()


class _Changing(_Closing):
    data = Coded(required=True)


DATA: Final[Mapping[str, Input]] = {
    "create": TaskInput(),
    "update": TaskInput(partial=True),
    "complete": Completion(),
    "move": Move(),
    "delete": Input(),
}
_CLOSING: Final = _Closing()
_OUTER: Final[dict[Any, Input]] = {
    "create": _Creating(),
    "update": _Changing(),
    "move": _Changing(),
}


def _described(op: str, required: list[str], data: dict[str, Any] | None) -> dict[str, Any]:
    identified: dict[str, Any] = {"type": "string", "format": "uuid"}
    properties: dict[str, Any] = {"op": {"type": "string", "enum": [op]}, "id": identified}
    if op != "create":
        properties["if_match"] = {
            "description": "Only if the task has this version.",
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": 10**17,
            "pattern": '^(W/)?"?[0-9]{1,18}"?$',
        }
    if data:
        properties["data"] = data
    return {
        "type": "object",
        "properties": properties,
        "required": ["op", *required],
        "additionalProperties": False,
    }


def _named(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


_EXAMPLE: Final = [
    {"op": "create", "data": {"title": "Buy milk"}},
    {"op": "complete", "id": EXAMPLE_ID, "data": {"completed": True}},
]


def _description(data: Mapping[str, Input]) -> dict[str, Any]:
    named = {op: _named(component_name(schema)) for op, schema in data.items()}
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST,
        "items": {
            "oneOf": [
                _described("create", ["data"], named["create"]),
                _described("update", ["id", "data"], named["update"]),
                _described("complete", ["id"], named["complete"]),
                _described("move", ["id", "data"], named["move"]),
                _described("delete", ["id"], None),
            ]
        },
        "example": _EXAMPLE,
    }


class Operations(Coded):
    """Operations, and in the place of each that says what none can say, its `ValidationFailed`."""

    default_error_messages = {
        "wrong_type": "This must be a list of operations.",
        "wrong_length": "Send 1 to {most} operations; here are {length}.",
    }

    def __init__(self, data: Mapping[str, Input] = DATA, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {**_description(data), **self.metadata}
        self.data = data

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("wrong_type")
        if not 1 <= len(value) <= MOST:
            raise self.make_error("wrong_length", length=len(value), most=MOST)
        return [_read(index, said, self.data) for index, said in enumerate(value)]


def _read(index: int, said: Any, schemas: Mapping[str, Input]) -> Operation | ValidationFailed:
    where = f"/operations/{index}"
    try:
        op = said.get("op") if isinstance(said, Mapping) else None
        outer = load(_OUTER.get(op, _CLOSING) if isinstance(op, str) else _CLOSING, said, where)
        data = load(schemas[outer["op"]], outer.get("data", {}), f"{where}/data")
    except ValidationFailed as refusal:
        return refusal.with_traceback(None)  # Its frames hold the outcomes, and so itself.
    return Operation(outer["op"], outer.get("id"), outer.get("if_match"), data)


EXAMPLE_RESULTS: Final = [
    {"status": 201, "task": example_of(Task(), {"description": None})},
    {"status": 200, "task": example_of(Task(), EXAMPLE_COMPLETION)},
]


class Batch(Input):
    atomic = Boolean(
        load_default=False, metadata={"description": "All of them or none.", "example": False}
    )
    operations = Operations(required=True)


class Result(Schema):
    status = fields.Integer(
        required=True,
        metadata={"description": "As if it had been sent alone.", "example": 201},
    )
    task = fields.Nested(Task, metadata={"description": "As it is after the operation."})
    problem = fields.Dict(
        metadata={"description": "Why the operation was refused.", "allOf": [_named("Problem")]}
    )


class Results(Schema):
    results = fields.List(
        fields.Nested(Result),
        required=True,
        metadata={"description": "One for each operation, in the same order."},
    )
