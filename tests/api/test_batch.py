import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest

from taskapi import create_app
from taskapi.db.base import db
from taskapi.openapi import build_document
from taskapi.tasks import reordering
from tests.support.people import assert_problem, assert_refused_field, json_of, outsider, register
from tests.support.service import make_settings
from tests.support.wire import PREPARATION, tapped

SECRET = "a secret that the issuer and we share"
# In the order of their names.
A, B, C, D, E, F = (f"{name * 8}-0000-4000-8000-000000000000" for name in "abcdef")
CREATE = {"op": "create", "data": {"title": "Buy milk"}}
OWNERS_OWN = ("user_id", "created_at", "updated_at", "completed_at")


@pytest.fixture
def known_elsewhere(variant):
    """Make somebody of any name, with a token that says so."""
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    return lambda user_id: outsider(external, SECRET, user_id)


def batch(person, *operations, **kwargs):
    response = person.post("/tasks/batch", {"operations": [*operations]}, **kwargs)
    assert response.status_code == 207, response.text
    assert [*response.json] == ["results"]
    assert len(response.json["results"]) == len(operations)
    return response.json["results"]


def atomic_batch(person, *operations):
    return person.post("/tasks/batch", {"atomic": True, "operations": [*operations]})


def op(name, task_id, data=None, **members):
    operation = {"op": name, "id": task_id, **members}
    return operation if data is None else {**operation, "data": data}


def creates(person, task_id, title="Buy milk", **fields):
    """Make a task under an id that is known beforehand."""
    headers = {"If-None-Match": "*"}
    response = person.put(f"/tasks/{task_id}", {"title": title, **fields}, headers=headers)
    assert response.status_code == 201
    return response.json


def tasks_of(person):
    return person.get("/tasks?sort=created_at").json["tasks"]


def titles_by_order(person):
    return [task["title"] for task in person.get("/tasks?sort=order").json["tasks"]]


def everything(person):
    """What can be seen of somebody's tasks, and how far their changes have been counted."""
    return [person.get(path).json for path in ("/tasks", "/trash", "/tasks/changes")]


def statuses(results):
    return [result["status"] for result in results]


def problem_of(result, status, code):
    assert [*result] == ["status", "problem"]
    problem = result["problem"]
    assert result["status"] == problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:problem-type:taskapi:{code}"
    assert problem["title"] and problem["request_id"]
    assert problem["detail"][0].isupper() and problem["detail"].endswith((".", "`"))
    return problem


def assert_refused_part(result, pointer, code):
    problem = problem_of(result, 422, "validation_failed")
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in problem["errors"]]


def test_operations_are_answered_in_their_order(alice):
    for task_id in (A, B, C, D):
        creates(alice, task_id)

    results = batch(
        alice,
        {"op": "create", "data": {"title": "Buy bread", "description": "Rye", "order": 3}},
        op("update", A, {"title": "Buy oat milk"}),
        op("complete", B),
        op("move", C, {"after": None}),
        op("delete", D),
    )

    assert statuses(results) == [201, 200, 200, 200, 204]
    created, updated, completed, moved = (result["task"] for result in results[:4])
    assert (created["title"], created["description"], created["order"]) == ("Buy bread", "Rye", 3)
    assert (updated["id"], updated["title"]) == (A, "Buy oat milk")
    assert completed["completed"] is True
    assert moved["id"] == alice.get("/tasks?sort=order").json["tasks"][0]["id"] == C
    assert results[4] == {"status": 204}
    for task in (created, updated, completed, moved):
        assert alice.get(f"/tasks/{task['id']}").json == task
    assert [task["id"] for task in alice.get("/trash").json["tasks"]] == [D]


def test_one_operation_is_a_batch_too(alice):
    [result] = batch(alice, CREATE)

    assert result["status"] == 201
    assert tasks_of(alice) == [result["task"]]


