import pytest

from tests.people import assert_refused_field


def test_tasks_come_newest_first(alice):
    titles = [alice.creates(f"Task {number}")["title"] for number in range(3)]

    response = alice.get("/tasks")

    assert response.status_code == 200
    assert [task["title"] for task in response.json["tasks"]] == titles[::-1]
    assert response.json["next_cursor"] is None


def test_there_may_be_none(alice):
    assert alice.get("/tasks").json == {"tasks": [], "next_cursor": None}


def test_a_listed_task_is_the_same_as_a_single_one(alice):
    task = alice.creates(description="Oat", completed=True, order=3)

    assert alice.get("/tasks").json["tasks"] == [alice.get(f"/tasks/{task['id']}").json]


def test_fifty_come_at_once_unless_asked_otherwise(alice):
    for number in range(51):
        alice.creates(f"Task {number}")

    assert len(alice.get("/tasks").json["tasks"]) == 50
    assert len(alice.get("/tasks?limit=200").json["tasks"]) == 51


def test_the_cursor_leads_through_all_pages(alice):
    titles = [alice.creates(f"Task {number}")["title"] for number in range(7)]

    seen = []
    query = "limit=3"
    while query:
        page = alice.get(f"/tasks?{query}").json
        seen.append([task["title"] for task in page["tasks"]])
        query = page["next_cursor"] and f"limit=3&cursor={page['next_cursor']}"

    assert [len(page) for page in seen] == [3, 3, 1]
    assert [title for page in seen for title in page] == titles[::-1]


def test_a_full_last_page_has_no_next_one(alice):
    alice.creates()
    alice.creates()

    assert alice.get("/tasks?limit=2").json["next_cursor"] is None


def test_pages_stay_whole_while_tasks_come_and_go(alice):
    ids = [alice.creates()["id"] for _ in range(6)]
    first = alice.get("/tasks?limit=2").json

    alice.creates("Newer")
    alice.delete(f"/tasks/{ids[4]}")
    alice.delete(f"/tasks/{ids[2]}")
    rest = alice.get(f"/tasks?cursor={first['next_cursor']}").json["tasks"]

    assert [task["id"] for task in first["tasks"]] == [ids[5], ids[4]]
    assert [task["id"] for task in rest] == [ids[3], ids[1], ids[0]]


def test_a_cursor_is_good_for_nobody_else(alice, bob):
    for _ in range(3):
        alice.creates()
        bob.creates("Bob's")
    cursor = alice.get("/tasks?limit=1").json["next_cursor"]

    response = bob.get(f"/tasks?cursor={cursor}")

    assert_refused_field(response, "/query/cursor", "of_another_list")


@pytest.mark.parametrize("limit", ["1", "200"])
def test_the_limits_of_the_limit_are_taken(alice, limit):
    assert alice.get(f"/tasks?limit={limit}").status_code == 200


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=0", "/query/limit", "out_of_range"),
        ("limit=201", "/query/limit", "out_of_range"),
        ("limit=-1", "/query/limit", "out_of_range"),
        (f"limit={'9' * 5000}", "/query/limit", "out_of_range"),
        ("limit=", "/query/limit", "wrong_type"),
        ("limit=ten", "/query/limit", "wrong_type"),
        ("limit=1.0", "/query/limit", "wrong_type"),
        ("limit=٣", "/query/limit", "wrong_type"),
        ("cursor=", "/query/cursor", "too_short"),
        ("cursor=nonsense", "/query/cursor", "invalid"),
        ("cursor=" + "A" * 22 + "!!", "/query/cursor", "invalid"),
        ("cursor=" + "A" * 21 + "B", "/query/cursor", "invalid"),
        ("limit=" + "0" * 30 + "1999", "/query/limit", "out_of_range"),
        ("cursor=%00", "/query/cursor", "forbidden_character"),
        ("cursor=%F0%9F%98%80", "/query/cursor", "invalid"),
        ("sort=colour", "/query/sort", "unknown"),
        ("colour=red", "/query/colour", "unknown"),
    ],
)
def test_what_the_query_cannot_say_is_refused_by_name(alice, query, pointer, code):
    assert_refused_field(alice.get(f"/tasks?{query}"), pointer, code)
