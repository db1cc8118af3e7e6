"""The earlier contracts: `CONTRACT=b` or `c` makes the service speak as their documents do.

Each contract is a table (`b`, `c`): what its views accept, what a task's members are called, which
status a problem has, how an error is written. `adapter` applies the table at the edge; the views,
services and statements know of no contract. Contract A has paths of its own, beside all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from taskapi.contracts import a, adapter, b, c
from taskapi.http import problems
from taskapi.http.problems import ErrorFormat
from taskapi.settings import Settings

_CONTRACTS = {"b": b.CONTRACT, "c": c.CONTRACT}

# Contract A: malformed JSON is input that cannot be accepted, like all other.
_OF_A: Mapping[str | None, Mapping[str, int]] = {"tasks_by_user": {"malformed_json": 422}}


def init_app(app: Flask, settings: Settings) -> None:
    """Apply the contract of the settings to the views that are registered."""
    app.config["CONTRACT"] = settings.contract
    app.register_blueprint(a.blueprint)  # Contract A's paths are there in each.
    contract = _CONTRACTS.get(settings.contract)
    if contract is None:
        problems.set_format(app, ErrorFormat(statuses=_OF_A))
        return
    problems.set_format(app, contract.error_format(_OF_A))
    adapter.adapt(app, contract)