def test_what_is_refused_stops_nothing(alice):
    task = creates(alice, A)
    creates(alice, B)
    assert alice.delete(f"/tasks/{B}").status_code == 204
    missing = str(uuid4())

    results = batch(
        alice,
        op("update", missing, {"title": "a"}),
        CREATE,
        op("update", A, {"title": "a"}, if_match=99),
        op("create", B, {"title": "a"}),
        op("create", A, {"title": "a"}),
        {"op": "create", "data": {"title": " "}},
        op("complete", A),
    )

    assert statuses(results) == [404, 201, 412, 409, 412, 422, 200]
    problem_of(results[0], 404, "task_not_found")
    assert problem_of(results[2], 412, "precondition_failed")["current"] == task
    problem_of(results[3], 409, "task_in_trash")
    assert problem_of(results[4], 412, "precondition_failed")["current"]["id"] == A
    assert_refused_part(results[5], "/operations/5/data/title", "blank")
    assert [task["completed"] for task in tasks_of(alice)] == [True, False]


SAME_AS_ALONE = [
    op("create", E, {"title": "  Buy bread ", "description": "", "order": 9, "completed": True}),
    op("create", A, {"title": "There is one"}),
    op("create", F, {"title": "It is in the trash"}),
    op("create", str(uuid4()), {"title": "a", "colour": "red"}),
    op("create", str(uuid4()), {"title": 5, "description": [], "order": 2**31}),
    op("create", str(uuid4()), {}),
    op("create", str(uuid4()), {"title": "a", "version": 7, "user_id": "x", "id": B}),
    op("update", A, {"title": "Neu", "description": "Grüße 👩‍💻", "completed": True, "order": -4}),
    op("update", A, {"description": None}),
    op("update", A, {"title": None}),
    op("update", A, {"completed": "yes"}),
    op("update", A, {}),
    op("update", A, {"title": "a"}, if_match=1_000_000),
    op("update", str(uuid4()), {}),
    op("update", F, {"title": "In the trash"}),
    op("complete", B),
    op("complete", B),
    op("complete", B, {"completed": True}),
    op("complete", B, {"completed": True}),
    op("complete", B, {"completed": None}),
    op("complete", B, {"completed": False}, if_match=1_000_000),
    op("complete", str(uuid4())),
    op("move", A, {"after": C}),
    op("move", A, {"before": C}),
    op("move", C, {"after": None}),
    op("move", C, {"after": B}, if_match=1_000_000),
    op("move", C, {}),
    op("move", C, {"after": B, "before": A}),
    op("move", str(uuid4()), {"after": C}),
    op("delete", C, if_match=1_000_000),
    op("delete", C),
    op("delete", C),
]


def alone(person, operation):
    """Send an operation as the request that it stands for."""
    path, data = f"/tasks/{operation['id']}", operation.get("data")
    headers = {"If-Match": f'"{operation["if_match"]}"'} if "if_match" in operation else {}
    match operation["op"]:
        case "create":
            return person.put(path, data, headers={"If-None-Match": "*"})
        case "update":
            return person.patch(path, data, headers=headers)
        case "complete":
            return person.patch(f"{path}/complete", data, headers=headers)
        case "move":
            return person.post(f"{path}/move", data, headers=headers)
    return person.delete(path, headers=headers)


