"""Apply a contract's table to an application: at its edge, so that nothing inside knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from flask import Flask, Response, request
from marshmallow import EXCLUDE

from taskapi.contracts.table import Contract, Redeclared
from taskapi.extension import Extension
from taskapi.http.endpoint import endpoint_of
from taskapi.http.views import redeclare
from taskapi.transfer.routes import IMPORTED_TASK

CONTRACT: Final[Extension[Contract]] = Extension("contract")
"""The contract of an application, if it has one."""

OF_TASKS: Final = ("tasks", "batch", "changes", "trash")
"""Blueprints that answer tasks as the contract has them."""

_OTHERS: Final = Redeclared()


def adapt(app: Flask, contract: Contract) -> None:
    """Let the views that are registered accept and answer as the contract has it."""
    CONTRACT.set(app, contract)
    for rule in app.url_map.iter_rules():
        rule.strict_slashes = False  # As the servers of these contracts take paths.
    for endpoint, view in app.view_functions.items():
        if not endpoint.startswith("tasks_by_user.") and endpoint_of(view).is_documented:
            app.view_functions[endpoint] = _adapted(endpoint, view, contract)
    if contract.imported_task:
        IMPORTED_TASK.set(app, contract.imported_task)
    app.after_request(_rename_in_answers(contract))
    contract.init_app(app)


def _adapted(endpoint: str, view: Callable[..., Any], contract: Contract) -> Callable[..., Any]:
    view = contract.replaced_views.get(endpoint, view)
    different = contract.views.get(endpoint, _OTHERS)
    declared = endpoint_of(view)
    changes: dict[str, Any] = {"problems": (*declared.problems, *different.problems)}
    if declared.query:
        # Unknown parameters are ignored, as the servers of these contracts do.
        changes["query"] = type(declared.query)(unknown=EXCLUDE)
    if different.body:
        changes["body"] = different.body
    if different.schema:
        changes["returns"] = different.schema
    return redeclare(view, **changes)


def _rename_in_answers(contract: Contract) -> Callable[[Response], Response]:
    names = {f'"{native}":': f'"{name}":' for native, name in contract.members.items()}
    replaced = dict.fromkeys(OF_TASKS, names) | dict(contract.replaced_text)
    tables = {
        blueprint: {old.encode(): new.encode() for old, new in texts.items()}
        for blueprint, texts in replaced.items()
    }

    def rename(response: Response) -> Response:
        table = tables.get(request.blueprint or "")
        if table and response.mimetype == "application/json":
            if response.is_streamed:
                response.response = _replace_each(response.response, table)
            else:
                response.set_data(replace_text(response.get_data(), table))
        return response

    return rename


def _replace_each(chunks: Iterable[Any], table: Mapping[bytes, bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield replace_text(chunk, table)


def replace_text(text: bytes, table: Mapping[bytes, bytes]) -> bytes:
    """Replace JSON text that begins with a quotation mark, wherever it is no part of a string.

    Within a string JSON escapes quotation marks, so `"completed":` is the name of a member and
    nothing else. The text must be orjson's, without white space, not end within a name, and have
    no name with a quotation mark; the service answers no other.
    """
    for old, new in table.items():
        text = text.replace(old, new)
    return text
