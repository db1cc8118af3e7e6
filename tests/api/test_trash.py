from uuid import uuid4

import pytest

from tests.support.people import PASSWORD, assert_problem, assert_refused_field, json_of, register


def trash_of(person):
    return json_of(person.get("/trash"))["tasks"]


def listed(person):
    return json_of(person.get("/tasks"))["tasks"]


def ids(tasks):
    return [task["id"] for task in tasks]


def throw_away(person, *titles):
    """Create and delete these; return them in the order of their deletion."""
    made = [person.creates(title) for title in titles]
    for task in made:
        assert person.delete(f"/tasks/{task['id']}").status_code == 204
    return made


def restore(person, task):
    return person.post(f"/trash/{task['id']}/restore")


def text_in(sql, *tables):
    """All that stands in these tables, as text."""
    return "\n".join(
        str(row["whole"])
        for table in tables
        for row in sql(f"SELECT t::text AS whole FROM {table} t")
    )


def test_a_deleted_task_is_in_the_trash_as_it_was(alice):
    task = alice.creates("Buy milk", description="Oat", completed=True, order=3)

    assert alice.delete(f"/tasks/{task['id']}").status_code == 204

    response = alice.get("/trash")
    assert response.status_code == 200
    assert response.json["next_cursor"] is None
    [trashed] = response.json["tasks"]
    assert trashed == {**task, "version": 2, "deleted_at": trashed["deleted_at"]}
    assert trashed["deleted_at"] > task["updated_at"]
    assert trashed["deleted_at"].endswith("Z")


def test_and_nowhere_else(alice):
    task, other = alice.creates("Buy milk"), alice.creates("Buy bread")

    alice.delete(f"/tasks/{task['id']}")

    path = f"/tasks/{task['id']}"
    for method, url, body in (
        ("GET", path, None),
        ("GET", f"{alice.path}/{task['id']}", None),
        ("PUT", path, {"title": "a"}),
        ("PATCH", path, {"title": "a"}),
        ("PATCH", path, {}),
        ("PATCH", f"{path}/complete", None),
        ("POST", f"{path}/move", {"after": other["id"]}),
        ("DELETE", path, None),
        ("DELETE", f"{path}?permanent=true", None),
    ):
        assert_problem(alice.call(method, url, body), 404, "task_not_found")
    assert listed(alice) == [other]
    assert alice.get("/tasks?include=total").json["total"] == 1
    for query in ("sort=title", "sort=order", "completed=false", "q=buy"):
        assert alice.get(f"/tasks?{query}").json["tasks"] == [other]
    assert alice.get("/tasks?q=milk").json["tasks"] == []
    assert alice.get(alice.path).json == [other]
    assert ids(trash_of(alice)) == [task["id"]]


def test_an_empty_trash_is_a_list_as_well(alice):
    nothing: dict[str, object] = {"tasks": [], "next_cursor": None, "count": 0, "total": 0}

    assert alice.get("/trash").json == nothing


def test_what_was_deleted_last_comes_first(alice):
    made = [alice.creates(str(number)) for number in range(4)]
    for number in (2, 0, 3, 1):
        alice.delete(f"/tasks/{made[number]['id']}")

    assert [task["title"] for task in trash_of(alice)] == ["1", "3", "0", "2"]
    times = [task["deleted_at"] for task in trash_of(alice)]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_the_pages_are_the_whole_trash_cut_up(alice, limit, at_once):
    if at_once:
        made = [alice.creates(str(number)) for number in range(7)]
        operations = [{"op": "delete", "id": task["id"]} for task in made]
        assert alice.post("/tasks/batch", {"operations": operations}).status_code == 207
    else:
        made = throw_away(alice, *map(str, range(7)))
        assert ids(trash_of(alice)) == ids(made[::-1])
    whole = trash_of(alice)
    assert len(whole) == 7

    pages = []
    query = f"limit={limit}"
    while query:
        page = alice.get(f"/trash?{query}").json
        pages.append(page["tasks"])
        query = page["next_cursor"] and f"limit={limit}&cursor={page['next_cursor']}"

    assert [task for page in pages for task in page] == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert pages[-1]


def test_all_of_it_is_listed_unless_a_page_is_asked_for(alice, sql):
    sql(
        """
        INSERT INTO trash (user_id, id, title, version, deleted_at)
        SELECT :owner, gen_random_uuid(), 'task ' || n, n, now() - n * interval '1 second'
          FROM generate_series(1, 1201) AS n
        """,
        owner=alice.id,
    )

    everything = alice.get("/trash").json
    first = alice.get("/trash?limit=10&include=total").json
    second = alice.get(f"/trash?cursor={first['next_cursor']}").json

    assert (everything["count"], everything["total"], everything["next_cursor"]) == (
        1201,
        1201,
        None,
    )
    assert [task["title"] for task in everything["tasks"]] == [f"task {n}" for n in range(1, 1202)]
    assert (first["count"], first["total"]) == (10, 1201)
    assert (second["count"], "total" in second) == (50, False)