def test_each_is_answered_as_if_it_had_been_sent_alone(alice, bob):
    for person in (alice, bob):
        for task_id in (A, B, C, F):
            creates(person, task_id)
        assert person.delete(f"/tasks/{F}").status_code == 204

    answers = [alone(bob, operation) for operation in SAME_AS_ALONE]
    results = batch(alice, *SAME_AS_ALONE)

    assert statuses(results) == [answer.status_code for answer in answers]
    for number, (result, answer) in enumerate(zip(results, answers, strict=True)):
        if "task" in result:
            same = answer.json.get("task") or answer.json
            for task in (result["task"], same):
                assert (task["completed_at"] is not None) == task["completed"]
                for name in (*OWNERS_OWN, "version"):
                    del task[name]
            assert result["task"] == same
        elif answer.status_code != 204:
            problem = answer.json
            for error in problem.get("errors", []):
                error["pointer"] = f"/operations/{number}/data{error['pointer']}"
            for one in (result["problem"], problem):
                one.pop("request_id")
                if current := one.get("current"):
                    one["current"] = (current["id"], current["title"], current["completed"])
            assert result["problem"] == problem


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_place_beside_a_task_that_is_not_there_is_refused_with_its_pointer(alice, name):
    creates(alice, A)
    unknown = str(uuid4())
    assert_refused_field(
        alice.post(f"/tasks/{A}/move", {name: unknown}), f"/{name}", "task_not_found"
    )

    results = batch(alice, CREATE, op("move", A, {name: unknown}), op("move", A, {name: A}))

    assert_refused_part(results[1], f"/operations/1/data/{name}", "task_not_found")
    assert_refused_part(results[2], f"/operations/2/data/{name}", "itself")
    problem = atomic_batch(alice, CREATE, op("move", A, {name: unknown}))
    assert_refused_field(problem, f"/operations/1/data/{name}", "task_not_found")


def test_completing_flips_and_to_set_it_says_so(alice):
    for task_id, completed in ((A, False), (B, True), (C, False), (D, True)):
        creates(alice, task_id, completed=completed)
    first_time = alice.get(f"/tasks/{B}").json["completed_at"]

    results = batch(
        alice,
        op("complete", A),
        op("complete", B, {"completed": True}),
        op("complete", C, {"completed": True}),
        op("complete", D, {}),
    )

    assert [result["task"]["completed"] for result in results] == [True, True, True, False]
    assert results[1]["task"]["completed_at"] == first_time
    assert results[3]["task"]["completed_at"] is None


@pytest.mark.parametrize(
    "written",
    ["{}".format, '"{}"'.format, 'W/"{}"'.format, int, float],
    ids=["bare", "tag", "weak", "number", "whole float"],
)
def test_a_version_may_be_written_as_a_number_or_as_a_tag(alice, written):
    versions = {task_id: creates(alice, task_id)["version"] for task_id in (A, B, C, D)}

    def operations(change):
        return [
            op("update", A, {"title": "a"}, if_match=written(versions[A] + change)),
            op("complete", B, if_match=written(versions[B] + change)),
            op("move", C, {"after": None}, if_match=written(versions[C] + change)),
            op("delete", D, if_match=written(versions[D] + change)),
        ]

    before = tasks_of(alice)
    assert statuses(batch(alice, *operations(1000))) == [412] * 4
    assert tasks_of(alice) == before
    assert statuses(batch(alice, *operations(0))) == [200, 200, 200, 204]


@pytest.mark.parametrize(
    "version",
    ["", "*", "latest", '"', "-1", "1.5", "١", "1" * 19, True, 1.5, 1e300, -1, [1], {}],
    ids=repr,
)
def test_what_is_no_version_is_refused(alice, version):
    task = creates(alice, A)

    [result] = batch(alice, op("update", A, {"title": "a"}, if_match=version))

    assert_refused_part(result, "/operations/0/if_match", "invalid")
    assert tasks_of(alice) == [task]


def test_nothing_to_change_changes_nothing(alice):
    task = creates(alice, A)
    before = everything(alice)

    results = batch(
        alice, op("update", A, {}), op("update", A, {"version": 9}), op("update", A, {}, if_match=1)
    )

    assert results == [{"status": 200, "task": task}] * 3
    assert everything(alice) == before
    stale, missing = batch(alice, op("update", A, {}, if_match=7), op("update", B, {}))
    problem_of(stale, 412, "precondition_failed")
    problem_of(missing, 404, "task_not_found")


