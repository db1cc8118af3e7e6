from uuid import uuid4

from tests.people import assert_problem, assert_refused_field


def test_title_and_description_are_replaced(alice):
    task = alice.creates("Buy milk", description="Oat", completed=True, order=3)

    response = alice.put(f"/tasks/{task['id']}", {"title": "Buy bread", "description": "Rye"})

    assert response.status_code == 200
    assert response.headers["ETag"] == '"2"'
    assert response.json == {
        **task,
        "title": "Buy bread",
        "description": "Rye",
        "version": 2,
        "updated_at": response.json["updated_at"],
    }
    assert response.json["updated_at"] > task["updated_at"]
    assert alice.get(f"/tasks/{task['id']}").json == response.json


def test_a_description_that_is_absent_becomes_none(alice):
    task = alice.creates(description="Oat")

    assert alice.put(f"/tasks/{task['id']}", {"title": "a"}).json["description"] is None


def test_completion_and_order_change_only_when_they_are_sent(alice):
    task = alice.creates(completed=True, order=3)

    kept = alice.put(f"/tasks/{task['id']}", {"title": "a"}).json
    changed = alice.put(f"/tasks/{task['id']}", {"title": "a", "completed": False, "order": 4}).json

    assert (kept["completed_at"], kept["order"]) == (task["completed_at"], 3)
    assert (changed["completed"], changed["completed_at"], changed["order"]) == (False, None, 4)


def test_what_was_read_may_be_sent_back(alice):
    task = alice.creates(description="Oat", completed=True)

    again = alice.put(f"/tasks/{task['id']}", {**task, "id": str(uuid4()), "user_id": "x"}).json

    assert {**again, "updated_at": 0, "version": 0} == {**task, "updated_at": 0, "version": 0}


def test_a_title_is_required(alice):
    task = alice.creates()

    assert_refused_field(alice.put(f"/tasks/{task['id']}", {}), "/title", "required")
    assert alice.get(f"/tasks/{task['id']}").json == task


def test_a_missing_task_is_not_made(alice):
    assert_problem(alice.put(f"/tasks/{uuid4()}", {"title": "a"}), 404, "task_not_found")
    assert alice.get("/tasks").json["tasks"] == []
