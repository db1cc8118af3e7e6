from uuid import uuid4

from tests.support.people import assert_problem, assert_refused_field


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


def test_what_is_absent_is_kept_and_null_clears(alice):
    task = alice.creates("Buy milk", description="Oat")
    url = f"/tasks/{task['id']}"

    renamed = alice.put(url, {"title": "Buy bread"}).json
    described = alice.put(url, {"description": "Rye"}).json
    cleared = alice.put(url, {"description": None}).json

    assert (renamed["title"], renamed["description"]) == ("Buy bread", "Oat")
    assert (described["title"], described["description"]) == ("Buy bread", "Rye")
    assert (cleared["title"], cleared["description"]) == ("Buy bread", None)


def test_nothing_sent_changes_nothing(alice):
    task = alice.creates()

    assert alice.put(f"/tasks/{task['id']}", {}).json == task


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


def test_a_title_can_be_changed_but_not_cleared(alice):
    task = alice.creates()
    url = f"/tasks/{task['id']}"

    assert_refused_field(alice.put(url, {"title": None}), "/title", "null")
    assert_refused_field(alice.put(url, {"title": " "}), "/title", "blank")
    assert alice.get(url).json == task


def test_a_new_task_takes_a_title(alice):
    url = f"/tasks/{uuid4()}"
    anew = {"If-None-Match": "*"}

    assert_refused_field(alice.put(url, {"completed": True}, headers=anew), "/title", "required")
    assert alice.put(url, {"title": "Buy milk"}, headers=anew).status_code == 201


def test_a_missing_task_is_not_made(alice):
    assert_problem(alice.put(f"/tasks/{uuid4()}", {"title": "a"}), 404, "task_not_found")
    assert alice.get("/tasks").json["tasks"] == []