@pytest.mark.parametrize("atomic", [False, True])
def test_a_task_may_come_several_times(alice, atomic):
    creates(alice, B, order=5)

    response = alice.post(
        "/tasks/batch",
        {
            "atomic": atomic,
            "operations": [
                op("create", A, {"title": "Buy milk"}),
                op("update", A, {"title": "Buy oat milk"}),
                op("complete", A),
                op("complete", A),
                op("move", A, {"after": B}),
                op("update", A, {"description": "Two"}),
                op("delete", A),
            ],
        },
    )

    assert response.status_code == 207
    results = response.json["results"]
    assert statuses(results) == [201, *[200] * 5, 204]
    tasks = [result["task"] for result in results[:-1]]
    assert [task["title"] for task in tasks] == ["Buy milk", *["Buy oat milk"] * 5]
    assert [task["completed"] for task in tasks] == [False, False, True, False, False, False]
    assert tasks[4]["order"] > 5 and tasks[3]["order"] == 0
    assert tasks[5]["description"] == "Two"
    [trashed] = alice.get("/trash").json["tasks"]
    versions = [task["version"] for task in [*tasks, trashed]]
    assert versions == sorted(set(versions))
    assert [task["id"] for task in tasks_of(alice)] == [B]


def test_each_finds_the_version_that_the_one_before_has_made(alice):
    version = creates(alice, A)["version"]

    results = batch(
        alice,
        op("update", A, {"title": "first"}, if_match=version),
        op("update", A, {"title": "second"}, if_match=version),
        op("update", A, {"title": "third"}, if_match=version + 1),
    )

    assert statuses(results) == [200, 412, 200]
    assert results[1]["problem"]["current"] == results[0]["task"]
    assert tasks_of(alice)[0]["title"] == "third"


def test_what_was_deleted_before_in_the_same_batch_is_gone(alice):
    creates(alice, A)

    results = batch(
        alice,
        op("delete", A),
        op("delete", A),
        op("update", A, {}),
        op("create", A, {"title": "a"}),
    )

    problem_of(results[1], 404, "task_not_found")
    problem_of(results[2], 404, "task_not_found")
    problem_of(results[3], 409, "task_in_trash")


def test_tasks_can_be_moved_next_to_each_other(alice):
    for number, task_id in enumerate((A, B, C)):
        creates(alice, task_id, task_id[0], order=number)

    batch(
        alice,
        op("create", D, {"title": "d", "order": 100}),
        op("move", D, {"before": B}),
        op("move", A, {"after": D}),
        op("move", C, {"after": None}),
    )

    assert titles_by_order(alice) == ["c", "d", "a", "b"]


def test_without_a_trash_deleting_is_for_good(variant):
    ada = register(variant(trash_days=0), "ada@example.com")
    creates(ada, A)

    results = batch(ada, op("delete", A), op("create", A, {"title": "Anew"}))

    assert statuses(results) == [204, 201]
    assert json_of(ada.get("/trash"))["tasks"] == []
    assert tasks_of(ada) == [results[1]["task"]]


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_ids_are_the_same_in_either_case(alice, case):
    results = batch(
        alice, op("create", case(A), {"title": "a"}), op("complete", case(A)), op("complete", A)
    )

    assert statuses(results) == [201, 200, 200]
    assert [result["task"]["id"] for result in results] == [A] * 3
    assert results[2]["task"]["completed"] is False


def test_all_or_none_is_all_where_all_are_good(alice):
    creates(alice, A)

    response = atomic_batch(alice, CREATE, op("update", A, {"title": "New"}), op("delete", A))

    assert response.status_code == 207
    assert statuses(response.json["results"]) == [201, 200, 204]
    assert tasks_of(alice) == [response.json["results"][0]["task"]]


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (op("update", E, {"title": "a"}), 404, "task_not_found"),
        (op("update", E, {}), 404, "task_not_found"),
        (op("move", E, {"after": None}), 404, "task_not_found"),
        (op("delete", A, if_match=1000), 412, "precondition_failed"),
        (op("create", A, {"title": "a"}), 412, "precondition_failed"),
        (op("create", F, {"title": "a"}), 409, "task_in_trash"),
        (op("update", A, {"title": ""}), 422, "validation_failed"),
        (op("move", A, {"after": E}), 422, "validation_failed"),
        ("nonsense", 422, "validation_failed"),
    ],
    ids=[
        *("missing", "missing, nothing said", "missing, moved", "stale"),
        *("there", "in the trash", "blank", "anchor", "nonsense"),
    ],
)
def test_all_or_none_is_none_where_one_is_bad(alice, bad, status, code):
    for task_id in (A, B, C, D, F):
        creates(alice, task_id)
    assert alice.delete(f"/tasks/{F}").status_code == 204
    operations = [
        CREATE,
        op("update", B, {"title": "New"}),
        op("move", C, {"before": B}),
        op("complete", B),
        op("delete", D),
    ]
    before = everything(alice)

    for place in (0, 2, 5):
        response = atomic_batch(alice, *operations[:place], bad, *operations[place:])
        assert assert_problem(response, status, code)["index"] == place
        assert everything(alice) == before


