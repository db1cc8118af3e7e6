import random
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from taskapi.tasks import reordering
from tests.support.people import assert_problem, assert_refused_field, json_of

LOWEST, HIGHEST = -(2**31), 2**31 - 1


def in_order(person):
    """All tasks as the list by hand shows them."""
    tasks = []
    query = "sort=order&limit=200"
    while query:
        page = json_of(person.get(f"/tasks?{query}"))
        tasks += page["tasks"]
        cursor = page["next_cursor"]
        query = cursor and f"sort=order&limit=200&cursor={cursor}"
    return tasks


def titles(person):
    return "".join(task["title"] for task in in_order(person))


def move(person, task, json, **headers):
    return person.post(f"/tasks/{task['id']}/move", json, headers=headers)


def moves(person, task, **where):
    """Move it, and see that the answer tells all that has changed."""
    before = {one["id"]: one for one in in_order(person)}
    response = move(person, task, {name: one and one["id"] for name, one in where.items()})
    assert response.status_code == 200, response.text
    after = {one["id"]: one for one in in_order(person)}
    moved, renumbered = response.json["task"], response.json["renumbered"]

    assert response.headers["ETag"] == f'"{moved["version"]}"'
    assert moved == after[task["id"]]
    others = [after[key] for key in after if key != task["id"] and after[key] != before[key]]
    assert sorted(renumbered, key=lambda one: one["id"]) == sorted(
        others, key=lambda one: one["id"]
    )
    changed = [*others] + ([moved] if moved != before[moved["id"]] else [])
    for one in changed:
        old = before[one["id"]]
        assert one["order"] != old["order"]
        assert one["version"] > max(task["version"] for task in before.values())
        told = {"order", "version", "updated_at"}
        assert {key for key in one if one[key] != old[key]} == told
    assert len({one["version"] for one in after.values()}) == len(after)
    assert all(LOWEST <= one["order"] <= HIGHEST for one in after.values())
    return response.json


def creates(person, orders):
    """Create a task for each order, named by letters."""
    return {
        title: person.creates(title, order=order)
        for title, order in zip("abcdefghijklmnopqrstuvwxyz", orders, strict=False)
    }


@pytest.fixture
def tasks(alice):
    """Five tasks, with room between them."""
    return creates(alice, range(0, 500, 100))


@pytest.mark.parametrize(
    ("title", "where", "order"),
    [
        ("d", {"after": "a"}, "adbce"),
        ("d", {"before": "b"}, "adbce"),
        ("a", {"after": "e"}, "bcdea"),
        ("e", {"before": "a"}, "eabcd"),
        ("c", {"after": None}, "cabde"),
        ("b", {"after": "d"}, "acdbe"),
        ("b", {"before": "e"}, "acdbe"),
        ("e", {"after": "d"}, "abcde"),
        ("a", {"before": "b"}, "abcde"),
        ("a", {"after": None}, "abcde"),
    ],
)
def test_a_task_goes_where_it_is_told(alice, tasks, title, where, order):
    place = {name: other and tasks[other] for name, other in where.items()}

    answer = moves(alice, tasks[title], **place)

    assert titles(alice) == order
    # There is room, so nobody else has to step aside.
    assert answer["renumbered"] == []


def test_a_moved_task_is_answered_as_it_is_now(alice, tasks):
    response = move(alice, tasks["d"], {"after": tasks["a"]["id"]})

    assert response.status_code == 200
    assert set(response.json) == {"task", "renumbered"}
    task = response.json["task"]
    assert tasks["a"]["order"] < task["order"] < tasks["b"]["order"]
    assert task == {
        **tasks["d"],
        "order": task["order"],
        "version": 6,
        "updated_at": task["updated_at"],
    }
    assert task["updated_at"] > tasks["d"]["updated_at"]
    assert response.headers["ETag"] == '"6"'
    assert alice.get(f"/tasks/{task['id']}").json == task


@pytest.mark.parametrize("where", ["after", "before"])
def test_where_all_are_equal_the_others_step_aside(alice, where):
    creates(alice, [0] * 8)
    ordered = in_order(alice)

    answer = moves(alice, ordered[6], **{where: ordered[2]})

    assert answer["renumbered"]
    expected = [one["id"] for one in ordered if one is not ordered[6]]
    expected.insert(3 if where == "after" else 2, ordered[6]["id"])
    assert [one["id"] for one in in_order(alice)] == expected


