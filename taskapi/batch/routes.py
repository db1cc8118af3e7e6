"""The view of `/tasks/batch`."""

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

_PROBLEMS = ("task_not_found", "precondition_failed", "task_in_trash", "no_room", "quota_exceeded")


@blueprint.post("")
@endpoint(
    body=Batch(),
    body_limit=BATCH_LIMIT,
    idempotency="stored_answer",
    status=207,
    returns=Results(),
    problems=_PROBLEMS,
    problem_members={code: {"index": 0} for code in _PROBLEMS},
    response_example={"results": EXAMPLE_RESULTS},
)
def run_operations(body: dict[str, Any]) -> Any:
    """Run up to 100 task operations in order.

    Operations are `create` (optionally with a client-generated `id`), `update` (as PATCH),
    `complete` (without `data`, it toggles `completed`), `move` and `delete` (moves to the trash).
    Each operation has its own result, as if it were sent alone. With `atomic`, either all
    operations take effect or none: the response to a failure is the problem of the failed
    operation, with its `index`.
    """
    operations = body["operations"]
    charge(len(operations) - 1)
    outcomes = run_batch(g.actor, operations, atomic=body["atomic"])
    budget = ErrorBudget()
    results = [_make_result(*pair, budget) for pair in zip(operations, outcomes, strict=True)]
    return json_response({"results": results}, 207)


def _make_result(operation: Operation, outcome: Outcome, budget: ErrorBudget) -> dict[str, Any]:
    if isinstance(outcome, ValidationFailed):
        outcome = budget.spend(outcome)
    if isinstance(outcome, TaskapiError):
        problem = describe(outcome)
        return {"status": problem["status"], "problem": problem}
    if outcome is None:
        return {"status": 204}
    return {"status": 201 if operation.op == "create" else 200, "task": outcome}