def test_pages_stay_whole_while_tasks_come_and_go(alice):
    made = throw_away(alice, *map(str, range(6)))
    first = alice.get("/trash?limit=2").json

    throw_away(alice, "newer")
    restore(alice, made[4])
    restore(alice, made[2])
    rest = alice.get(f"/trash?cursor={first['next_cursor']}").json["tasks"]

    assert ids(first["tasks"]) == [made[5]["id"], made[4]["id"]]
    assert ids(rest) == [made[3]["id"], made[1]["id"], made[0]["id"]]


def test_a_cursor_is_good_for_nobody_else_and_for_no_other_list(alice, bob):
    for person in (alice, bob):
        throw_away(person, "a", "b")
        for _ in range(2):
            person.creates()
    of_trash = alice.get("/trash?limit=1").json["next_cursor"]
    of_tasks = alice.get("/tasks?limit=1").json["next_cursor"]
    of_changes = alice.get("/tasks/changes").json["next"]

    for person, path in (
        (bob, f"/trash?cursor={of_trash}"),
        (alice, f"/tasks?cursor={of_trash}"),
        (alice, f"/trash?cursor={of_tasks}"),
        (alice, f"/trash?cursor={of_changes}"),
    ):
        assert_refused_field(person.get(path), "/query/cursor", "of_another_list")


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=0", "/query/limit", "out_of_range"),
        ("limit=201", "/query/limit", "out_of_range"),
        ("limit=ten", "/query/limit", "wrong_type"),
        ("cursor=", "/query/cursor", "too_short"),
        ("cursor=nonsense", "/query/cursor", "invalid"),
        ("cursor=%00", "/query/cursor", "forbidden_character"),
        ("sort=title", "/query/sort", "unknown"),
    ],
)
def test_what_the_query_cannot_say_is_refused_by_name(alice, query, pointer, code):
    assert_refused_field(alice.get(f"/trash?{query}"), pointer, code)


@pytest.mark.parametrize("completed", [False, True], ids=["open", "completed"])
def test_a_restored_task_is_the_same_as_before_but_for_its_change(alice, completed):
    other = alice.creates("Buy bread")
    task = alice.creates("Buy milk", description="Oat", completed=completed, order=-3)
    alice.delete(f"/tasks/{task['id']}")

    response = restore(alice, task)

    assert response.status_code == 200
    restored = response.json
    assert restored == {**task, "version": 4, "updated_at": restored["updated_at"]}
    assert restored["updated_at"] > task["updated_at"]
    assert response.headers["ETag"] == '"4"'
    assert alice.get(f"/tasks/{task['id']}").json == restored
    assert listed(alice) == [restored, other]
    assert alice.get(alice.path).json == [restored, other]
    assert trash_of(alice) == []


def test_the_search_finds_it_again(alice):
    task = alice.creates("Äpfel kaufen", description="Two pounds of Éclairs")
    alice.delete(f"/tasks/{task['id']}")
    restored = restore(alice, task).json

    for query in ("apfel", "ECLAIR", "kauf pound"):
        found = alice.call("GET", "/tasks", query_string={"q": query}).json["tasks"]
        assert found == [restored]
    assert alice.get("/tasks?sort=title").json["tasks"] == [restored]


def test_a_restored_task_can_be_changed_and_deleted_like_any_other(alice):
    [task] = throw_away(alice, "Buy milk")
    version = restore(alice, task).json["version"]
    path = f"/tasks/{task['id']}"

    stale = alice.patch(path, {"order": 1}, headers={"If-Match": f'"{task["version"]}"'})
    assert_problem(stale, 412, "precondition_failed")
    done = alice.patch(path, {"title": "Buy bread"}, headers={"If-Match": f'"{version}"'})
    assert done.status_code == 200
    assert alice.delete(path).status_code == 204

    [trashed] = trash_of(alice)
    assert (trashed["id"], trashed["title"]) == (task["id"], "Buy bread")
    assert restore(alice, task).json["title"] == "Buy bread"


def test_restoring_twice_finds_nothing_the_second_time(alice):
    [task] = throw_away(alice, "Buy milk")

    restored = restore(alice, task)

    assert restored.status_code == 200
    assert_problem(restore(alice, task), 404, "task_not_found")
    assert listed(alice) == [restored.json]