def test_between_two_neighbouring_numbers_there_is_room_too(alice):
    tasks = creates(alice, [0, 1, 2, 3, 4])

    for number in range(3):
        moves(alice, tasks["e"], after=tasks["abc"[number]])
        assert titles(alice) == ["aebcd", "abecd", "abced"][number]


@pytest.mark.parametrize(
    "where",
    [
        {"after": None},
        {"after": "a"},
        {"before": "c"},
    ],
    ids=["first", "after", "before"],
)
def test_where_it_is_already_nothing_changes(alice, where):
    tasks = creates(alice, [5, 6, 7])
    task = tasks["a" if where == {"after": None} else "b"]

    for _ in range(2):
        answer = moves(alice, task, **{name: one and tasks[one] for name, one in where.items()})

        assert answer == {"task": task, "renumbered": []}
    assert alice.creates()["version"] == 4


def test_among_equals_it_may_be_in_its_place_as_well(alice):
    creates(alice, [0] * 4)
    ordered = in_order(alice)

    for number in (1, 2, 3):
        assert moves(alice, ordered[number], after=ordered[number - 1]) == {
            "task": ordered[number],
            "renumbered": [],
        }

    assert in_order(alice) == ordered


def test_the_only_task_is_the_first_already(alice):
    task = alice.creates()

    assert moves(alice, task, after=None) == {"task": task, "renumbered": []}


@pytest.mark.parametrize("what", ["neither", "both", "both with null"])
def test_a_place_is_after_or_before(alice, tasks, what):
    other = tasks["b"]["id"]
    body = {
        "neither": {},
        "both": {"after": other, "before": other},
        "both with null": {"after": None, "before": other},
    }[what]

    assert_problem(move(alice, tasks["a"], body), 422, "validation_failed")
    assert titles(alice) == "abcde"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"before": None}, "/before", "null"),
        ({"after": "nonsense"}, "/after", "invalid"),
        ({"after": 1}, "/after", "invalid"),
        ({"after": None, "order": 1}, "/order", "unknown"),
    ],
    ids=["before nothing", "no id", "number", "unknown"],
)
def test_what_is_no_place_is_refused_by_name(alice, tasks, body, pointer, code):
    assert_refused_field(move(alice, tasks["b"], body), pointer, code)
    assert titles(alice) == "abcde"


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_place_next_to_what_is_not_there_is_refused(alice, bob, tasks, name):
    deleted = alice.creates("f")
    alice.delete(f"/tasks/{deleted['id']}")
    before = in_order(alice)

    for other in (str(uuid4()), bob.creates("Bob's")["id"], deleted["id"]):
        response = move(alice, tasks["a"], {name: other})
        assert_refused_field(response, f"/{name}", "task_not_found")

    assert in_order(alice) == before


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_task_is_not_moved_next_to_itself(alice, tasks, name):
    task_id = tasks["b"]["id"]

    for other in (task_id, task_id.upper()):
        assert_problem(move(alice, tasks["b"], {name: other}), 422, "validation_failed")
    assert move(alice, tasks["b"], {name: task_id}).json["errors"][0]["pointer"] == f"/{name}"

    assert titles(alice) == "abcde"


def test_a_missing_task_stays_missing(alice, bob, tasks):
    of_bob = bob.creates("Bob's")
    for task_id in (str(uuid4()), of_bob["id"], "nonsense"):
        for other in (tasks["a"]["id"], None):
            response = move(alice, {"id": task_id}, {"after": other})
            assert_problem(response, 404, "task_not_found")

    assert bob.get(f"/tasks/{of_bob['id']}").json == of_bob


def test_if_match_is_honoured(alice, tasks):
    task = tasks["d"]
    current = alice.patch(f"/tasks/{task['id']}", {"description": "New"}).json

    refused = move(alice, task, {"after": None}, **{"If-Match": f'"{task["version"]}"'})
    assert assert_problem(refused, 412, "precondition_failed")["current"] == current
    assert titles(alice) == "abcde"

    done = move(alice, task, {"after": None}, **{"If-Match": f'"{current["version"]}"'})
    assert done.status_code == 200
    assert titles(alice) == "dabce"


def test_if_match_counts_where_the_task_is_in_its_place_as_well(alice, tasks):
    place = {"after": tasks["a"]["id"]}

    refused = move(alice, tasks["b"], place, **{"If-Match": '"99"'})
    assert assert_problem(refused, 412, "precondition_failed")["current"] == tasks["b"]
    assert move(alice, tasks["b"], place, **{"If-Match": '"2"'}).json["task"] == tasks["b"]


