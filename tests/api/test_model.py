"""The service against a model of it: whatever is done in whatever order, the two agree."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, TestResponse

from taskapi.tasks.fields import DEFAULTS, WRITABLE
from taskapi.tasks.list_statements import SORTS
from taskapi.tasks.words import fold, words
from taskapi.text import is_blank
from tests.support import service
from tests.support.people import json_of, register
from tests.support.task_fields import values

AT_LENGTH = (200, 50)  # examples, and steps of each
LENGTH = AT_LENGTH if os.environ.get("AT_LENGTH") else (60, 30)
NAMES = tuple(sort for sort in SORTS if not sort.startswith("-"))
OPERATIONS = ("create", "update", "complete", "move", "delete")
NEW = "chosen by the service"
"""What the model cannot know before the service has said it."""

# As few as make it likely that one comes again.
OWN_IDS = [f"{name * 8}-0000-4000-8000-000000000000" for name in "0a5f"]
WORDS = [
    "milk",
    "Milch",
    "Äpfel",
    "apfel",
    "ÉCLAIR",
    "éclair",
    "eclair",
    "買牛奶",
    "👩‍👩‍👧‍👦",
    "=1+1",
]

texts = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
    ),
    st.sampled_from(["'=1", "\t'", "a,b", '"', "a\r\nb", "x" * 400 + "y", "x" * 400 + "Z"]),
)
titles = texts.filter(lambda text: not is_blank(text))
# Values that are likely to meet where two tasks are compared; those of all other fields are made
# from their declarations.
fields: dict[str, st.SearchStrategy[Any]] = {
    **{name: values(name) for name in WRITABLE},
    "title": titles,
    "description": st.none() | st.just("") | texts,
    "completed": st.booleans(),
    "order": st.sampled_from([0, 0, 0, 1, 2, -1, 100, -(2**31), 2**31 - 1]),
}
changes = st.fixed_dictionaries({}, optional=fields)
new_tasks = st.fixed_dictionaries(
    {"title": titles}, optional={name: fields[name] for name in WRITABLE if name != "title"}
)
conditions = st.sampled_from(["none", "right", "stale"])
completions = st.sampled_from([None, True, False])
keyed = st.booleans()

Task = dict[str, Any]
Operation = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


class Model:
    """Tasks and trash of somebody; what only the service knows is `NEW` until it is learned."""

    def __init__(self, tasks: dict[str, Task], trash: dict[str, Task]) -> None:
        self.tasks = {task_id: {**task} for task_id, task in tasks.items()}
        self.trash = {task_id: {**task} for task_id, task in trash.items()}

    def copy(self) -> Model:
        return Model(self.tasks, self.trash)

    def find(self, task_id: str, version: int | None = None) -> Task:
        if task_id not in self.tasks:
            raise Refused(404, "task_not_found")
        if version is not None and self.tasks[task_id]["version"] != version:
            raise Refused(412, "precondition_failed")
        return self.tasks[task_id]

    def create(self, task_id: str | None, data: dict[str, Any]) -> Task:
        if task_id in self.trash:
            raise Refused(409, "task_in_trash")
        if task_id in self.tasks:
            raise Refused(412, "precondition_failed")
        task: Task = {**DEFAULTS, "completed_at": None}
        self._set(task, {**data, "id": task_id or NEW, "created_at": NEW})
        self.tasks[task_id or NEW] = task
        return task

    def update(self, task_id: str, data: dict[str, Any], version: int | None) -> Task:
        task = self.find(task_id, version)
        if data:
            self._set(task, data)
        return task

    def complete(self, task_id: str, completed: bool | None, version: int | None) -> Task:
        task = self.find(task_id, version)
        completed = not task["completed"] if completed is None else completed
        return self.update(task_id, {"completed": completed}, version)

    def delete(self, task_id: str, version: int | None, *, for_good: bool = False) -> None:
        task = self.find(task_id, version)
        del self.tasks[task_id]
        if not for_good:
            self.trash[task_id] = {**task, "version": NEW}

    def restore(self, task_id: str) -> Task:
        if task_id not in self.trash:
            raise Refused(404, "task_not_found")
        self.tasks[task_id] = {**self.trash.pop(task_id), "version": NEW, "updated_at": NEW}
        return self.tasks[task_id]

    def move(self, task_id: str, place: dict[str, Any], version: int | None) -> list[str]:
        """Return how the tasks are to follow each other."""
        [(side, anchor)] = place.items()
        if anchor == task_id:
            raise Refused(422, "validation_failed")
        self.find(task_id, version)
        if anchor and anchor not in self.tasks:
            raise Refused(422, "validation_failed")
        others = [one for one in self.by_order() if one != task_id]
        at = others.index(anchor) + (side == "after") if anchor else 0
        return [*others[:at], task_id, *others[at:]]

    def by_order(self) -> list[str]:
        return [task["id"] for task in self.sorted("order")]

    def sorted(self, sort: str) -> list[Task]:
        name, down = sort.removeprefix("-"), sort.startswith("-")
        by_id = sorted(self.tasks.values(), key=lambda task: task["id"], reverse=down)
        known = [task for task in by_id if _key(task, name) is not None]
        unknown = [task for task in by_id if _key(task, name) is None]
        return [*sorted(known, key=lambda task: _key(task, name), reverse=down), *unknown]

    @staticmethod
    def _set(task: Task, data: dict[str, Any]) -> None:
        task |= {"updated_at": NEW, "version": NEW, **data}
        task["title"] = task["title"].strip()
        task["description"] = task["description"] or None
        if not task["completed"]:
            task["completed_at"] = None
        elif task["completed_at"] is None:
            task["completed_at"] = NEW


def _key(task: Task, name: str) -> Any:
    if name == "title":
        return fold(task["title"])[:255]
    return task["version" if name == "updated_at" else name]


def is_found(task: Task, query: str) -> bool:
    there = words(task["title"]) + words(task["description"])
    return all(any(word.startswith(part) for word in there) for part in words(query))


class Remote:
    """Somebody who calls a running service, with the answers of the test client."""

    def __init__(self, running: service.Service, email: str) -> None:
        self._caller = service.Caller(running, email)
        self.id = json_of(self.get("/auth/me"))["id"]

    def get(self, path: str) -> TestResponse:
        return self.call("GET", path)

    def call(
        self, method: str, path: str, *, content_type: str | None = None, **sent: Any
    ) -> TestResponse:
        if content_type:
            sent["headers"] = {**sent["headers"], "Content-Type": content_type}
        answer = self._caller.call(method, path, **sent)
        asked = EnvironBuilder(path, method=method).get_request()
        status = f"{answer.status_code} {answer.reason}"
        return TestResponse([answer.content], status, Headers([*answer.headers.items()]), asked)


class Machine(RuleBasedStateMachine):
    """Somebody who does all that can be done, with the model beside them."""

    numbers = itertools.count()

    def __init__(self, newcomer: Callable[[str], Any]) -> None:
        super().__init__()
        self.person = newcomer(f"model-{next(self.numbers)}@example.com")
        self.model = Model({}, {})
        self.last_version = 0
        self.last_time = ""
        self.mirror: dict[str, Task] = {}
        self.since: str | None = None
        self.sent: list[tuple[str, str, dict[str, Any], TestResponse]] = []

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: int | None = None,
        keyed: bool = False,
        **kwargs: Any,
    ) -> TestResponse:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        headers |= kwargs.pop("headers", {})
        if keyed:
            headers["Idempotency-Key"] = f"key {len(self.sent)}"
        kwargs |= {"json": body, "headers": headers}
        response = self.person.call(method, path, **kwargs)
        assert response.status_code < 500, response.text
        if keyed:
            self.sent.append((method, path, kwargs, response))
        return response

    def wanted(self, condition: str, task_id: str) -> int | None:
        """Return the version to ask for: any, the one that is there, or one that was."""
        if condition == "none" or task_id not in self.model.tasks:
            return None if condition == "none" else 1
        version: int = self.model.tasks[task_id]["version"]
        return version if condition == "right" else version - 1

    def learn(self, expected: Task, answer: Task) -> None:
        """Check an answer against what was expected, and take over what only it can say."""
        assert answer["user_id"] == self.person.id
        assert set(answer) == {*expected, "user_id"}
        if expected["version"] == NEW:
            assert answer["version"] > self.last_version
            assert answer["updated_at"] >= self.last_time
            self.last_version, self.last_time = answer["version"], answer["updated_at"]
        for name, value in expected.items():
            if value != NEW:
                assert answer[name] == value, (name, answer, expected)
            elif name in {"created_at", "completed_at"}:
                assert answer[name] == answer["updated_at"]
            expected[name] = answer[name]
        if NEW in self.model.tasks:
            self.model.tasks[answer["id"]] = self.model.tasks.pop(NEW)

    def all_tasks(self, query: str = "", limit: int = 200) -> list[Task]:
        tasks: list[Task] = []
        after = ""
        while True:
            answer = json_of(self.person.get(f"/tasks?limit={limit}{query}{after}"))
            tasks += answer["tasks"]
            if answer["next_cursor"] is None:
                return tasks
            assert len(answer["tasks"]) == limit
            after = f"&cursor={answer['next_cursor']}"

    def known(self, tasks: list[Task]) -> list[Task]:
        return [{**task, "user_id": self.person.id} for task in tasks]

    def draw_id(self, data: st.DataObject, label: str = "task") -> str:
        """Choose a task, mostly one that is there."""
        there = [*self.model.tasks]
        return data.draw(st.sampled_from(there * 9 + OWN_IDS), label)

    @initialize(new=st.lists(new_tasks, max_size=3))
    def begin(self, new: list[dict[str, Any]]) -> None:
        for fields in new:
            self.create(fields, None, keyed=False)

    @rule(fields=new_tasks, own_id=st.none() | st.none() | st.sampled_from(OWN_IDS), keyed=keyed)
    def create(self, fields: dict[str, Any], own_id: str | None, keyed: bool) -> None:
        if own_id is None:
            response = self.send("POST", "/tasks", fields, keyed=keyed)
        else:
            headers = {"If-None-Match": "*"}
            response = self.send("PUT", f"/tasks/{own_id}", fields, headers=headers)
        try:
            expected = self.model.create(own_id, fields)
        except Refused as refusal:
            assert_refused(response, refusal)
        else:
            assert response.status_code == 201
            self.learn(expected, json_of(response))

    @rule(data=st.data(), changes=changes, condition=conditions)
    def patch(self, data: st.DataObject, changes: dict[str, Any], condition: str) -> None:
        task_id = self.draw_id(data)
        version = self.wanted(condition, task_id)
        response = self.send("PATCH", f"/tasks/{task_id}", changes, version=version)
        try:
            expected = self.model.update(task_id, changes, version)
        except Refused as refusal:
            assert_refused(response, refusal)
        else:
            assert response.status_code == 200
            self.learn(expected, json_of(response))

    @rule(data=st.data(), completed=completions, condition=conditions, keyed=keyed)
    def complete(
        self, data: st.DataObject, completed: bool | None, condition: str, keyed: bool
    ) -> None:
        task_id = self.draw_id(data)
        version = self.wanted(condition, task_id)
        body = None if completed is None else {"completed": completed}
        path = f"/tasks/{task_id}/complete"
        response = self.send("PATCH", path, body, version=version, keyed=keyed)
        try:
            expected = self.model.complete(task_id, completed, version)
        except Refused as refusal:
            assert_refused(response, refusal)
        else:
            assert response.status_code == 200
            self.learn(expected, json_of(response))

    @rule(data=st.data(), condition=conditions, for_good=st.booleans())
    def delete(self, data: st.DataObject, condition: str, for_good: bool) -> None:
        task_id = self.draw_id(data)
        version = self.wanted(condition, task_id)
        path = f"/tasks/{task_id}{'?permanent=true' if for_good else ''}"
        response = self.send("DELETE", path, version=version)
        try:
            self.model.delete(task_id, version, for_good=for_good)
        except Refused as refusal:
            assert_refused(response, refusal)
        else:
            assert response.status_code == 204

    @rule(data=st.data(), keyed=keyed)
    def restore(self, data: st.DataObject, keyed: bool) -> None:
        task_id = data.draw(st.sampled_from([*self.model.trash] * 3 + OWN_IDS), "trashed")
        response = self.send("POST", f"/trash/{task_id}/restore", keyed=keyed)
        try:
            expected = self.model.restore(task_id)
        except Refused as refusal:
            assert_refused(response, refusal)
        else:
            assert response.status_code == 200
            self.learn(expected, json_of(response))

    @precondition(lambda self: self.model.trash)
    @rule(data=st.data())
    def empty_trash(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([*self.model.trash, None, None]), "trashed")
        assert self.send("DELETE", f"/trash/{one}" if one else "/trash").status_code == 204
        self.model.trash.pop(one, None) if one else self.model.trash.clear()

    @precondition(lambda self: self.model.tasks)
    @rule(
        data=st.data(), side=st.sampled_from(["before", "after"]), condition=conditions, keyed=keyed
    )
    def move(self, data: st.DataObject, side: str, condition: str, keyed: bool) -> None:
        task_id, place = self.draw_id(data), self.draw_place(data, side)
        version = self.wanted(condition, task_id)
        response = self.send("POST", f"/tasks/{task_id}/move", place, version=version, keyed=keyed)
        try:
            sequence = self.model.move(task_id, place, version)
        except Refused as refusal:
            assert_refused(response, refusal)
            return
        assert response.status_code == 200
        answer = json_of(response)
        renumbered = self.learn_sequence(sequence)
        assert self.known([self.model.tasks[task_id]]) == [answer["task"]]
        others = {task["id"]: task for task in answer["renumbered"]}
        assert {*others} == renumbered - {task_id}
        for other, task in others.items():
            assert self.known([self.model.tasks[other]]) == [task]

    def draw_place(self, data: st.DataObject, side: str) -> dict[str, str | None]:
        is_first = side == "after" and data.draw(st.integers(0, 4), "first") == 0
        return {side: None if is_first else self.draw_id(data, "anchor")}

    def learn_sequence(self, sequence: list[str]) -> set[str]:
        """Take over the numbers that put the tasks in this order; return whose are new."""
        is_in_place = self.model.by_order() == sequence
        new = set()
        for task in self.all_tasks():
            known = self.model.tasks[task["id"]]
            if task["version"] == known["version"]:
                continue
            assert task["version"] > self.last_version
            assert task["order"] != known["order"]
            known |= {name: task[name] for name in ("order", "version", "updated_at")}
            new.add(task["id"])
        self.last_version = max([self.last_version, *(self.model.tasks[i]["version"] for i in new)])
        assert self.model.by_order() == sequence
        assert not (is_in_place and new)
        return new

    @rule(data=st.data(), atomic=st.booleans(), count=st.integers(1, 7), keyed=keyed)
    def batch(self, data: st.DataObject, atomic: bool, count: int, keyed: bool) -> None:
        operations: list[Operation] = []
        for _ in range(count):
            operation = self.draw_operation(data)
            if any(one["op"] == "move" for one in operations):
                # Which versions it finds depends on whom the move has numbered anew.
                operation.pop("if_match", None)
            operations.append(operation)
        refused = first_refusal(self.model.copy(), operations) if atomic else None
        if not refused:
            # How a move has numbered the others only the list says, when all is done.
            *others, last = operations
            operations = [*(one for one in others if one["op"] != "move"), last]
        body = {"atomic": atomic, "operations": operations}
        response = self.send("POST", "/tasks/batch", body, keyed=keyed)
        if refused:
            index, refusal = refused
            assert assert_refused(response, refusal)["index"] == index
            return
        assert response.status_code == 207
        results = json_of(response)["results"]
        assert len(results) == len(operations)
        for operation, result in zip(operations, results, strict=True):
            try:
                expected = applied(self.model, operation)
            except Refused as refusal:
                assert_refused_part(result, refusal)
                continue
            if operation["op"] == "move":
                assert result["status"] == 200
                self.learn_sequence(expected)
                assert [result["task"]] == self.known([self.model.tasks[operation["id"]]])
            elif operation["op"] == "delete":
                assert result == {"status": 204}
            else:
                assert result["status"] == (201 if operation["op"] == "create" else 200)
                self.learn(expected, result["task"])

    def draw_operation(self, data: st.DataObject) -> Operation:
        name = data.draw(st.sampled_from(OPERATIONS), "op")
        if name == "create":
            own_id = data.draw(st.none() | st.sampled_from(OWN_IDS), "own id")
            new = {"op": name, "data": data.draw(new_tasks, "data")}
            return {**new, "id": own_id} if own_id else new
        task_id = self.draw_id(data)
        operation: Operation = {"op": name, "id": task_id}
        version = self.wanted(data.draw(conditions, "condition"), task_id)
        if version is not None:
            operation["if_match"] = version
        if name == "update":
            operation["data"] = data.draw(changes, "data")
        if name == "move":
            side = data.draw(st.sampled_from(["before", "after"]), "side")
            operation["data"] = self.draw_place(data, side)
        completed = data.draw(completions, "completed") if name == "complete" else None
        if completed is not None:
            operation["data"] = {"completed": completed}
        return operation

    @rule(
        name=st.sampled_from(NAMES),
        sign=st.sampled_from(["", "-"]),
        limit=st.integers(1, 7),
        completed=completions,
        query=st.sampled_from([None, None, "mil", "APFEL", "eclair milk", "買", "👩 milch"]),
    )
    def page_through(
        self, name: str, sign: str, limit: int, completed: bool | None, query: str | None
    ) -> None:
        wanted = f"&sort={sign}{name}"
        expected = self.model.sorted(sign + name)
        if completed is not None:
            wanted += f"&completed={str(completed).lower()}"
            expected = [task for task in expected if task["completed"] == completed]
        if query:
            wanted += f"&q={quote(query)}"
            expected = [task for task in expected if is_found(task, query)]
        assert self.all_tasks(wanted, limit) == self.known(expected)
        counted = json_of(self.person.get(f"/tasks?limit=1&include=total{wanted}"))
        assert counted["total"] == len(expected)

    @rule(limit=st.integers(1, 9))
    def synchronise(self, limit: int) -> None:
        has_more = True
        while has_more:
            since = f"&since={self.since}" if self.since else ""
            feed = json_of(self.person.get(f"/tasks/changes?limit={limit}{since}"))
            for change in feed["changes"]:
                if change["op"] == "delete":
                    self.mirror.pop(change["id"], None)
                else:
                    self.mirror[change["task"]["id"]] = change["task"]
            self.since, has_more = feed["next"], feed["has_more"]
        tasks = {task["id"]: task for task in self.known([*self.model.tasks.values()])}
        assert self.mirror == tasks

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        method, path, kwargs, first = data.draw(st.sampled_from(self.sent), "sent")
        again = self.person.call(method, path, **kwargs)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.data) == (first.status_code, first.data)
        for name in ("Content-Type", "ETag", "Location"):
            assert again.headers.get(name) == first.headers.get(name)

    @rule(kind=st.sampled_from(["json", "csv"]), keyed=keyed)
    def export_and_import(self, kind: str, keyed: bool) -> None:
        before = self.person.get("/tasks").headers["ETag"]
        exported = self.person.get(f"/tasks/export?format={kind}")
        if kind == "json":
            assert exported.json == self.known(self.model.sorted("created_at"))
        media = {"json": "application/json", "csv": "text/csv"}[kind]
        response = self.send(
            "POST", "/tasks/import", data=exported.data, content_type=media, keyed=keyed
        )
        report = json_of(response)
        assert (report["created"], report["refused"]) == (0, 0), report
        assert report["existing"] == len(self.model.tasks)
        assert self.person.get("/tasks").headers["ETag"] == before

    @invariant()
    def the_service_and_the_model_agree(self) -> None:
        assert self.all_tasks() == self.known(self.model.sorted("-created_at"))
        answer = json_of(self.person.get("/trash?limit=200"))
        assert answer["next_cursor"] is None
        trash = {task["id"]: task for task in answer["tasks"]}
        assert {*trash} == {*self.model.trash}
        for task_id, known in self.model.trash.items():
            for name in (*WRITABLE, "created_at", "completed_at"):
                assert trash[task_id][name] == known[name]
            assert known["version"] in {NEW, trash[task_id]["version"]}
            known["version"] = trash[task_id]["version"]
        kept = [*self.model.tasks.values(), *self.model.trash.values()]
        versions = {task["version"] for task in kept}
        assert len(versions) == len(kept)
        self.last_version = max([self.last_version, *versions])


def applied(model: Model, operation: Operation) -> Any:
    """Do an operation of a batch to the model."""
    task_id, data = operation.get("id"), operation.get("data", {})
    version = operation.get("if_match")
    match operation["op"]:
        case "create":
            return model.create(task_id, data)
        case "update":
            return model.update(task_id or "", data, version)
        case "complete":
            return model.complete(task_id or "", data.get("completed"), version)
        case "delete":
            return model.delete(task_id or "", version)
    return model.move(task_id or "", data, version)


def first_refusal(model: Model, operations: list[Operation]) -> tuple[int, Refused] | None:
    for index, operation in enumerate(operations):
        try:
            applied(model, operation)
        except Refused as refusal:
            return index, refusal
    return None


def assert_refused_part(result: dict[str, Any], refusal: Refused) -> None:
    assert result["status"] == result["problem"]["status"] == refusal.status
    assert result["problem"]["code"] == refusal.code


def assert_refused(response: TestResponse, refusal: Refused) -> dict[str, Any]:
    problem = json_of(response)
    assert (response.status_code, problem["code"]) == (refusal.status, refusal.code), problem
    return problem


def run(newcomer: Callable[[str], Any], examples: int, steps: int) -> None:
    # The same in every run, unless it is a search at length: a failure then is a change of
    # ours and not bad luck.
    at_length = LENGTH == AT_LENGTH

    class OfThese(Machine):
        def __init__(self) -> None:
            super().__init__(newcomer)

    run_state_machine_as_test(
        OfThese,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not at_length,
            database=None,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            # To find the shortest way to a failure takes minutes.
            phases=[Phase.generate, *([Phase.shrink] if at_length else [])],
        ),
    )


def test_whatever_is_done_the_service_and_its_model_agree(app):
    run(lambda email: register(app, email), *LENGTH)


@pytest.mark.service
def test_over_http_they_agree_as_well(tmp_path):
    with service.running_service(tmp_path) as running:
        examples, steps = LENGTH
        run(lambda email: Remote(running, email), examples // 4, steps)