def test_with_an_idempotency_key_restoring_twice_is_restoring_once(alice):
    [task] = throw_away(alice, "Buy milk")
    headers = {"Idempotency-Key": "k"}

    first, again = (alice.post(f"/trash/{task['id']}/restore", headers=headers) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json == first.json
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("task_id", [str(uuid4()), "nonsense"], ids=["unknown", "no id"])
def test_what_was_never_deleted_is_not_in_the_trash(alice, task_id):
    assert_problem(alice.post(f"/trash/{task_id}/restore"), 404, "task_not_found")
    assert_problem(alice.delete(f"/trash/{task_id}"), 404, "task_not_found")


def test_a_task_that_is_not_deleted_is_not_in_the_trash_either(alice):
    task = alice.creates()

    assert_problem(restore(alice, task), 404, "task_not_found")
    assert_problem(alice.delete(f"/trash/{task['id']}"), 404, "task_not_found")
    assert listed(alice) == [task]


def test_what_is_deleted_out_of_the_trash_is_gone_for_good(alice):
    task, other = throw_away(alice, "Buy milk", "Buy bread")

    response = alice.delete(f"/trash/{task['id']}")

    assert response.status_code == 204
    assert response.data == b""
    assert_problem(alice.delete(f"/trash/{task['id']}"), 404, "task_not_found")
    assert_problem(restore(alice, task), 404, "task_not_found")
    assert_problem(alice.get(f"/tasks/{task['id']}"), 404, "task_not_found")
    assert ids(trash_of(alice)) == [other["id"]]


def test_the_trash_is_emptied_at_once_and_tasks_are_left_alone(alice, bob):
    thrown = throw_away(alice, "a", "b", "c")
    throw_away(bob, "Bob's")
    task = alice.creates()

    for _ in range(2):
        response = alice.delete("/trash")
        assert response.status_code == 204
        assert response.data == b""

    assert trash_of(alice) == []
    for one in thrown:
        assert_problem(restore(alice, one), 404, "task_not_found")
    assert listed(alice) == [task]
    assert [one["title"] for one in trash_of(bob)] == ["Bob's"]


@pytest.mark.parametrize("base", ["/tasks", "by path"])
def test_what_is_deleted_past_the_trash_is_not_in_it(alice, base):
    base = alice.path if base == "by path" else base
    task = alice.creates()

    assert alice.delete(f"{base}/{task['id']}?permanent=true").status_code == 204

    assert_problem(alice.get(f"/tasks/{task['id']}"), 404, "task_not_found")
    assert trash_of(alice) == []
    assert_problem(restore(alice, task), 404, "task_not_found")


def test_permanent_may_be_denied(alice):
    task = alice.creates()

    assert alice.delete(f"/tasks/{task['id']}?permanent=false").status_code == 204

    assert ids(trash_of(alice)) == [task["id"]]


@pytest.mark.parametrize("value", ["x", "", "1", "TRUE", "yes"])
@pytest.mark.parametrize("base", ["/tasks", "by path"])
def test_permanent_is_true_or_false(alice, base, value):
    base = alice.path if base == "by path" else base
    task = alice.creates()

    response = alice.delete(f"{base}/{task['id']}?permanent={value}")

    assert_refused_field(response, "/query/permanent", "wrong_type")
    assert listed(alice) == [task]
    assert trash_of(alice) == []


@pytest.mark.parametrize("query", ["", "?permanent=true"], ids=["to the trash", "for good"])
def test_a_deletion_may_have_a_condition(alice, query):
    task = alice.creates()
    path = f"/tasks/{task['id']}"
    current = alice.patch(path, {"order": 1}).json

    refused = alice.delete(f"{path}{query}", headers={"If-Match": '"1"'})
    assert assert_problem(refused, 412, "precondition_failed")["current"] == current
    assert trash_of(alice) == []
    assert alice.delete(f"{path}{query}", headers={"If-Match": '"2"'}).status_code == 204

    assert ids(trash_of(alice)) == ([] if query else [task["id"]])


def test_without_days_in_the_trash_a_task_is_deleted_at_once(variant, sql):
    carol = register(variant(trash_days=0), "carol@example.com")
    for base in ("/tasks", carol.path):
        task = carol.creates("Buy milk")
        assert carol.delete(f"{base}/{task['id']}").status_code == 204
        assert trash_of(carol) == []
        assert_problem(restore(carol, task), 404, "task_not_found")

    task = carol.creates("Buy milk")
    operations = [{"op": "delete", "id": task["id"]}]
    assert carol.post("/tasks/batch", {"operations": operations}).status_code == 207

    assert trash_of(carol) == []
    assert "milk" not in text_in(sql, "tasks", "trash", "tombstones").lower()


def test_what_is_deleted_by_path_is_in_the_same_trash(alice):
    task, other = alice.creates_by_path("Buy milk"), alice.creates("Buy bread")

    assert alice.delete(f"{alice.path}/{task['id']}").status_code == 204
    assert alice.delete(f"/tasks/{other['id']}").status_code == 204

    assert ids(trash_of(alice)) == [other["id"], task["id"]]
    restored = restore(alice, task).json
    assert alice.get(alice.path).json == [restored]


@pytest.mark.parametrize("base", ["/tasks", "by path"])
def test_an_id_in_the_trash_is_not_free(alice, base):
    base = alice.path if base == "by path" else base
    [task] = throw_away(alice, "Buy milk")

    def create():
        body = {"title": "Buy bread"}
        return alice.put(f"{base}/{task['id']}", body, headers={"If-None-Match": "*"})

    assert_problem(create(), 409, "task_in_trash")
    assert listed(alice) == []
    assert [one["title"] for one in trash_of(alice)] == ["Buy milk"]

    alice.delete(f"/trash/{task['id']}")
    assert create().status_code == 201
    assert_problem(restore(alice, task), 404, "task_not_found")


def test_an_id_in_somebody_elses_trash_is_free(alice, bob):
    [task] = throw_away(alice, "Buy milk")

    made = bob.put(f"/tasks/{task['id']}", {"title": "Bob's"}, headers={"If-None-Match": "*"})

    assert made.status_code == 201
    assert restore(alice, task).json["title"] == "Buy milk"
    assert listed(bob) == [made.json]


def test_a_task_is_not_restored_over_another_with_its_id(alice, sql):
    [task] = throw_away(alice, "Buy milk")
    sql(
        "INSERT INTO tasks (user_id, id, title, version) VALUES (:owner, :id, 'Buy bread', 1)",
        owner=alice.id,
        id=task["id"],
    )

    assert_problem(restore(alice, task), 409, "task_exists")

    assert [one["title"] for one in listed(alice)] == ["Buy bread"]
    assert [one["title"] for one in trash_of(alice)] == ["Buy milk"]


def test_somebody_elses_trash_is_not_there(alice, bob):
    [task] = throw_away(alice, "Buy milk")

    assert trash_of(bob) == []
    assert_problem(restore(bob, task), 404, "task_not_found")
    assert_problem(bob.delete(f"/trash/{task['id']}"), 404, "task_not_found")
    assert bob.delete("/trash").status_code == 204

    assert ids(trash_of(alice)) == [task["id"]]
    assert listed(bob) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/trash"),
        ("DELETE", "/trash"),
        ("POST", f"/trash/{uuid4()}/restore"),
        ("DELETE", f"/trash/{uuid4()}"),
    ],
    ids=["list", "empty", "restore", "delete"],
)
def test_nobody_gets_in_without_a_token(client, method, path):
    assert_problem(client.open(path, method=method), 401, "token_missing")


