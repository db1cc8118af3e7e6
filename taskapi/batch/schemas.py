"""The input and output schemas of batches; each operation is validated by itself."""

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

MAX_OPERATIONS: Final = 100


class Operation(NamedTuple):
    """An operation of a batch. `create` without an id gets a generated one."""

    op: str
    id: str | None
    versions: list[int] | None
    data: dict[str, Any]


class Version(Coded):
    """The version that a task must have, as a number or an ETag; deserialized to a list of one."""

    default_error_messages = {
        "invalid": 'This must be a version such as 42, or its ETag, "\\"42\\"".'
    }

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> list[int]:
        # JSON has one number type, so 42.0 is an integer; Python's bool is excluded by type().
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        digits = str(value).removeprefix("W/").strip('"') if type(value) in (int, str) else ""
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise self.make_error("invalid")
        return [int(digits)]


class _CreateOperation(Input):
    op = Choice(["create"], required=True)
    id = Id()
    data = Coded(required=True)


class _Operation(Input):
    op = Choice(["create", "update", "complete", "move", "delete"], required=True)
    id = Id(required=True)
    if_match = Version()
    data = Coded()


class _OperationWithData(_Operation):
    data = Coded(required=True)


DATA: Final[Mapping[str, Input]] = {
    "create": TaskInput(),
    "update": TaskInput(partial=True),
    "complete": Completion(),
    "move": Move(),
    "delete": Input(),
}
_OPERATION: Final = _Operation()
_OPERATIONS: Final[dict[Any, Input]] = {
    "create": _CreateOperation(),
    "update": _OperationWithData(),
    "move": _OperationWithData(),
}
"""The schemas of operations by `op`; `_OPERATION` is that of all others."""


def _describe_operation(
    op: str, required: list[str], data: dict[str, Any] | None
) -> dict[str, Any]:
    task_id: dict[str, Any] = {"type": "string", "format": "uuid"}
    properties: dict[str, Any] = {"op": {"type": "string", "enum": [op]}, "id": task_id}
    if op != "create":
        properties["if_match"] = {
            "description": "Run the operation only if the task has this version.",
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


def _schema_ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


_EXAMPLE: Final = [
    {"op": "create", "data": {"title": "Buy milk"}},
    {"op": "complete", "id": EXAMPLE_ID, "data": {"completed": True}},
]


def _describe_operations(data: Mapping[str, Input]) -> dict[str, Any]:
    refs = {op: _schema_ref(component_name(schema)) for op, schema in data.items()}
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_OPERATIONS,
        "items": {
            "oneOf": [
                _describe_operation("create", ["data"], refs["create"]),
                _describe_operation("update", ["id", "data"], refs["update"]),
                _describe_operation("complete", ["id"], refs["complete"]),
                _describe_operation("move", ["id", "data"], refs["move"]),
                _describe_operation("delete", ["id"], None),
            ]
        },
        "example": _EXAMPLE,
    }


class Operations(Coded):
    """A list of operations; deserialized to an `Operation` or a `ValidationFailed` for each."""

    default_error_messages = {
        "wrong_type": "This must be a list of operations.",
        "wrong_length": "Send 1 to {most} operations; here are {length}.",
    }

    def __init__(self, data: Mapping[str, Input] = DATA, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {**_describe_operations(data), **self.metadata}
        self.data = data

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("wrong_type")
        if not 1 <= len(value) <= MAX_OPERATIONS:
            raise self.make_error("wrong_length", length=len(value), most=MAX_OPERATIONS)
        return [_load_operation(index, item, self.data) for index, item in enumerate(value)]


def _load_operation(
    index: int, payload: Any, schemas: Mapping[str, Input]
) -> Operation | ValidationFailed:
    pointer = f"/operations/{index}"
    try:
        op = payload.get("op") if isinstance(payload, Mapping) else None
        schema = _OPERATIONS.get(op, _OPERATION) if isinstance(op, str) else _OPERATION
        loaded = load(schema, payload, pointer)
        data = load(schemas[loaded["op"]], loaded.get("data", {}), f"{pointer}/data")
    except ValidationFailed as error:
        # The traceback's frames would hold the list of outcomes, a reference cycle.
        return error.with_traceback(None)
    return Operation(loaded["op"], loaded.get("id"), loaded.get("if_match"), data)


EXAMPLE_RESULTS: Final = [
    {"status": 201, "task": example_of(Task(), {"description": None})},
    {"status": 200, "task": example_of(Task(), EXAMPLE_COMPLETION)},
]


class Batch(Input):
    atomic = Boolean(
        load_default=False,
        metadata={"description": "Run all operations or none.", "example": False},
    )
    operations = Operations(required=True)


class Result(Schema):
    status = fields.Integer(
        required=True,
        metadata={
            "description": "The status code of the operation, as if sent alone.",
            "example": 201,
        },
    )
    task = fields.Nested(Task, metadata={"description": "The task after the operation."})
    problem = fields.Dict(
        metadata={"description": "Why the operation failed.", "allOf": [_schema_ref("Problem")]}
    )


class Results(Schema):
    results = fields.List(
        fields.Nested(Result),
        required=True,
        metadata={"description": "The result of each operation, in the same order."},
    )
