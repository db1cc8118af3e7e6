import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.people import assert_refused_field, json_of, outsider

KEYS = ["created_at", "updated_at", "completed_at", "title", "order"]
SORTS = [sign + key for key in KEYS for sign in ("", "-")]

# Each with its place in the order of titles; what differs in case and accents alone is equal.
TITLES = {
    "banana": 3,
    "Éclair": 4,
    "apple": 1,
    "eclair": 4,
    "Äpfel": 0,
    "APPLE": 1,
    "zebra crossing": 6,
    "Apple pie": 2,
    "Øre": 5,
}
# Four bytes each in UTF-8, letters of words, all different.
LONG = "".join(chr(0x17000 + number * 13) for number in range(500))


def titles(tasks):
    return [task["title"] for task in tasks]


def ids(tasks):
    return [task["id"] for task in tasks]


def walk(person, query, limit):
    """All pages by their cursors; each has a Link that leads where the cursor does."""
    pages = []
    url = first = f"/tasks?{query}&limit={limit}"
    while url:
        response = person.get(url)
        page = json_of(response)
        pages.append(page["tasks"])
        cursor = page["next_cursor"]
        url = f"{first}&cursor={cursor}" if cursor else ""
        assert ("Link" in response.headers) == bool(cursor)
        if cursor:
            assert person.get(next_of(response)).json == person.get(url).json
    return pages


def next_of(response):
    found = re.fullmatch(r'<(/[^<>]*)>; rel="next"', response.headers["Link"])
    assert found
    return found[1]


@pytest.fixture
def tasks(alice, sql):
    """Nine tasks, whose ids tell nothing of when they were made, with ties in every order."""
    for number, title in enumerate(TITLES):
        task_id = f"{number * 7 % 9:08x}-0000-4000-8000-000000000000"
        body = {"title": title, "order": number % 3 - 1, "completed": number % 2 == 0}
        response = alice.put(f"/tasks/{task_id}", body, headers={"If-None-Match": "*"})
        assert response.status_code == 201
    sql("UPDATE tasks SET created_at = date_trunc('second', created_at) WHERE \"order\" <> 0")
    sql("UPDATE tasks SET completed_at = '2026-11-20T08:15:30.25Z' WHERE \"order\" = 1")
    sql("UPDATE tasks SET completed_at = '2026-11-20T08:15:30.25Z' WHERE id::text LIKE '%3-0000%'")
    return [alice.get(f"/tasks/{task['id']}").json for task in alice.get("/tasks").json["tasks"]]


def in_order(tasks, sort):
    name = sort.removeprefix("-")
    keys = {task["id"]: TITLES[task["title"]] if name == "title" else task[name] for task in tasks}
    with_key = [task for task in tasks if keys[task["id"]] is not None]
    without = [task for task in tasks if keys[task["id"]] is None]
    down = sort != name
    return [
        *sorted(with_key, key=lambda task: (keys[task["id"]], task["id"]), reverse=down),
        *sorted(without, key=lambda task: task["id"], reverse=down),
    ]


@pytest.mark.parametrize("sort", SORTS)
def test_tasks_come_in_the_order_asked_for_and_ties_in_that_of_their_ids(alice, tasks, sort):
    assert titles(alice.get(f"/tasks?sort={sort}").json["tasks"]) == titles(in_order(tasks, sort))


@pytest.mark.parametrize("sort", SORTS)
def test_the_pages_of_every_order_are_the_whole_list_cut_up(alice, tasks, sort):
    whole = alice.get(f"/tasks?sort={sort}").json["tasks"]
    assert len(whole) == 9

    for limit in (1, 2, 3):
        pages = walk(alice, f"sort={sort}", limit)
        assert [task for page in pages for task in page] == whole
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert pages[-1]


def test_the_newest_come_first_unless_asked_otherwise(alice, tasks):
    assert alice.get("/tasks").json == alice.get("/tasks?sort=-created_at").json
    assert titles(alice.get("/tasks").json["tasks"]) == titles(in_order(tasks, "-created_at"))


