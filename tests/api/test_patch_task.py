from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.people import assert_problem, assert_refused_field


@pytest.mark.parametrize(
    ("field", "value"),
    [("title", "Buy bread"), ("description", "Rye"), ("completed", True), ("order", 9)],
)
def test_one_field_is_changed_and_the_others_are_kept(alice, field, value):
    task = alice.creates("Buy milk", description="Oat", order=3)

    response = alice.patch(f"/tasks/{task['id']}", {field: value})

    assert response.status_code == 200
    assert response.headers["ETag"] == '"2"'
    patched = response.json
    assert patched[field] == value
    moved = {field, "version", "updated_at"} | ({"completed_at"} if field == "completed" else set())
    assert {key for key in task if task[key] != patched[key]} == moved
    assert alice.get(f"/tasks/{task['id']}").json == patched


def test_null_clears_the_description(alice):
    task = alice.creates(description="Oat")

    assert alice.patch(f"/tasks/{task['id']}", {"description": None}).json["description"] is None


@pytest.mark.parametrize("field", ["title", "completed", "order"])
def test_null_is_refused_where_there_is_nothing_to_clear(alice, field):
    task = alice.creates()

    assert_refused_field(alice.patch(f"/tasks/{task['id']}", {field: None}), f"/{field}", "null")


def test_an_empty_patch_changes_nothing(alice):
    task = alice.creates()

    assert alice.patch(f"/tasks/{task['id']}", {}).json == task
    assert alice.patch(f"/tasks/{task['id']}", {"version": 99, "user_id": "x"}).json == task


def test_a_merge_patch_may_say_what_it_is(alice):
    task = alice.creates()

    response = alice.patch(
        f"/tasks/{task['id']}", data=b'{"order": 4}', content_type="application/merge-patch+json"
    )

    assert response.json["order"] == 4


def test_a_missing_task_stays_missing(alice):
    assert_problem(alice.patch(f"/tasks/{uuid4()}", {"title": "a"}), 404, "task_not_found")
    assert_problem(alice.patch(f"/tasks/{uuid4()}", {}), 404, "task_not_found")


def test_two_who_patch_different_fields_at_once_both_keep_their_change(alice):
    task = alice.creates("0", order=0)

    def patch(change: tuple[str, object]) -> int:
        field, value = change
        return alice.patch(f"/tasks/{task['id']}", {field: value}).json["version"]

    changes: list[tuple[str, object]] = []
    for number in range(1, 41):
        changes += [("title", str(number)), ("order", number), ("description", str(number))]
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(patch, changes))

    final = alice.get(f"/tasks/{task['id']}").json
    last = {
        field: max(
            zip(versions, changes, strict=True), key=lambda pair: (pair[1][0] == field, pair[0])
        )[1][1]
        for field in ("title", "order", "description")
    }
    assert sorted(versions) == list(range(2, 122))
    assert {field: final[field] for field in last} == last
