"""Every declared field goes through every way that a task takes."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import orjson
import pytest

from taskapi.http.fields import Boolean, Integer
from taskapi.tasks.fields import DEFAULTS, FIELDS, WRITABLE
from tests.support.people import json_of, register
from tests.support.task_fields import full_task, other_than_default

FULL, OTHER = full_task(), full_task(1)
OWN_ID = "0a5f0a5f-0000-4000-8000-000000000000"


def written(task: dict[str, Any]) -> dict[str, Any]:
    """Return what a client wrote of a task."""
    return {name: task[name] for name in WRITABLE}


def answers(task: dict[str, Any]) -> dict[str, Any]:
    """Return what a task answers but for what every write changes."""
    return {name: value for name, value in task.items() if name not in ("version", "updated_at")}


@pytest.fixture
def task(alice):
    return alice.creates(**FULL)


def test_the_values_are_no_defaults():
    for name in WRITABLE:
        assert FULL[name] != DEFAULTS.get(name)
        assert OTHER[name] != FULL[name]


def test_a_task_answers_its_declared_fields_in_their_order(task):
    assert list(task) == ["id", "user_id", *FIELDS, "version"]


def test_created(alice, task):
    assert written(task) == FULL
    assert json_of(alice.get(f"/tasks/{task['id']}")) == task


def test_created_with_its_defaults(alice):
    needed = {name: FULL[name] for name in WRITABLE if name not in DEFAULTS}

    assert written(json_of(alice.post("/tasks", needed))) == {**DEFAULTS, **needed}


def test_created_under_an_id_of_the_client(alice):
    made = alice.put(f"/tasks/{OWN_ID}", FULL, headers={"If-None-Match": "*"})

    assert written(json_of(made)) == FULL


def test_replaced(alice, task):
    assert written(json_of(alice.put(f"/tasks/{task['id']}", OTHER))) == OTHER


@pytest.mark.parametrize("name", WRITABLE)
def test_changed_alone(alice, task, name):
    changed = json_of(alice.patch(f"/tasks/{task['id']}", {name: OTHER[name]}))

    assert written(changed) == {**FULL, name: OTHER[name]}


def test_created_and_changed_by_a_batch(alice, task):
    operations = [
        {"op": "create", "data": FULL},
        {"op": "update", "id": task["id"], "data": OTHER},
    ]
    results = json_of(alice.post("/tasks/batch", {"operations": operations}))["results"]

    assert [written(result["task"]) for result in results] == [FULL, OTHER]


@pytest.mark.parametrize("name", WRITABLE)
def test_changed_alone_by_a_batch(alice, task, name):
    update = {"op": "update", "id": task["id"], "data": {name: OTHER[name]}}
    create = {"op": "create", "data": {"title": "Buy milk", name: FULL[name]}}
    results = json_of(alice.post("/tasks/batch", {"operations": [create, update]}))["results"]

    assert written(results[0]["task"]) == {**DEFAULTS, "title": "Buy milk", name: FULL[name]}
    assert written(results[1]["task"]) == {**FULL, name: OTHER[name]}


def test_completed_and_reopened(alice, task):
    for _ in range(2):
        answer = json_of(alice.patch(f"/tasks/{task['id']}/complete"))

    assert written(answer) == FULL


@pytest.mark.parametrize("by_batch", [False, True])
def test_deleted_and_restored(alice, task, by_batch):
    if by_batch:
        delete = {"operations": [{"op": "delete", "id": task["id"]}]}
        assert alice.post("/tasks/batch", delete).status_code == 207
    else:
        assert alice.delete(f"/tasks/{task['id']}").status_code == 204
    [in_trash] = json_of(alice.get("/trash"))["tasks"]
    restored = json_of(alice.post(f"/trash/{task['id']}/restore"))

    in_trash.pop("deleted_at")
    assert answers(in_trash) == answers(task)
    assert answers(restored) == answers(task)


MEDIA = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
}


@pytest.mark.parametrize("media", MEDIA)
def test_exported_and_imported(app, alice, task, media):
    exported = alice.get(f"/tasks/export?format={'csv' if media == 'csv' else 'json'}").data
    if media == "jsonl":
        exported = b"\n".join(orjson.dumps(one) for one in orjson.loads(exported))
    elif media == "csv":
        assert next(csv.reader(io.StringIO(exported.decode()))) == ["id", *FIELDS, "version"]
    bob = register(app, "bob@example.com")
    report = bob.post("/tasks/import", data=exported, content_type=MEDIA[media])
    assert json_of(report)["created"] == 1

    imported = json_of(bob.get(f"/tasks/{task['id']}"))
    assert answers({**imported, "user_id": alice.id}) == answers(task)


def test_in_the_feed(alice, task):
    [change] = json_of(alice.get("/tasks/changes"))["changes"]

    assert change == {"op": "upsert", "task": task}


def test_replayed_for_an_idempotency_key(alice):
    first, again = (alice.post("/tasks", FULL, headers={"Idempotency-Key": "k"}) for _ in range(2))

    assert again.headers["Idempotent-Replayed"] == "true"
    assert json_of(again) == json_of(first)


def test_sorted_in_both_directions(alice):
    for other in (0, 1):
        alice.creates(**full_task(other))
        time.sleep(0.002)
    for name in (name for name in FIELDS if FIELDS[name].sorted_by):
        tasks = json_of(alice.get(f"/tasks?sort={name}"))["tasks"]
        with_one = [task for task in tasks if task[name] is not None]
        without = [task for task in tasks if task[name] is None]
        turned = json_of(alice.get(f"/tasks?sort=-{name}"))["tasks"]

        # What has none comes last in both.
        assert [one["id"] for one in turned] == [
            one["id"] for one in [*reversed(with_one), *reversed(without)]
        ]


@pytest.mark.parametrize("name", [name for name in FIELDS if FIELDS[name].ranges])
def test_filtered_by_time(alice, task, name):
    parameter = name.removesuffix("_at")
    ancient, distant = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    alice.patch(f"/tasks/{task['id']}", {"completed": True})
    for side, time_of, is_found in (
        ("after", ancient, True),
        ("after", distant, False),
        ("before", ancient, False),
        ("before", distant, True),
    ):
        found = json_of(alice.get(f"/tasks?{parameter}_{side}={time_of}"))["tasks"]

        assert bool(found) is is_found, (side, time_of)


def test_filtered_by_value(alice, task):
    alice.creates(**OTHER)
    for name in (name for name in FIELDS if FIELDS[name].value_filter):
        for other in (FULL, OTHER):
            found = json_of(alice.get("/tasks", query_string={name: other[name]}))["tasks"]

            assert [one[name] for one in found] == [other[name]]


def test_every_type_has_values():
    assert {type(FIELDS[name].make_input()) for name in WRITABLE} >= {Integer, Boolean}
    assert other_than_default("title") != other_than_default("description")