def test_others_have_an_order_of_their_own(alice, bob, tasks):
    of_bob = creates(bob, [0] * 3)
    before = in_order(bob)

    moves(alice, tasks["e"], before=tasks["a"])

    assert in_order(bob) == before
    assert len(of_bob) == 3


@pytest.mark.parametrize("spread", ["equal", "neighbours", "far apart", "crowded at the ends"])
def test_a_long_walk_ends_where_a_list_would(alice, spread):
    orders = {
        "equal": [0] * 12,
        "neighbours": range(12),
        "far apart": range(-600_000, 600_000, 100_000),
        "crowded at the ends": [LOWEST] * 6 + [HIGHEST] * 6,
    }[spread]
    creates(alice, orders)
    chance = random.Random(20)
    expected = [task["id"] for task in in_order(alice)]

    for step in range(200 if spread == "equal" else 60):
        task_id = expected.pop(chance.randrange(12))
        place = chance.randrange(12)
        other: dict[str, str] | None
        if place < 11 and chance.random() < 0.5:
            name, other = "before", {"id": expected[place]}
        else:
            name, other = "after", {"id": expected[place - 1]} if place else None
        expected.insert(place, task_id)
        moves(alice, {"id": task_id}, **{name: other})

        assert [task["id"] for task in in_order(alice)] == expected, (step, name)


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_thousand_moves_to_one_place_keep_the_order(alice, name):
    creates(alice, [0] * 12)
    ids = [task["id"] for task in in_order(alice)]
    anchor = ids.pop(5)
    left, right = ids[:5], ids[5:]

    renumbered = 0
    for step in range(1000):
        task_id = (left + right)[step * 7 % 11]
        (left if task_id in left else right).remove(task_id)
        if name == "after":
            right.insert(0, task_id)
        else:
            left.append(task_id)
        response = move(alice, {"id": task_id}, {name: anchor})
        assert response.status_code == 200
        renumbered += len(response.json["renumbered"])
        if step % 10 == 9:
            assert [task["id"] for task in in_order(alice)] == [*left, anchor, *right]

    assert [task["id"] for task in in_order(alice)] == [*left, anchor, *right]
    assert renumbered < 2000  # Most of them found room.


@pytest.mark.parametrize("orders", [[LOWEST, 0, HIGHEST], [LOWEST] * 3, [HIGHEST] * 3])
def test_at_the_ends_of_what_a_number_can_be_there_is_room_too(alice, orders):
    creates(alice, orders)
    [first, middle, last] = in_order(alice)

    moves(alice, middle, after=None)
    assert [task["id"] for task in in_order(alice)] == [middle["id"], first["id"], last["id"]]
    moves(alice, middle, after=last)
    assert [task["id"] for task in in_order(alice)] == [first["id"], last["id"], middle["id"]]
    moves(alice, first, after=middle)
    assert [task["id"] for task in in_order(alice)] == [last["id"], middle["id"], first["id"]]
    moves(alice, first, before=last)
    assert [task["id"] for task in in_order(alice)] == [first["id"], last["id"], middle["id"]]


