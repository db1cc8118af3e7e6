"""The OpenAPI document of a contract: a task's members by their names in it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from taskapi.contracts.adapter import OF_TASKS

_TASKS: Final = ("Task", "TrashedTask")
_TASK: Final = "#/components/schemas/Task"
_NATIVE_TASK: Final = "#/components/schemas/NativeTask"


def rename_members(document: dict[str, Any], members: Mapping[str, str]) -> None:
    """Rename a task's members where the contract holds; elsewhere refer to `NativeTask`."""
    schemas = document["components"]["schemas"]
    schemas["NativeTask"] = deepcopy(schemas["Task"])
    for name in _TASKS:
        task = schemas[name]
        task["properties"] = _renamed(task["properties"], members)
        task["required"] = [members.get(one, one) for one in task["required"]]
    # A problem may come from paths with either.
    current = schemas["Problem"]["properties"]["current"]
    either = {"anyOf": [{"$ref": _TASK}, {"$ref": _NATIVE_TASK}]}
    schemas["Problem"]["properties"]["current"] = {"description": current["description"], **either}
    for name, described in schemas.items():
        if name != "NativeTask":
            schemas[name] = _in_examples(described, members)
    examples = document["components"]["examples"]
    document["components"]["examples"] = _in_examples({"examples": examples}, members)["examples"]
    for item in document["paths"].values():
        for method, operation in item.items():
            if operation["tags"][0] in OF_TASKS:
                item[method] = _in_examples(operation, members)
            else:
                item[method] = _with_native_tasks(operation)


def _renamed(properties: Mapping[str, Any], members: Mapping[str, str]) -> dict[str, Any]:
    return {members.get(name, name): one for name, one in properties.items()}


def _in_examples(part: Any, members: Mapping[str, str], *, is_example: bool = False) -> Any:
    if isinstance(part, list):
        return [_in_examples(one, members, is_example=is_example) for one in part]
    if not isinstance(part, dict):
        return part
    walked = {
        name: _in_examples(one, members, is_example=is_example or name in ("example", "examples"))
        for name, one in part.items()
    }
    return _renamed(walked, members) if is_example else walked


def _with_native_tasks(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_native_tasks(one) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("$ref") == _TASK:
        return {"$ref": _NATIVE_TASK}
    return {name: _with_native_tasks(one) for name, one in part.items()}