def test_where_there_is_no_room_to_move_nothing_is_done_and_the_document_says_so(
    app, alice, monkeypatch
):
    monkeypatch.setattr(reordering, "_WINDOW_SIZES", (2, 4))
    tasks = [alice.creates(str(number))["id"] for number in range(20)]
    before = everything(alice)

    response = atomic_batch(alice, CREATE, op("move", tasks[0], {"after": tasks[10]}))

    assert assert_problem(response, 409, "no_room")["index"] == 1
    assert everything(alice) == before
    answers = build_document(app)["paths"]["/tasks/batch"]["post"]["responses"]
    assert "no_room" in str(answers["409"])


def test_of_several_bad_ones_the_first_is_told(alice):
    response = atomic_batch(alice, CREATE, op("delete", A), op("update", B, {}), op("complete", C))

    assert assert_problem(response, 404, "task_not_found")["index"] == 1
    assert tasks_of(alice) == []


def test_a_hundred_are_taken_and_no_more(alice):
    assert len(batch(alice, *[CREATE] * 100)) == 100
    before = everything(alice)

    response = alice.post("/tasks/batch", {"operations": [CREATE] * 101})

    assert_refused_field(response, "/operations", "wrong_length")
    assert everything(alice) == before


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"operations": []}, "/operations", "wrong_length"),
        ({"operations": {}}, "/operations", "wrong_type"),
        ({"operations": "create"}, "/operations", "wrong_type"),
        ({"operations": None}, "/operations", "null"),
        ({"operations": [CREATE], "atomic": "yes"}, "/atomic", "wrong_type"),
        ({"operations": [CREATE], "atomic": 1}, "/atomic", "wrong_type"),
        ({"operations": [CREATE], "atomically": True}, "/atomically", "unknown"),
        ({"atomic": True}, "/operations", "required"),
        ([CREATE], "", "wrong_type"),
    ],
    ids=[
        *("none", "object", "text", "null", "atomic as text", "atomic as number"),
        *("unknown", "missing", "bare list"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(alice, body, pointer, code):
    assert_refused_field(alice.post("/tasks/batch", body), pointer, code)
    assert tasks_of(alice) == []


@pytest.mark.parametrize(
    ("operation", "pointer", "code"),
    [
        (None, "", "wrong_type"),
        ("create", "", "wrong_type"),
        ([CREATE], "", "wrong_type"),
        ({}, "/op", "required"),
        ({"op": "rename", "id": A}, "/op", "unknown"),
        ({"op": ["create"], "id": A}, "/op", "unknown"),
        ({"op": {}, "id": A}, "/op", "unknown"),
        ({"op": None, "id": A}, "/op", "null"),
        ({"op": "create"}, "/data", "required"),
        ({"op": "create", "data": None}, "/data", "null"),
        ({"op": "create", "data": "Buy milk"}, "/data", "wrong_type"),
        ({"op": "create", "data": {"title": "a"}, "id": "7"}, "/id", "invalid"),
        ({"op": "create", "data": {"title": "a"}, "id": A, "if_match": 1}, "/if_match", "unknown"),
        ({"op": "update", "data": {"title": "a"}}, "/id", "required"),
        ({"op": "update", "id": None, "data": {"title": "a"}}, "/id", "null"),
        ({"op": "update", "id": A, "data": {"title": ""}}, "/data/title", "blank"),
        ({"op": "update", "id": A, "data": {"a/b~": 1}}, "/data/a~1b~0", "unknown"),
        ({"op": "update", "id": A, "data": [1]}, "/data", "wrong_type"),
        ({"op": "update", "id": A, "data": None}, "/data", "null"),
        ({"op": "complete"}, "/id", "required"),
        ({"op": "complete", "id": A, "data": {"completed": 1}}, "/data/completed", "wrong_type"),
        ({"op": "complete", "id": A, "atomic": True}, "/atomic", "unknown"),
        ({"op": "move", "id": A, "data": {}}, "/data", "one_of"),
        ({"op": "move", "id": A}, "/data", "required"),
        ({"op": "update", "id": A}, "/data", "required"),
        ({"op": "move", "id": A, "data": {"after": "7"}}, "/data/after", "invalid"),
        ({"op": "delete"}, "/id", "required"),
        ({"op": "delete", "id": A, "data": {"permanent": True}}, "/data/permanent", "unknown"),
    ],
    ids=str,
)
def test_what_is_no_operation_is_refused_by_itself(alice, operation, pointer, code):
    task = creates(alice, A)

    first, refused, last = batch(alice, CREATE, operation, CREATE)

    assert_refused_part(refused, f"/operations/1{pointer}", code)
    assert (first["status"], last["status"]) == (201, 201)
    assert alice.get(f"/tasks/{A}").json == task
    problem = atomic_batch(alice, CREATE, operation, CREATE)
    assert_refused_field(problem, f"/operations/1{pointer}", code)
    assert problem.json["index"] == 1
    assert len(tasks_of(alice)) == 3


def test_versions_rise_in_the_order_of_the_operations_and_the_feed_has_that_order(alice):
    for task_id in (A, B, C, D):
        creates(alice, task_id)
    since = alice.get("/tasks/changes").json["next"]

    results = batch(
        alice,
        op("delete", D),
        op("complete", B),
        op("create", F, {"title": "f"}),
        op("update", str(uuid4()), {"title": "nobody's"}),
        op("update", A, {"title": "a"}),
        op("create", E, {"title": "e"}),
        op("move", C, {"after": None}),
        op("update", A, {"title": "again"}),
        op("delete", B),
    )

    done = [result for result in results if result["status"] < 300]
    assert len(done) == 8
    versions = [result["task"]["version"] for result in done if "task" in result]
    assert versions == sorted(set(versions))
    in_trash = {task["id"]: task["version"] for task in alice.get("/trash").json["tasks"]}
    assert in_trash[D] < versions[0] and in_trash[B] > versions[-1]
    changes = alice.get(f"/tasks/changes?since={since}").json["changes"]
    assert [change.get("id") or change["task"]["id"] for change in changes] == [D, F, E, C, A, B]
    assert [change["op"] for change in changes] == ["delete", *["upsert"] * 4, "delete"]
    for change in changes[1:5]:
        assert change["task"] == alice.get(f"/tasks/{change['task']['id']}").json


def test_somebody_elses_tasks_are_not_there(alice, bob):
    creates(bob, A)
    creates(bob, B)
    before = everything(bob)

    results = batch(
        alice,
        op("update", A, {"title": "a"}),
        op("update", A, {}),
        op("complete", A),
        op("move", A, {"after": None}),
        op("delete", A),
        op("create", A, {"title": "Of Alice"}),
        op("move", A, {"after": B}),
    )

    for result in results[:5]:
        problem_of(result, 404, "task_not_found")
    assert results[5]["status"] == 201
    problem_of(results[6], 422, "validation_failed")
    assert [task["title"] for task in tasks_of(alice)] == ["Of Alice"]
    assert everything(bob) == before


@pytest.mark.parametrize("atomic", [False, True])
def test_a_batch_that_is_sent_again_is_done_once(alice, atomic):
    creates(alice, A)
    body = {
        "atomic": atomic,
        "operations": [CREATE, op("complete", A), op("update", A, {"title": "New"})],
    }
    if not atomic:
        body["operations"] += [op("delete", B), "nonsense"]
    headers = {"Idempotency-Key": "k"}

    first = alice.post("/tasks/batch", body, headers=headers)
    after_first = everything(alice)
    assert first.status_code == 207
    for _ in range(2):
        again = alice.post("/tasks/batch", body, headers=headers)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.data) == (207, first.data)

    assert everything(alice) == after_first
    body["atomic"] = not atomic
    response = alice.post("/tasks/batch", body, headers=headers)
    assert_problem(response, 422, "idempotency_key_reused")


def test_a_batch_that_was_refused_is_refused_again(alice):
    body = {"atomic": True, "operations": [CREATE, op("complete", A)]}
    headers = {"Idempotency-Key": "k"}
    first = alice.post("/tasks/batch", body, headers=headers)
    assert_problem(first, 404, "task_not_found")
    creates(alice, A)

    again = alice.post("/tasks/batch", body, headers=headers)

    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.data) == (404, first.data)
    assert [task["id"] for task in tasks_of(alice)] == [A]