@pytest.mark.parametrize("end", [LOWEST, HIGHEST])
def test_a_crowd_at_an_end_makes_room(alice, end):
    creates(alice, [end] * 20 + [end // 2, -(end // 2)])
    ids = [task["id"] for task in in_order(alice)]

    for place in (0, 21, 10):
        task_id = ids.pop(5)
        where = {"after": {"id": ids[place - 1]}} if place else {"after": None}
        ids.insert(place, task_id)
        moves(alice, {"id": task_id}, **where)
        assert [task["id"] for task in in_order(alice)] == ids


def test_who_moves_at_the_same_time_loses_nothing(alice):
    creates(alice, [0] * 12)
    ids = [task["id"] for task in in_order(alice)]

    def walk(seed):
        chance = random.Random(seed)
        statuses = []
        for _ in range(40):
            task_id, other = chance.sample(ids, 2)
            body = {chance.choice(["after", "before"]): other}
            statuses.append(move(alice, {"id": task_id}, body).status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for some in pool.map(walk, range(4)) for status in some]

    assert statuses == [200] * 160
    after = in_order(alice)
    assert sorted(task["id"] for task in after) == sorted(ids)
    assert len({task["order"] for task in after}) == 12
    assert in_order(alice) == after


def test_who_writes_and_deletes_beside_a_move_waits_and_is_not_lost(alice):
    creates(alice, [0] * 12)
    ids = [task["id"] for task in in_order(alice)]
    thrown, kept = ids[::3], [task_id for task_id in ids if task_id not in ids[::3]]

    def walk(seed):
        chance = random.Random(seed)
        statuses = set()
        for _ in range(30):
            task_id, other = chance.sample(ids, 2)
            statuses.add(move(alice, {"id": task_id}, {"after": other}).status_code)
        return statuses

    def write(number):
        statuses = set()
        for round_ in range(30):
            statuses.add(alice.patch(f"/tasks/{kept[0]}", {"description": str(round_)}).status_code)
            statuses.add(alice.patch(f"/tasks/{kept[1]}", {"order": round_}).status_code)
            statuses.add(alice.creates(f"{number} {round_}") and 200)
        return statuses

    def throw_away():
        return {alice.delete(f"/tasks/{task_id}").status_code for task_id in thrown}

    with ThreadPoolExecutor(5) as pool:
        walkers = [pool.submit(walk, seed) for seed in range(2)]
        writers = [pool.submit(write, number) for number in range(2)]
        deleted = pool.submit(throw_away).result()
        walked = [status for one in walkers for status in one.result()]
        written = [status for one in writers for status in one.result()]

    assert deleted == {204}
    assert set(walked) <= {200, 404, 422}
    assert set(written) == {200}
    after = in_order(alice)
    assert len({task["id"] for task in after}) == len(after) == 8 + 60
    assert {task["id"] for task in after} >= set(kept)


def test_what_a_move_changes_is_in_the_change_feed(alice):
    creates(alice, [0] * 6)
    ordered = in_order(alice)
    since = alice.get("/tasks/changes").json["next"]

    answer = moves(alice, ordered[5], after=ordered[0])

    feed = alice.get(f"/tasks/changes?since={since}").json
    assert {change["op"] for change in feed["changes"]} == {"upsert"}
    told = [change["task"] for change in feed["changes"]]
    assert answer["renumbered"]
    expected = [answer["task"], *answer["renumbered"]]
    assert told == sorted(expected, key=lambda task: task["version"])
    assert feed["has_more"] is False


def test_a_move_that_changes_nothing_is_not(alice, tasks):
    since = alice.get("/tasks/changes").json["next"]

    moves(alice, tasks["b"], after=tasks["a"])

    assert alice.get(f"/tasks/changes?since={since}").json["changes"] == []


def test_a_move_that_is_sent_again_moves_once(alice, tasks):
    headers = {"Idempotency-Key": "k"}
    body = {"after": tasks["a"]["id"]}

    first = move(alice, tasks["d"], body, **headers)
    moves(alice, tasks["d"], after=tasks["e"])
    again = move(alice, tasks["d"], body, **headers)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.data == first.data
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert titles(alice) == "abced"
    other = move(alice, tasks["d"], {"before": tasks["a"]["id"]}, **headers)
    assert_problem(other, 422, "idempotency_key_reused")


def test_thousands_of_equals_are_spread_once(alice, sql):
    sql(
        """
        INSERT INTO tasks (user_id, id, title, version)
        SELECT :owner, gen_random_uuid(), 'task ' || n, 1000 + n FROM generate_series(1, 2000) AS n
        """,
        owner=alice.id,
    )
    sql("UPDATE users SET change_seq = 5000 WHERE id = :owner", owner=alice.id)
    ids = [task["id"] for task in in_order(alice)]
    assert len(ids) == 2000

    for task_id in (ids[-1], ids[0]):
        middle = ids[1000]
        ids.remove(task_id)
        ids.insert(ids.index(middle) + 1, task_id)
        answer = moves(alice, {"id": task_id}, after={"id": middle})
        assert [task["id"] for task in in_order(alice)] == ids

    assert answer["renumbered"] == []
    assert answer["task"]["version"] > 5000


def test_where_too_many_have_the_same_order_nothing_is_moved(alice, sql, monkeypatch):
    monkeypatch.setattr(reordering, "_WINDOW_SIZES", (2, 4))
    tasks = [alice.creates(str(number)) for number in range(20)]
    before = alice.get("/tasks?sort=order").json

    answer = alice.post(f"/tasks/{tasks[0]['id']}/move", {"after": tasks[10]["id"]})

    assert_problem(answer, 409, "no_room")
    assert alice.get("/tasks?sort=order").json == before
