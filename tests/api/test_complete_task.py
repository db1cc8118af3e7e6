from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.people import assert_problem, assert_refused_field


def test_without_a_body_completion_flips(alice):
    task = alice.creates()

    done = alice.patch(f"/tasks/{task['id']}/complete")
    assert done.status_code == 200
    assert done.headers["ETag"] == '"2"'
    assert done.json["completed"] is True
    assert done.json["completed_at"] == done.json["updated_at"]

    open_again = alice.patch(f"/tasks/{task['id']}/complete").json
    assert (open_again["completed"], open_again["completed_at"]) == (False, None)
    assert open_again["version"] == 3


def test_an_empty_body_that_calls_itself_json_flips_too(alice):
    task = alice.creates()

    response = alice.patch(f"/tasks/{task['id']}/complete", content_type="application/json")

    assert response.json["completed"] is True


def test_a_body_sets_it_and_may_be_sent_again(alice):
    task = alice.creates()

    first = alice.patch(f"/tasks/{task['id']}/complete", {"completed": True}).json
    again = alice.patch(f"/tasks/{task['id']}/complete", {"completed": True}).json
    reopened = alice.patch(f"/tasks/{task['id']}/complete", {"completed": False}).json

    assert again["completed"] is True
    assert again["completed_at"] == first["completed_at"]
    assert (reopened["completed"], reopened["completed_at"]) == (False, None)


def test_a_body_that_sets_nothing_flips(alice):
    task = alice.creates()

    assert alice.patch(f"/tasks/{task['id']}/complete", {}).json["completed"] is True


@pytest.mark.parametrize("value", ["true", 1, None])
def test_only_true_and_false_are_taken(alice, value):
    task = alice.creates()

    response = alice.patch(f"/tasks/{task['id']}/complete", {"completed": value})

    assert_refused_field(response, "/completed", "null" if value is None else "wrong_type")


def test_a_missing_task_cannot_be_completed(alice):
    assert_problem(alice.patch(f"/tasks/{uuid4()}/complete"), 404, "task_not_found")


def test_flips_at_the_same_time_all_count(alice):
    task = alice.creates()

    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: alice.patch(f"/tasks/{task['id']}/complete").json, range(31))
        )

    in_order = sorted(answers, key=lambda answer: answer["version"])
    assert [answer["version"] for answer in in_order] == list(range(2, 33))
    assert [answer["completed"] for answer in in_order] == [n % 2 == 0 for n in range(31)]
    times = [answer["updated_at"] for answer in in_order]
    assert times == sorted(times), "times do not follow versions"