@pytest.mark.parametrize("sort", ["completed_at", "-completed_at"])
def test_open_tasks_come_last_in_both_directions(alice, sort):
    done = [alice.creates(f"Done {number}", completed=True)["title"] for number in range(2)]
    still_open = [alice.creates(f"Open {number}")["title"] for number in range(2)]
    if sort.startswith("-"):
        done, still_open = done[::-1], still_open[::-1]

    assert titles(alice.get(f"/tasks?sort={sort}").json["tasks"]) == done + still_open
    for limit in (1, 2, 3):
        pages = walk(alice, f"sort={sort}", limit)
        assert titles(task for page in pages for task in page) == done + still_open


@pytest.mark.parametrize("completed", [True, False])
@pytest.mark.parametrize("sort", ["completed_at", "-completed_at"])
def test_where_all_are_open_or_all_are_completed_pages_are_whole_too(alice, sort, completed):
    made = [alice.creates(str(number), completed=completed)["id"] for number in range(5)]
    if sort.startswith("-"):
        made.reverse()

    for query in (f"sort={sort}", f"sort={sort}&completed={str(completed).lower()}"):
        for limit in (1, 2, 5):
            assert ids(task for page in walk(alice, query, limit) for task in page) == made


def test_titles_are_compared_without_case_and_accents(alice):
    for title in ("banana", "éCLAIR 2", "Eclair 1", "Éclair 3", "apple", "Äpfel", "ÉCLAIR"):
        alice.creates(title)

    ordered = ["Äpfel", "apple", "banana", "ÉCLAIR", "Eclair 1", "éCLAIR 2", "Éclair 3"]
    assert titles(alice.get("/tasks?sort=title").json["tasks"]) == ordered
    assert titles(alice.get("/tasks?sort=-title").json["tasks"]) == ordered[::-1]


@pytest.mark.parametrize(
    "write",
    [
        lambda alice, path: alice.patch(path, {"title": "Äpfel"}),
        lambda alice, path: alice.put(path, {"title": "Äpfel"}),
        lambda alice, path: alice.put(f"/api/{alice.id}{path}", {"title": "Äpfel"}),
    ],
    ids=["patch", "put", "put by path"],
)
def test_a_task_whose_title_changes_takes_its_new_place(alice, write):
    alice.creates("banana")
    task = alice.creates("cherry")

    assert write(alice, f"/tasks/{task['id']}").status_code == 200

    assert titles(alice.get("/tasks?sort=title").json["tasks"]) == ["Äpfel", "banana"]


def test_a_changed_task_is_the_last_updated(alice):
    first, second = alice.creates("first"), alice.creates("second")
    alice.patch(f"/tasks/{first['id']}", {"order": 1})

    assert titles(alice.get("/tasks?sort=-updated_at").json["tasks"]) == ["first", "second"]
    alice.patch(f"/tasks/{second['id']}/complete")
    assert titles(alice.get("/tasks?sort=-updated_at").json["tasks"]) == ["second", "first"]


@pytest.mark.parametrize("sort", SORTS)
def test_no_task_comes_twice_or_is_missed_while_others_are_added(alice, tasks, sort):
    seen = []
    query = f"sort={sort}&limit=2"
    newer = [("Aa", -9), ("Éclair", 0), ("zzz", 9)] * 4
    while query:
        page = alice.get(f"/tasks?{query}").json
        seen += ids(page["tasks"])
        cursor = page["next_cursor"]
        query = cursor and f"sort={sort}&limit=2&cursor={cursor}"
        for title, order in newer[:3]:
            alice.creates(title, order=order, completed=len(newer) % 2 == 0)
        del newer[:3]

    assert len(seen) == len(set(seen))
    assert set(ids(tasks)) <= set(seen)


