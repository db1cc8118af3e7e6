"""Sequences of requests, in which what one answers goes into the next, against the document.

schemathesis follows the document from one operation to the next: a task that was created is read,
moved, deleted, asked for again. `make fuzz` does it at length.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.specs.openapi.checks import use_after_free

from tests.docs.test_openapi_conformance import People, fit, load_schema, serving

pytestmark = pytest.mark.service

AT_LENGTH = bool(os.environ.get("AT_LENGTH"))
ROUNDS, SCENARIOS, STEPS = (20, 20, 30) if AT_LENGTH else (3, 8, 20)

SETTINGS = settings(
    max_examples=SCENARIOS,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_what_one_request_answers_the_next_can_use(tmp_path):
    asked: Counter[str] = Counter()
    with serving(tmp_path, "local") as url:

        class Machine(load_schema("local", 1).as_state_machine()):  # type: ignore[misc]
            def setup(self) -> None:
                # Somebody new, or what was done before would go on in this one.
                self.people = People(url, "local")
                self.restored: set[str] = set()

            def before_call(self, case: Any) -> None:
                fit(case, self.people)

            def get_call_kwargs(self, _case: Any) -> dict[str, Any]:
                return {"base_url": url, "timeout": 20}

            def after_call(self, response: Any, case: Any) -> None:
                super().after_call(response, case)
                if case.path.endswith("/restore") and response.status_code == 200:
                    self.restored.add(case.path_parameters["task_id"])
                asked[f"{case.operation.label} {response.status_code}"] += 1

            def validate_response(self, response: Any, case: Any, *_: Any, **options: Any) -> None:
                # What came back out of the trash is there again, and the first answer to a request
                # that is sent again is kept even when the task is not.
                is_back = case.path_parameters.get("task_id") in self.restored
                is_back = is_back or "idempotent-replayed" in response.headers
                case.validate_response(
                    response,
                    excluded_checks=[use_after_free] if is_back else [],
                    transport_kwargs=options,
                    recorder=self.recorder,
                )

        given_up = 0
        for number in range(ROUNDS):
            try:
                seed(number)(Machine).run(settings=SETTINGS)
            except FlakyStrategyDefinition:
                # Ids are new each time, and what is drawn depends on them: where hypothesis
                # comes by the same way again it may find another, and gives up on the round.
                given_up += 1

    print(f"{asked.total()} requests; {given_up} of {ROUNDS} rounds were given up early")
    followed = {name for name in asked if "{task_id}" in name and name.endswith((" 200", " 204"))}
    assert len(followed) > 5, asked