@pytest.mark.parametrize(
    "last",
    [op("move", E, {"after": None}), op("move", B, {"after": E}), op("complete", E)],
    ids=["moved, missing", "anchor", "missing"],
)
@pytest.mark.parametrize("moved", [True, False], ids=["behind a move", "behind none"])
def test_none_is_none_with_a_key_as_well(alice, last, moved):
    creates(alice, A, order=1)
    creates(alice, B, order=2)
    between = [op("move", A, {"after": B})] if moved else []
    operations = [CREATE, *between, op("delete", A), last]
    body = {"atomic": True, "operations": operations}
    before = everything(alice)

    for _ in range(2):
        response = alice.post("/tasks/batch", body, headers={"Idempotency-Key": "k"})
        assert response.status_code in {404, 422}
        assert response.json["index"] == len(operations) - 1
        assert everything(alice) == before


@pytest.fixture(scope="module")
def wire(new_database):
    with tapped(new_database("batch_wire")) as wire:
        yield wire


@pytest.fixture(scope="module")
def wired_alice(wire):
    app = create_app(make_settings(database_url=wire.url, threads=1))
    yield register(app, "alice@example.com")
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("named", [True, False], ids=["ids of their own", "ids of ours"])
def test_a_hundred_new_tasks_take_no_more_round_trips_than_one(wire, wired_alice, named):
    ids = [str(uuid4()) for _ in range(100)]
    wire.messages.clear()

    results = batch(wired_alice, *[CREATE | ({"id": task} if named else {}) for task in ids])

    assert statuses(results) == [201] * 100
    if named:
        # Whether an id is taken is looked at under a lock: begin, lock, all of them, commit.
        assert len(wire.messages) == 4
        return
    [message] = wire.messages
    assert re.match(rf"({PREPARATION})?SELECT taskapi_check_session\(", message)


