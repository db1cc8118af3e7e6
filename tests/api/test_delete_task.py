from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.support.people import assert_problem


def test_a_deleted_task_is_gone(alice):
    task, other = alice.creates("Buy milk"), alice.creates("Buy bread")

    response = alice.delete(f"/tasks/{task['id']}")

    assert response.status_code == 204
    assert response.data == b""
    assert "Content-Type" not in response.headers
    assert_problem(alice.get(f"/tasks/{task['id']}"), 404, "task_not_found")
    assert alice.get("/tasks").json["tasks"] == [other]


def test_it_cannot_be_deleted_again(alice):
    task = alice.creates()
    alice.delete(f"/tasks/{task['id']}")

    assert_problem(alice.delete(f"/tasks/{task['id']}"), 404, "task_not_found")
    assert_problem(alice.delete(f"/tasks/{uuid4()}"), 404, "task_not_found")


def test_a_deletion_is_counted_like_every_change(alice):
    alice.delete(f"/tasks/{alice.creates()['id']}")

    assert alice.creates()["version"] == 3


def test_of_several_deletions_one_succeeds_while_others_write(alice):
    ids = [alice.creates()["id"] for _ in range(20)]

    def write(number: int) -> int:
        path = f"/tasks/{ids[number % 20]}"
        if number % 3 == 0:
            return alice.patch(path, {"order": number}).status_code
        return alice.delete(path).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, range(200)))

    assert statuses.count(204) == 20
    assert set(statuses) == {200, 204, 404}
