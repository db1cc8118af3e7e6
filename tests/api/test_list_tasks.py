import pytest

from tests.support.people import assert_problem, assert_refused_field, bearer, json_of, register


def fill(sql, person, count):
    sql(
        """
        WITH counter AS (
            UPDATE users SET change_seq = change_seq + :count WHERE id = :owner
            RETURNING change_seq)
        INSERT INTO tasks (user_id, id, title, title_words, version)
        SELECT :owner, gen_random_uuid(), 'task ' || n, 'task ' || n, change_seq - n + 1
          FROM generate_series(1, :count) AS n, counter
        """,
        owner=person.id,
        count=count,
    )


def test_tasks_come_newest_first(alice):
    titles = [alice.creates(f"Task {number}")["title"] for number in range(3)]

    response = alice.get("/tasks")

    assert response.status_code == 200
    assert [task["title"] for task in response.json["tasks"]] == titles[::-1]
    assert response.json["next_cursor"] is None


def test_there_may_be_none(alice):
    nothing: dict[str, object] = {"tasks": [], "next_cursor": None, "count": 0, "total": 0}

    assert alice.get("/tasks").json == nothing
    assert alice.get("/tasks?limit=5").json == nothing


def test_a_listed_task_is_the_same_as_a_single_one(alice):
    task = alice.creates(description="Oat", completed=True, order=3)

    assert alice.get("/tasks").json["tasks"] == [alice.get(f"/tasks/{task['id']}").json]


def test_all_tasks_are_listed_unless_a_page_is_asked_for(alice, sql):
    fill(sql, alice, 251)

    everything = alice.get("/tasks").json

    assert len({task["id"] for task in everything["tasks"]}) == 251
    assert (everything["count"], everything["total"], everything["next_cursor"]) == (251, 251, None)


def test_a_cursor_alone_leads_to_a_page_of_fifty(alice, sql):
    fill(sql, alice, 70)
    first = alice.get("/tasks?limit=10").json

    second = alice.get(f"/tasks?cursor={first['next_cursor']}").json

    assert (first["count"], second["count"]) == (10, 50)


def test_a_page_counts_all_tasks_only_where_it_has_them_or_is_asked(alice, sql):
    fill(sql, alice, 5)

    pages = [alice.get(f"/tasks?{query}").json for query in ("limit=4", "limit=5")]
    [counted] = [alice.get("/tasks?limit=2&include=total").json]

    assert [(page["count"], page.get("total")) for page in pages] == [(4, None), (5, 5)]
    assert (counted["count"], counted["total"]) == (2, 5)


@pytest.mark.parametrize("count", [499, 500, 501, 1000, 1733])
def test_a_list_of_many_batches_is_whole_and_counted(alice, sql, count):
    fill(sql, alice, count)

    response = alice.get("/tasks")

    assert response.json["count"] == response.json["total"] == count
    ids = [task["id"] for task in response.json["tasks"]]
    assert len(set(ids)) == count
    assert response.headers["ETag"] == alice.get("/tasks").headers["ETag"]


def test_ten_thousand_tasks_are_streamed_in_batches(app, alice, sql):
    fill(sql, alice, 10_000)

    response = alice.client.get("/tasks", headers=bearer(alice.token), buffered=False)
    chunks = list(response.response)

    assert "Content-Length" not in response.headers
    assert max(map(len, chunks)) < 500_000
    answer = app.json.loads(b"".join(chunks))
    assert answer["count"] == answer["total"] == 10_000
    assert len({task["id"] for task in answer["tasks"]}) == 10_000


def test_the_filters_and_orders_hold_for_whole_lists(alice, sql):
    fill(sql, alice, 700)

    some = alice.get("/tasks?q=task&sort=title&created_after=2026-01-01T00:00:00Z").json

    assert some["count"] == 700
    titles = [task["title"] for task in some["tasks"]]
    assert titles == sorted(titles)


def test_a_whole_list_that_is_known_is_not_sent_again(alice, sql):
    fill(sql, alice, 600)
    etag = alice.get("/tasks").headers["ETag"]

    known = alice.get("/tasks", headers={"If-None-Match": etag})

    assert (known.status_code, known.data) == (304, b"")


def test_a_whole_list_is_charged_as_the_pages_that_it_would_have_been(variant, sql):
    alice = register(variant(rate_limit_enabled=True), "alice@example.com")
    fill(sql, alice, 2100)

    def left() -> int:
        told = alice.get("/tasks?limit=1").headers["RateLimit"]
        return int(told.partition("r=")[2].partition(";")[0])

    before = left()
    assert json_of(alice.get("/tasks"))["count"] == 2100

    # Four batches of 500 count as three pages each, that of 100 as one; and so does asking.
    assert before - left() == 4 * 3 + 1 + 1


def test_a_list_that_exceeds_the_limit_is_whole_and_later_requests_wait(variant, sql):
    limited = variant(rate_limit_enabled=True, rate_limit_reads="10/minute")
    alice = register(limited, "alice@example.com")
    fill(sql, alice, 3000)

    assert json_of(alice.get("/tasks"))["count"] == 3000
    assert_problem(alice.get("/tasks"), 429, "rate_limited")


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
