"""What the trash keeps of columns that this release does not know: those of a later one."""

import pytest
from sqlalchemy import text

from taskapi.db.execute import SYSTEM, execute


@pytest.fixture
def later_column(app, sql):
    """A column that a later migration has added to tasks, while this release serves."""
    sql("ALTER TABLE tasks ADD COLUMN colour text NOT NULL DEFAULT 'none'")
    yield
    with app.app_context():
        execute(text("ALTER TABLE tasks DROP COLUMN colour"), acting_as=SYSTEM)
        execute(text("ALTER TABLE trash DROP COLUMN IF EXISTS colour"), acting_as=SYSTEM)


def colours(sql):
    return [row["colour"] for row in sql("SELECT colour FROM tasks")]


def delete_alone(person, task):
    assert person.delete(f"/tasks/{task['id']}").status_code == 204


def delete_in_a_batch(person, task):
    body = {"operations": [{"op": "delete", "id": task["id"]}]}
    assert person.post("/tasks/batch", body).json["results"] == [{"status": 204}]


@pytest.mark.parametrize("delete", [delete_alone, delete_in_a_batch])
@pytest.mark.usefixtures("later_column")
def test_a_column_of_a_later_release_comes_back_from_the_trash(alice, sql, delete):
    task = alice.creates("Buy milk", description="Oat", completed=True, order=3)
    sql("UPDATE tasks SET colour = 'blue'")

    delete(alice, task)
    restored = alice.post(f"/trash/{task['id']}/restore")

    assert restored.status_code == 200
    assert restored.json == {**task, "version": 3, "updated_at": restored.json["updated_at"]}
    assert colours(sql) == ["blue"]


@pytest.mark.usefixtures("later_column")
def test_a_task_from_before_a_later_release_has_the_default_of_its_column(alice, sql):
    sql("ALTER TABLE tasks DROP COLUMN colour")
    task = alice.creates("Buy milk")
    delete_alone(alice, task)
    sql("ALTER TABLE tasks ADD COLUMN colour text NOT NULL DEFAULT 'none'")

    assert alice.post(f"/trash/{task['id']}/restore").status_code == 200

    assert colours(sql) == ["none"]


@pytest.mark.usefixtures("later_column")
def test_a_later_release_may_keep_its_column_in_the_trash_by_itself(alice, sql):
    task = alice.creates("Buy milk")
    delete_alone(alice, task)
    sql("ALTER TABLE trash ADD COLUMN colour text")
    sql("UPDATE trash SET colour = 'green', other_columns = '{}'")

    assert alice.post(f"/trash/{task['id']}/restore").status_code == 200

    assert colours(sql) == ["green"]


def test_nothing_is_kept_twice(alice, sql):
    delete_alone(alice, alice.creates("Buy milk"))

    assert sql("SELECT other_columns FROM trash") == [{"other_columns": {}}]
