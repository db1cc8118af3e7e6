"""Many operations in one request, for whoever the token belongs to."""

from __future__ import annotations

from typing import Any

from flask import g

from taskapi.batch.schemas import EXAMPLE_RESULTS, Batch, Operation, Results
from taskapi.batch.service import Outcome, run_batch
from taskapi.exceptions import ErrorBudget, TaskapiError, ValidationFailed
from taskapi.http.app import Section, json_response
from taskapi.http.problems import describe
from taskapi.http.rate_limits import charge
from taskapi.http.views import endpoint
from taskapi.settings import BATCH_LIMIT

blueprint = Section("batch", __name__, "Many operations at once.", "/tasks/batch")

_REFUSALS = ("task_not_found", "precondition_failed", "task_in_trash", "no_room", "quota_exceeded")


@blueprint.post("")
@endpoint(
    body=Batch(),
    body_limit=BATCH_LIMIT,
    idempotency="stored_answer",
    status=207,
    returns=Results(),
    problems=_REFUSALS,
    problem_members={code: {"index": 0} for code in _REFUSALS},
    response_example={"results": EXAMPLE_RESULTS},
)
def run_operations(body: dict[str, Any]) -> Any:
    """Run up to 100 operations on tasks, in their order.

    `create` (with an `id` of your own, if you like), `update` (as PATCH), `complete` (without
    `data` it flips), `move` and `delete` (into the trash). Each is answered as if it had been
    sent alone. With `atomic` all of them are done or none: then one that cannot be is the
    problem that is answered, with its `index`.
    """
    operations = body["operations"]
    charge(len(operations) - 1)
    outcomes = run_batch(g.actor, operations, atomic=body["atomic"])
    budget = ErrorBudget()
    results = [_result(*pair, budget) for pair in zip(operations, outcomes, strict=True)]
    return json_response({"results": results}, 207)


def _result(operation: Operation, outcome: Outcome, budget: ErrorBudget) -> dict[str, Any]:
    if isinstance(outcome, ValidationFailed):
        outcome = budget.spend(outcome)
    if isinstance(outcome, TaskapiError):
        problem = describe(outcome)
        return {"status": problem["status"], "problem": problem}
    if outcome is None:
        return {"status": 204}
    return {"status": 201 if operation.op == "create" else 200, "task": outcome}