def test_the_link_repeats_what_was_asked_for(alice):
    for number in range(3):
        alice.creates(f"Äpfel & more {number}", order=number)
    alice.creates("else")

    response = alice.get("/tasks?q=%C3%84pfel+%26+MORE&sort=-order&limit=2&include=total")

    asked = parse_qs(urlsplit(next_of(response)).query)
    cursor = asked.pop("cursor")
    assert cursor == [response.json["next_cursor"]]
    assert asked == {
        "q": ["Äpfel & MORE"],
        "sort": ["-order"],
        "limit": ["2"],
        "include": ["total"],
    }
    rest = alice.get(next_of(response))
    assert titles(rest.json["tasks"]) == ["Äpfel & more 0"]
    assert "Link" not in rest.headers


def test_a_cursor_is_good_for_its_order_and_filters_alone(alice):
    for number in range(3):
        alice.creates(f"Task {number}")
    cursor = alice.get("/tasks?sort=title&limit=1").json["next_cursor"]

    assert len(alice.get(f"/tasks?sort=title&limit=2&cursor={cursor}").json["tasks"]) == 2
    for query in ("", "sort=-title&", "sort=order&", "sort=title&q=task&"):
        response = alice.get(f"/tasks?{query}cursor={cursor}")
        assert_refused_field(response, "/query/cursor", "of_another_list")


def test_an_order_that_is_not_known_is_refused(alice):
    for sort in ("", "colour", "--title", "Title", "%2Btitle", "title,order", "id", "version"):
        assert_refused_field(alice.get(f"/tasks?sort={sort}"), "/query/sort", "unknown")


@pytest.mark.parametrize(
    "start", ["x" * 300, "\ufdfa" * 60, "ß" * 250, LONG[:300]], ids=["x", "salla", "ss", "tangut"]
)
def test_titles_that_are_longer_than_what_they_are_sorted_by_page_correctly(alice, start):
    made = {alice.creates(f"{start}{number}")["id"] for number in (3, 1, 4, 1, 5)}
    first, last = alice.creates("a")["id"], alice.creates("\U0010fffd\U0001f9ff")["id"]

    for sort in ("title", "-title"):
        whole = ids(alice.get(f"/tasks?sort={sort}").json["tasks"])
        assert set(whole) == {first, last, *made}
        assert len(whole) == 7
        for limit in (1, 2, 3):
            pages = walk(alice, f"sort={sort}", limit)
            assert ids(task for page in pages for task in page) == whole


@pytest.mark.parametrize("title", ["😀" * 500, LONG], ids=["pictures", "letters"])
@pytest.mark.parametrize("user_id", ["ada", "😀" * 255], ids=["short", "longest"])
def test_the_longest_titles_of_the_longest_names_are_kept_and_listed(variant, user_id, title):
    secret = "a secret that the issuer and we share"
    external = variant(auth_mode="external", external_jwt_secret=secret)
    somebody = outsider(external, secret, user_id)
    made = [somebody.creates(title)["id"] for _ in range(3)]

    for sort in ("title", "-title"):
        pages = walk(somebody, f"sort={sort}", 1)
        expected = sorted(made, reverse=sort == "-title")
        assert ids(task for page in pages for task in page) == expected
    task = somebody.patch(f"/tasks/{made[0]}", {"title": title[::-1]}).json
    assert somebody.get(f"/tasks/{made[0]}").json == task


def test_the_longest_url_of_a_next_page_is_one_that_the_server_reads(alice):
    words = " ".join(LONG[at : at + 3] for at in range(0, 200, 4))
    assert len(words) <= 200
    for _ in range(2):
        alice.creates(LONG, description=words)

    response = alice.call("GET", "/tasks", query_string={"q": words, "sort": "title", "limit": 1})

    # gunicorn reads request lines of up to 4094 bytes.
    assert len(f"GET {next_of(response)} HTTP/1.1\r\n") <= 4094
    assert len(alice.get(next_of(response)).json["tasks"]) == 1
