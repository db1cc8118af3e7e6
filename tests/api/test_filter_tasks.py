from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from tests.support.people import assert_problem, assert_refused_field

SIDES = ["after", "before"]


def titles(response):
    assert response.status_code == 200, response.text
    return sorted(task["title"] for task in response.json["tasks"])


@pytest.fixture
def tasks(alice):
    """Three tasks, created, completed and changed one after the other."""
    made = [alice.creates(title)["id"] for title in "abc"]
    for task_id in made:
        alice.patch(f"/tasks/{task_id}/complete")
    for task_id in made:
        alice.patch(f"/tasks/{task_id}", {"order": 1})
    return [alice.get(f"/tasks/{task_id}").json for task_id in made]


def test_open_and_completed_tasks_can_be_told_apart(alice):
    alice.creates("open")
    alice.creates("done", completed=True)
    flipped = alice.creates("flipped")
    alice.patch(f"/tasks/{flipped['id']}/complete")

    assert titles(alice.get("/tasks?completed=true")) == ["done", "flipped"]
    assert titles(alice.get("/tasks?completed=false")) == ["open"]
    assert titles(alice.get("/tasks")) == ["done", "flipped", "open"]


def test_completed_is_true_or_false(alice):
    for value in ("", "1", "0", "yes", "True", "null", "true%20"):
        response = alice.get(f"/tasks?completed={value}")
        assert_refused_field(response, "/query/completed", "wrong_type")


@pytest.mark.parametrize("name", ["created", "updated", "completed"])
def test_a_time_itself_is_neither_after_nor_before_it(alice, tasks, name):
    first, second, third = (task[f"{name}_at"] for task in tasks)

    assert titles(alice.get(f"/tasks?{name}_after={second}")) == ["c"]
    assert titles(alice.get(f"/tasks?{name}_before={second}")) == ["a"]
    assert titles(alice.get(f"/tasks?{name}_after={first}&{name}_before={third}")) == ["b"]
    assert titles(alice.get(f"/tasks?{name}_after={third}")) == []
    assert titles(alice.get(f"/tasks?{name}_before={first}")) == []


@pytest.mark.parametrize("side", SIDES)
def test_an_open_task_was_completed_neither_before_nor_after(alice, side):
    alice.creates("open")
    time = "9999-12-31T23:59:59Z" if side == "before" else "0001-01-01T00:00:00Z"

    assert titles(alice.get(f"/tasks?completed_{side}={time}")) == []


@pytest.mark.parametrize("minutes", [330, -210, 0])
def test_a_time_may_be_that_of_another_place(alice, tasks, minutes):
    moment = datetime.fromisoformat(tasks[1]["created_at"])
    there = moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert there.endswith(("+05:30", "-03:30", "+00:00"))

    assert titles(alice.get(f"/tasks?created_after={quote(there)}")) == ["c"]
    assert titles(alice.get(f"/tasks?created_before={quote(there)}")) == ["a"]


