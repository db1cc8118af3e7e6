"""/api/{user_id}/tasks: contract A, by the owner's own token."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from taskapi.http.pagination import BATCH_SIZE
from taskapi.tasks import routes
from tests.support.people import Caller, assert_problem, assert_refused_field, bearer, outsider

SECRET = "a secret that the issuer and we share"


@pytest.fixture
def known_elsewhere(variant):
    """Make somebody of any name, with a token that says so."""
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    return lambda user_id: outsider(external, SECRET, user_id)


def test_the_six_endpoints_from_the_first_task_to_none(alice):
    assert alice.get(alice.path).json == []

    created = alice.post(alice.path, {"title": "Buy milk", "description": "Oat"})
    assert created.status_code == 201
    task = created.json
    assert created.headers["Location"] == f"{alice.path}/{task['id']}"
    assert task["user_id"] == alice.id
    assert alice.get(created.headers["Location"]).json == task

    replaced = alice.put(f"{alice.path}/{task['id']}", {"title": "Buy oat milk"})
    assert replaced.status_code == 200
    assert (replaced.json["title"], replaced.json["description"]) == ("Buy oat milk", None)

    completed = alice.patch(f"{alice.path}/{task['id']}/complete")
    assert completed.status_code == 200
    assert completed.json["completed"] is True
    assert alice.get(alice.path).json == [completed.json]

    assert alice.delete(f"{alice.path}/{task['id']}").status_code == 204
    assert_problem(alice.get(f"{alice.path}/{task['id']}"), 404, "task_not_found")
    assert alice.get(alice.path).json == []


def test_both_paths_show_the_same_tasks(alice):
    first, second = alice.creates_by_path("first"), alice.creates("second")

    assert alice.get(alice.path).json == [second, first]
    assert alice.get("/tasks").json["tasks"] == [second, first]


def test_replacing_leaves_the_completion_and_the_order_alone_whatever_is_sent(alice):
    task = alice.creates("Buy milk", completed=True, order=7)

    response = alice.put(
        f"{alice.path}/{task['id']}", {**task, "title": "New", "completed": False, "order": 1}
    )

    assert response.status_code == 200
    assert response.json["title"] == "New"
    for field in ("completed", "completed_at", "order", "created_at"):
        assert response.json[field] == task[field]


def test_a_new_task_is_open_whatever_is_sent(alice):
    task = alice.creates_by_path("Buy milk", completed=True, order=3)

    assert (task["completed"], task["completed_at"], task["order"]) == (False, None, 0)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
def test_completing_flips_without_a_body(alice, headers):
    task = alice.creates()
    url = f"{alice.path}/{task['id']}/complete"

    states = [alice.patch(url, headers=headers).json["completed"] for _ in range(3)]

    assert states == [True, False, True]


@pytest.mark.parametrize(
    "user_id",
    [
        "user with spaces",
        " leading and trailing ",
        "ada@example.com",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "a/b",
        "/",
        "a/tasks/b",
        "a%2Fb",
        "100%",
        "%",
        "a?b#c;d",
        "a+b",
        "Ünïcödé",
        "用户",
        "👩‍💻",
        "tasks",
        "complete",
        "a\\b\"c'd",
        "..;",
        "x" * 255,
        "用" * 255,
    ],
)
def test_a_user_may_have_any_name(known_elsewhere, user_id):
    somebody = known_elsewhere(user_id)

    task = somebody.creates_by_path()

    assert task["user_id"] == user_id
    assert somebody.get(somebody.path).json == [task]
    url = f"{somebody.path}/{task['id']}"
    assert somebody.get(url).json == task
    assert (
        somebody.post(somebody.path, {"title": "a"}).headers["Location"].startswith(somebody.path)
    )
    assert somebody.patch(f"{url}/complete").json["completed"] is True
    assert somebody.put(url, {"title": "b"}).json["title"] == "b"
    assert somebody.delete(url).status_code == 204


def test_names_that_differ_only_in_what_is_encoded_are_different_users(known_elsewhere):
    names = ["a/b", "a%2Fb", "a%252Fb", "a b", "a+b", "a%20b"]
    for name in names:
        known_elsewhere(name).creates_by_path(f"of {name}")

    for name in names:
        [task] = known_elsewhere(name).get(known_elsewhere(name).path).json
        assert task["title"] == f"of {name}"


@pytest.mark.parametrize(
    ("segment", "code"),
    [
        ("", "blank"),
        ("%20", "blank"),
        ("%09%0A", "blank"),
        ("x" * 256, "too_long"),
        (quote("用" * 256), "too_long"),
        ("a%00b", "forbidden_character"),
        ("%FF", "forbidden_character"),
        ("%ED%A0%80", "forbidden_character"),
    ],
)
@pytest.mark.parametrize("mode", ["local", "path"])
def test_what_is_no_name_is_refused_with_its_place(variant, alice, segment, code, mode):
    caller = alice
    if mode == "path":
        caller = Caller(variant(auth_mode="path").test_client(), "alice", None)
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("DELETE", f"/{alice.session_id}"),
        ("PATCH", f"/{alice.session_id}/complete"),
    ):
        json = {"title": "a"} if method == "POST" else None
        url = f"/api/{segment}/tasks{path}"
        # As gunicorn decodes it; werkzeug's client replaces what is not UTF-8.
        decoded = {"PATH_INFO": unquote_to_bytes(url).decode("latin-1")}
        response = caller.call(method, url, json, environ_overrides=decoded)
        assert_refused_field(response, "/path/user_id", code)


def test_an_unknown_path_below_is_no_route(alice):
    for path in (f"{alice.path}/", f"/api/{alice.id}", "/api/tasks", f"/api/a/{alice.id}/tasks"):
        assert_problem(alice.get(path), 404, "route_not_found")


def test_there_is_no_partial_update_here(alice):
    task = alice.creates()

    response = alice.patch(f"{alice.path}/{task['id']}", {"title": "a"})

    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_another_users_namespace_is_forbidden(client, alice, bob):
    task = alice.creates()

    problem = assert_problem(bob.get(alice.path), 403, "user_mismatch")
    assert "another user" in problem["detail"]
    assert_problem(bob.post(alice.path, {"title": "a"}), 403, "user_mismatch")
    # In one's own namespace another's task is not there.
    assert_problem(bob.get(f"{bob.path}/{task['id']}"), 404, "task_not_found")
    headers = bearer(bob.token)
    assert_problem(client.get("/api//tasks", headers=headers), 422, "validation_failed")


def test_the_list_takes_the_filters_and_orders_of_the_other_path(alice, monkeypatch):
    monkeypatch.setattr(routes, "BATCH_SIZE", 2)
    for title in ("Oat milk", "Bread", "milk", "Milk powder", "Ümlaut", "almond milk"):
        alice.creates(title, completed=title == "milk")

    for query in (
        *("completed=true", "completed=false", "q=MIL", "sort=title", "sort=-title"),
        *("sort=completed_at", "q=milk&completed=false&sort=-title", "q=nothing"),
        *("created_after=2026-01-01T00:00:00Z", "updated_before=2026-01-01T00:00:00Z"),
    ):
        listed = alice.get(f"{alice.path}?{query}")
        assert listed.status_code == 200, listed.text
        assert listed.json == alice.get(f"/tasks?{query}").json["tasks"]


@pytest.mark.parametrize(
    ("query", "name", "code"),
    [
        ("colour=red", "colour", "unknown"),
        ("limit=5", "limit", "unknown"),
        ("created_after=2026-01-01", "created_after", "date_alone"),
        ("sort=colour", "sort", "unknown"),
    ],
)
def test_what_the_list_does_not_take_is_refused_by_name(alice, query, name, code):
    assert_refused_field(alice.get(f"{alice.path}?{query}"), f"/query/{name}", code)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 11, 23])
def test_the_list_is_whole_however_many_batches_it_takes(alice, monkeypatch, count):
    monkeypatch.setattr(routes, "BATCH_SIZE", 5)
    tasks = [alice.creates(f"{number} “ü👩‍💻”") for number in range(count)]

    response = alice.get(alice.path)

    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.json == tasks[::-1]


def test_what_is_deleted_between_two_batches_leaves_the_list_well_formed(alice, monkeypatch):
    monkeypatch.setattr(routes, "BATCH_SIZE", 2)
    tasks = [alice.creates(str(number)) for number in range(4)]
    response = alice.client.get(alice.path, headers=bearer(alice.token), buffered=False)
    chunks = iter(response.response)
    first = next(chunks)
    for task in tasks[:2]:
        assert alice.delete(f"/tasks/{task['id']}").status_code == 204

    body = first + b"".join(chunks)

    assert body.startswith(b"[{") and body.endswith(b"}]")
    assert body.count(b'"title"') == 2


def test_ten_thousand_tasks_are_listed_in_batches(app, alice, sql):
    sql(
        """
        INSERT INTO tasks (user_id, id, title, version)
        SELECT :owner, gen_random_uuid(), 'task ' || n, n FROM generate_series(1, 10000) AS n
        """,
        owner=alice.id,
    )

    response = alice.client.get(alice.path, headers=bearer(alice.token), buffered=False)
    chunks = list(response.response)

    assert len(chunks) == 10_000 / BATCH_SIZE + 1
    assert max(map(len, chunks)) < 500_000
    tasks = app.json.loads(b"".join(chunks))
    assert len({task["id"] for task in tasks}) == 10_000
    assert [task["id"] for task in tasks] == sorted((t["id"] for t in tasks), reverse=True)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/api/a%252Fb/tasks", "/api/a%2Fb/tasks"),
        ("/%61pi/a%252Fb/tasks", "/api/a%2Fb/tasks"),
        ("//api/a%252Fb/tasks", "//api/a%2Fb/tasks"),
        ("h2://x/api/a%252Fb/tasks", "/api/a%2Fb/tasks"),
        ("http://x/api/a%252Fb/tasks", "/api/a%2Fb/tasks"),
        ("", "/api/a%2Fb/tasks"),
    ],
)
def test_however_the_path_was_sent_it_is_decoded_once(known_elsewhere, raw, path):
    """`raw` is what stands in the request line, `path` what a server makes of it."""
    somebody = known_elsewhere("a%2Fb")
    environ = EnvironBuilder("/", headers=[*bearer(somebody.token).items()]).get_environ()

    _, status, _ = run_wsgi_app(
        somebody.client.application, {**environ, "PATH_INFO": path, "RAW_URI": raw}
    )

    assert status == "200 OK"
