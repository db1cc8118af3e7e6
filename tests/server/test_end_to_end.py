"""A day in the life of two users, over HTTP, with the real server."""

import os
import random
import threading

import pytest

from tests.support.service import Caller, running_service

pytestmark = pytest.mark.service

TASKS = 1000 if os.environ.get("AT_LENGTH") else 250  # of each user

TEXTS = [
    *("Buy milk", "Grüße aus Köln", "買牛奶", "اشتر الحليب", "לקנות חלב", "दूध खरीदें"),
    *(
        "Купить молоко",
        "Αγόρασε γάλα",
        "🥛🛒",
        "👩‍👩‍👧‍👦 family",
        "e\u0301 combining",
        "<b>&amp;</b>",
    ),
]


def test_pages_are_whole_while_others_come_and_go(tmp_path):
    with running_service(tmp_path, WEB_CONCURRENCY="2") as service:
        people = [Caller(service, f"{name}@example.com") for name in ("alice", "bob")]

        def fill(person: Caller, into: dict[str, str]) -> None:
            for number in range(TASKS):
                title = f"{TEXTS[number % len(TEXTS)]} {number}"
                answer = person.call("POST", "/tasks", json={"title": title})
                assert answer.status_code == 201, answer.text
                into[answer.json()["id"]] = title

        stored: list[dict[str, str]] = [{}, {}]
        run_all([(fill, person, into) for person, into in zip(people, stored, strict=True)])
        assert [len(into) for into in stored] == [TASKS, TASKS]

        for person, tasks, other in zip(people, stored, reversed(stored), strict=True):
            doomed = set(random.Random(7).sample(sorted(tasks), TASKS // 5))
            done = threading.Event()

            def churn(person: Caller, doomed: set[str], done: threading.Event) -> None:
                for task_id in doomed:
                    assert person.call("DELETE", f"/tasks/{task_id}").status_code == 204
                    answer = person.call("POST", "/tasks", json={"title": "newer"})
                    assert answer.status_code == 201
                done.set()

            seen: list[tuple[str, str]] = []

            def page_through(person: Caller, seen: list[tuple[str, str]]) -> None:
                query: str | None = "?limit=13"
                while query:
                    page = person.call("GET", f"/tasks{query}").json()
                    seen += [(task["id"], task["title"]) for task in page["tasks"]]
                    query = page["next_cursor"] and f"?limit=13&cursor={page['next_cursor']}"

            # Two connections of the same user: one reads while the other writes.
            writer = Caller(
                service, "alice@example.com" if person is people[0] else "bob@example.com"
            )
            run_all([(churn, writer, doomed, done), (page_through, person, seen)])

            ids = [task_id for task_id, _ in seen]
            assert len(ids) == len(set(ids)), "a task came twice"
            stayed = {key: title for key, title in tasks.items() if key not in doomed}
            assert stayed.items() <= dict(seen).items(), "a task that stayed was missed"
            assert not set(ids) & set(other), "a task of somebody else"


def run_all(calls):
    failures = []

    def run(call):
        function, *arguments = call
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 -- raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