def test_times_as_rfc_3339_writes_them_are_taken(alice):
    for time in (
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.6Z",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02T03:04:05%2B01:00",
        "2026-01-02T03:04:05-00:00",
        "2024-02-29T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ):
        assert alice.get(f"/tasks?created_after={time}").status_code == 200, time
        assert alice.get(f"/tasks?created_before={time}").status_code == 200, time


@pytest.mark.parametrize(
    "name", [f"{name}_{side}" for name in ("created", "updated", "completed") for side in SIDES]
)
def test_every_time_is_one_with_an_offset(alice, name):
    for time, code in (
        ("2026-11-20", "date_alone"),
        ("2026-11-20T08:15:30", "no_offset"),
        ("soon", "invalid"),
    ):
        assert_refused_field(alice.get(f"/tasks?{name}={time}"), f"/query/{name}", code)


@pytest.mark.parametrize(
    ("time", "code"),
    [
        ("2026-11-20T08:15:30.25", "no_offset"),
        ("", "invalid"),
        ("1763625600", "invalid"),
        ("2026-11-20T08:15:30+01:00", "unescaped_plus"),  # In a query, + is a space.
        ("2026-11-20T08:15:30.25+01:00", "unescaped_plus"),
        ("2016-12-31T23:59:60Z", "leap_second"),
        ("2017-01-01T00:59:60.5%2B01:00", "leap_second"),
        ("2016-12-31T23:59:61Z", "invalid"),
        ("2026-11-20%2008:15:30Z", "invalid"),
        ("2026-11-20T08:15Z", "invalid"),
        ("2026-11-20T08:15:30%2B0100", "invalid"),
        ("2026-11-20T08:15:30Z%0A", "invalid"),
        ("0000-01-01T00:00:00Z", "invalid"),
        ("2026-11-20T25:00:00Z", "invalid"),
        ("2026-11-20T08:60:00Z", "invalid"),
        ("2026-13-01T00:00:00Z", "invalid"),
        ("2026-02-30T00:00:00Z", "invalid"),
        ("2026-11-20T08:15:30%2B25:00", "invalid"),
        ("0001-01-01T00:00:00%2B01:00", "invalid"),
        ("9999-12-31T23:59:59-01:00", "invalid"),
        ("10000-01-01T00:00:00Z", "invalid"),
        ("%D9%A2026-11-20T08:15:30Z", "invalid"),
        ("infinity", "invalid"),
        ("now", "invalid"),
    ],
)
def test_what_is_no_time_is_refused_with_its_reason(alice, time, code):
    assert_refused_field(alice.get(f"/tasks?created_after={time}"), "/query/created_after", code)


def test_all_times_that_are_wrong_are_told_at_once(alice):
    response = alice.get("/tasks?created_after=2026-11-20&updated_before=x&completed=x&limit=x")

    errors = assert_problem(response, 422, "validation_failed")["errors"]
    assert {(error["pointer"], error["code"]) for error in errors} == {
        ("/query/created_after", "date_alone"),
        ("/query/updated_before", "invalid"),
        ("/query/completed", "wrong_type"),
        ("/query/limit", "wrong_type"),
    }


def test_filters_narrow_each_other(alice):
    made = [alice.creates(f"milk {number}", completed=number % 2 == 0) for number in range(5)]
    alice.creates("bread", completed=True)
    since = f"created_after={made[0]['created_at']}"

    assert titles(alice.get(f"/tasks?{since}&completed=true&q=milk")) == ["milk 2", "milk 4"]
    assert titles(alice.get(f"/tasks?{since}&completed=false&q=bread")) == []
    query = f"{since}&completed=false&created_before={made[3]['created_at']}&updated_after="
    assert titles(alice.get(f"/tasks?{query}2020-01-01T00:00:00Z")) == ["milk 1"]
    assert titles(alice.get("/tasks?completed=false&completed_after=2020-01-01T00:00:00Z")) == []


@pytest.mark.parametrize("sort", ["created_at", "-completed_at", "title", "-order"])
def test_filtered_pages_are_the_filtered_list_cut_up(alice, sort):
    for number in range(9):
        alice.creates(f"{'milk' if number % 3 else 'bread'} {number}", completed=number % 2 == 0)
    url = f"/tasks?q=milk&completed=true&created_after=2020-01-01T00:00:00Z&sort={sort}"
    whole = alice.get(url).json["tasks"]
    assert {task["title"] for task in whole} == {"milk 2", "milk 4", "milk 8"}

    seen = []
    page = alice.get(f"{url}&limit=1").json
    while page["next_cursor"]:
        seen += page["tasks"]
        page = alice.get(f"{url}&limit=1&cursor={page['next_cursor']}").json
    seen += page["tasks"]

    assert seen == whole


def test_the_total_is_that_of_all_pages_with_the_filters(alice, bob):
    for number in range(5):
        alice.creates(f"milk {number}", completed=number < 3)
    alice.creates("bread", completed=True)
    bob.creates("milk")

    first = alice.get("/tasks?include=total&limit=2&q=milk&completed=true").json
    assert (len(first["tasks"]), first["total"]) == (2, 3)
    cursor = first["next_cursor"]
    last = alice.get(f"/tasks?include=total&limit=2&q=milk&completed=true&cursor={cursor}").json
    assert (len(last["tasks"]), last["total"], last["next_cursor"]) == (1, 3, None)
    assert alice.get("/tasks?include=total").json["total"] == 6
    assert alice.get("/tasks?include=total&q=cheese").json["total"] == 0
    assert alice.get("/tasks?include=total&created_before=2020-01-01T00:00:00Z").json["total"] == 0


def test_without_being_asked_for_there_is_no_total(alice):
    alice.creates()

    alice.creates()

    assert set(alice.get("/tasks?limit=1").json) == {"tasks", "next_cursor", "count"}


def test_only_the_total_can_be_included(alice):
    for value in ("x", "", "Total", "total,x", "tasks"):
        assert_refused_field(alice.get(f"/tasks?include={value}"), "/query/include", "unknown")


@pytest.mark.parametrize("name", ["colour", "Completed", "created", "created_at", "offset", "page"])
def test_an_unknown_parameter_is_refused_with_the_names_of_the_known_ones(alice, name):
    response = alice.get(f"/tasks?{name}=1")

    assert_refused_field(response, f"/query/{name}", "unknown")
    [error] = response.json["errors"]
    for known in (
        *("limit", "cursor", "sort", "include", "q", "completed", "created_after"),
        *("created_before", "updated_after", "updated_before"),
        *("completed_after", "completed_before"),
    ):
        assert known in error["detail"].replace(".", ",").replace(" ", ",").split(",")


@pytest.mark.parametrize("limit", [201, 1000, 10**30])
def test_more_than_two_hundred_at_once_are_refused(alice, limit):
    response = alice.get(f"/tasks?limit={limit}&completed=true")

    assert_refused_field(response, "/query/limit", "out_of_range")


@pytest.mark.parametrize(
    ("time", "hint"),
    [
        ("2026-11-20T08:15:30+01:00", "2026-11-20T08:15:30%2B01:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
    ],
)
def test_what_to_send_instead_of_a_time_is_said(alice, time, hint):
    response = alice.get(f"/tasks?created_after={time}")

    [error] = response.json["errors"]
    assert hint in error["detail"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("completed=true&completed=false", ["completed"]),
        ("completed=true&completed=true", ["completed"]),
        ("q=milk&limit=5&q=bread&limit=6&limit=7", ["q", "limit"]),
        ("colour=red&colour=red", ["colour"]),
    ],
)
def test_a_parameter_that_comes_twice_is_refused_by_name(alice, query, names):
    problem = assert_problem(alice.get(f"/tasks?{query}"), 422, "validation_failed")

    found = [(error["pointer"], error["code"]) for error in problem["errors"]]
    assert found == [(f"/query/{name}", "repeated") for name in names]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks/changes?wait=0&wait=1"),
        ("GET", "/tasks/export?format=csv&format=json"),
        ("GET", "/trash?limit=1&limit=2"),
        ("POST", "/auth/logout?all=true&all=false"),
        ("POST", "/tasks/import?dry_run=true&dry_run=false"),
        ("DELETE", "/tasks/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77?permanent=false&permanent=true"),
    ],
)
def test_no_request_takes_a_parameter_twice(alice, method, path):
    json: list[object] | None = [] if method == "POST" else None

    problem = assert_problem(alice.call(method, path, json), 422, "validation_failed")

    assert [error["code"] for error in problem["errors"]] == ["repeated"]