def test_with_the_account_goes_all_that_was_kept_of_its_tasks(alice, bob, sql):
    for person in (alice, bob):
        throw_away(person, "a", "b")
        created = person.post("/tasks", {"title": "c"}, headers={"Idempotency-Key": "k"})
        assert created.status_code == 201
        person.delete(f"/tasks/{created.json['id']}?permanent=true")

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    for table, count in (("trash", 2), ("tombstones", 3), ("idempotency_keys", 1)):
        owners = [row["user_id"] for row in sql(f"SELECT user_id FROM {table}")]
        assert owners == [bob.id] * count
    assert [task["title"] for task in trash_of(bob)] == ["b", "a"]


@pytest.mark.parametrize(
    "delete",
    [
        lambda alice, path: alice.delete(f"/tasks{path}?permanent=true"),
        lambda alice, path: alice.delete(f"{alice.path}{path}?permanent=true"),
        lambda alice, path: alice.delete(f"/tasks{path}") and alice.delete(f"/trash{path}"),
        lambda alice, path: alice.delete(f"/tasks{path}") and alice.delete("/trash"),
    ],
    ids=["past the trash", "past the trash by path", "out of the trash", "with all the trash"],
)
def test_of_what_is_deleted_for_good_no_word_is_left(alice, sql, delete):
    task = alice.creates("Zanzibar", description="Kilimanjaro")
    alice.patch(f"/tasks/{task['id']}", {"title": "Zanzibar again"})

    assert delete(alice, f"/{task['id']}").status_code == 204

    left = text_in(sql, "tasks", "trash", "tombstones")
    assert task["id"] in left  # That there was something is known,
    for word in ("zanzibar", "kilimanjaro"):  # and not what it said.
        assert word not in left.lower()
