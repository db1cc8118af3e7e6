from uuid import uuid4

import pytest

from tests.support.people import assert_problem


def test_a_task_is_answered_as_it_was_created(alice):
    task = alice.creates("Buy milk", description="Oat", order=2)

    response = alice.get(f"/tasks/{task['id']}")

    assert response.status_code == 200
    assert response.json == task
    assert response.headers["ETag"] == f'"{task["version"]}"'


def test_an_id_may_be_written_in_capitals(alice):
    task = alice.creates()

    assert alice.get(f"/tasks/{task['id'].upper()}").json == task


def test_missing_foreign_and_malformed_ids_look_the_same(alice, bob):
    foreign = bob.creates()["id"]

    answers = [
        assert_problem(alice.get(f"/tasks/{task_id}"), 404, "task_not_found")["detail"]
        for task_id in (uuid4(), foreign, "7", "%00", "{" + foreign + "}", foreign.replace("-", ""))
    ]

    assert len(set(answers)) == 1


@pytest.mark.parametrize("suffix", ["/", "/x", "/complete/x"])
def test_there_is_nothing_below_a_task_but_its_completion(alice, suffix):
    task = alice.creates()

    assert_problem(alice.get(f"/tasks/{task['id']}{suffix}"), 404, "route_not_found")