def test_as_many_changes_of_different_tasks_are_one_round_trip_too(wire, wired_alice):
    tasks = [wired_alice.creates(str(number))["id"] for number in range(6)]
    wire.messages.clear()

    results = batch(
        wired_alice,
        op("update", tasks[0], {"title": "a"}),
        op("complete", tasks[1]),
        op("complete", tasks[2], {"completed": True}),
        op("delete", tasks[3]),
        CREATE,
        op("update", tasks[4], {"order": 1}),
    )

    assert statuses(results) == [200, 200, 200, 204, 201, 200]
    assert len(wire.messages) == 1


def test_why_a_hundred_were_refused_is_one_look_more(wire, wired_alice):
    stale = [wired_alice.creates(str(number)) for number in range(3)]
    trashed = [wired_alice.creates(str(number))["id"] for number in range(3)]
    for task_id in trashed:
        assert wired_alice.delete(f"/tasks/{task_id}").status_code == 204
    gone = [op("delete", str(uuid4())) for _ in range(91)]
    changed = [op("complete", task["id"], if_match=0) for task in stale]
    wire.messages.clear()

    results = batch(wired_alice, *gone, *changed)

    assert statuses(results) == [404] * 91 + [412] * 3
    assert [result["problem"]["current"] for result in results[-3:]] == stale
    assert len(wire.messages) == 2

    taken = [CREATE | {"id": task_id} for task_id in [*trashed, *(task["id"] for task in stale)]]
    wire.messages.clear()

    results = batch(wired_alice, *gone, *taken)

    assert statuses(results) == [404] * 91 + [409] * 3 + [412] * 3
    assert len(wire.messages) == 6  # Begin, lock, all of them, two looks, commit.


@pytest.mark.parametrize("atomic", [False, True])
def test_whoever_has_no_row_here_yet_may_begin_with_a_batch(known_elsewhere, atomic):
    ada = known_elsewhere("ada/b c")
    operations = [op("create", A, {"title": "a"}), CREATE, op("complete", A), op("delete", A)]

    response = ada.post("/tasks/batch", {"atomic": atomic, "operations": operations})

    assert response.status_code == 207
    assert statuses(response.json["results"]) == [201, 201, 200, 204]
    assert tasks_of(ada) == [response.json["results"][1]["task"]]
    assert [task["id"] for task in ada.get("/trash").json["tasks"]] == [A]


@pytest.mark.parametrize(
    "operation",
    [
        op("update", A, {"title": "a"}),
        op("update", A, {}),
        op("complete", A),
        op("move", A, {"after": None}),
        op("delete", A),
    ],
    ids=["update", "nothing", "complete", "move", "delete"],
)
def test_to_whoever_has_no_row_here_yet_nothing_is_there(known_elsewhere, operation):
    ada = known_elsewhere("ada")

    [result] = batch(ada, operation)
    problem_of(result, 404, "task_not_found")
    assert assert_problem(atomic_batch(ada, CREATE, operation), 404, "task_not_found")["index"] == 1

    assert tasks_of(ada) == []


def at_once(*calls):
    """Call all of them at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call):
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def test_two_first_batches_at_once_both_arrive(known_elsewhere):
    for number in range(5):
        ada, again = known_elsewhere(f"ada {number}"), known_elsewhere(f"ada {number}")

        done = at_once(lambda a=ada: batch(a, CREATE, CREATE), lambda a=again: batch(a, CREATE))

        assert [statuses(results) for results in done] == [[201, 201], [201]]
        assert sorted(task["version"] for task in tasks_of(ada)) == [1, 2, 3]


@pytest.mark.parametrize("atomic", [False, True])
def test_batches_about_the_same_tasks_wait_for_each_other_and_never_in_a_circle(alice, atomic):
    ids = [creates(alice, str(uuid4()), order=number)["id"] for number in range(12)]

    def operations(order, number):
        yield from (op("update", task_id, {"title": f"{number}"}) for task_id in order)
        yield op("move", order[0], {"after": order[-1]})
        yield from (op("complete", task_id) for task_id in order[::2])
        yield op("move", order[5], {"before": order[2]})
        yield CREATE
        yield from (op("update", task_id, {"order": number}) for task_id in reversed(order))

    bodies = [
        {"atomic": atomic, "operations": [*operations(order, number)]}
        for number, order in enumerate((ids, ids[::-1], ids[6:] + ids[:6], ids[::-1]))
    ]
    for _ in range(5):
        answers = at_once(*(lambda b=body: alice.post("/tasks/batch", b) for body in bodies))
        for answer in answers:
            assert answer.status_code == 207, answer.text
            assert {*statuses(answer.json["results"])} == {200, 201}

    tasks = tasks_of(alice)
    assert len(tasks) == 12 + 4 * 5
    assert len({task["version"] for task in tasks}) == len(tasks)
    # Each batch was done as one: the last has written all twelve.
    assert len({task["title"] for task in tasks if task["id"] in ids}) == 1
