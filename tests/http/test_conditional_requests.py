import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest

from taskapi import create_app
from taskapi.db.base import db
from taskapi.tasks import routes
from tests.support.people import assert_problem, assert_refused_field, outsider, register
from tests.support.service import make_settings
from tests.support.wire import tapped

BASES = ["/tasks", "by path"]
ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"
SECRET = "a secret that the issuer and we share"

# What may be done to a task under a condition: method, what follows its URL, and the body.
WRITES = {
    "put": ("PUT", "", {"title": "New"}),
    "patch": ("PATCH", "", {"title": "New"}),
    "flip": ("PATCH", "/complete", None),
    "complete": ("PATCH", "/complete", {"completed": True}),
    "delete": ("DELETE", "", None),
}
write_in_all_ways = pytest.mark.parametrize("write", WRITES)
on_both_paths = pytest.mark.parametrize("base", BASES)


def base_of(person, base):
    return person.path if base == "by path" else base


def write_to(person, path, write, condition):
    method, suffix, body = WRITES[write]
    return person.call(method, f"{path}{suffix}", body, headers={"If-Match": condition})


def assert_changed(response, current):
    problem = assert_problem(response, 412, "precondition_failed")
    assert problem["current"] == current


def create_under(person, path, condition="*", **fields):
    body = {"title": "Buy milk", **fields}
    return person.put(path, body, headers={"If-None-Match": condition})


def read_again(person, path, etag):
    return person.get(path, headers={"If-None-Match": etag})


def assert_not_modified(response, etag):
    assert response.status_code == 304
    assert response.headers["ETag"] == etag
    assert response.data == b""
    assert "Content-Type" not in response.headers


@on_both_paths
def test_every_answer_with_a_task_has_its_version_as_its_tag(alice, base):
    base = base_of(alice, base)
    created = alice.post(base, {"title": "Buy milk"})
    path = f"{base}/{created.json['id']}"

    answers = [
        created,
        alice.get(path),
        alice.put(path, {"title": "Buy bread"}),
        alice.patch(f"/tasks/{created.json['id']}", {"order": 1}),
        alice.patch(f"/tasks/{created.json['id']}", {}),
        alice.patch(f"{path}/complete"),
        alice.patch(f"{path}/complete", {"completed": False}),
        alice.get(path),
        create_under(alice, f"{base}/{ID}"),
    ]

    assert [answer.status_code for answer in answers] == [201, *[200] * 7, 201]
    for answer in answers:
        assert answer.headers["ETag"] == f'"{answer.json["version"]}"'
    assert [answer.json["version"] for answer in answers] == [1, 1, 2, 3, 3, 4, 5, 5, 6]


@on_both_paths
def test_a_task_that_was_read_already_is_not_sent_again(alice, base):
    task = alice.creates()
    path = f"{base_of(alice, base)}/{task['id']}"

    assert_not_modified(read_again(alice, path, '"1"'), '"1"')


@pytest.mark.parametrize(
    "condition", ['W/"1"', '"7", "1"', 'W/"7" , W/"1","8"', '"x","1"', "*", '"a,b", "1"']
)
def test_any_of_several_tags_will_do(alice, condition):
    path = f"/tasks/{alice.creates()['id']}"

    assert_not_modified(read_again(alice, path, condition), '"1"')


@pytest.mark.parametrize("condition", ['"2"', 'W/"11"', '"0", "2"', '""', '"x"', '"*"', "", '"01"'])
def test_a_tag_of_something_else_brings_the_task(alice, condition):
    task = alice.creates()

    response = read_again(alice, f"/tasks/{task['id']}", condition)

    assert response.status_code == 200
    assert response.json == task


@on_both_paths
def test_a_changed_task_is_sent_again(alice, base):
    path = f"{base_of(alice, base)}/{alice.creates()['id']}"
    changed = alice.patch(f"{path}/complete").json

    response = read_again(alice, path, '"1"')

    assert (response.status_code, response.json) == (200, changed)
    assert_not_modified(read_again(alice, path, response.headers["ETag"]), '"2"')


def test_a_missing_task_is_missing_whatever_was_read(alice, bob):
    task = bob.creates()

    for condition in ("*", '"1"'):
        for task_id in (task["id"], uuid4(), "7"):
            response = read_again(alice, f"/tasks/{task_id}", condition)
            assert_problem(response, 404, "task_not_found")


@on_both_paths
def test_a_list_in_which_nothing_has_changed_is_not_sent_again(alice, base):
    base = base_of(alice, base)
    for _ in range(2):  # Of no task, and of one.
        first = alice.get(base)
        etag = first.headers["ETag"]
        assert re.fullmatch(r'W/"[^"]+"', etag)
        assert alice.get(base).headers["ETag"] == etag
        for condition in (etag, etag.removeprefix("W/"), f'"x", {etag}', f'W/"1" ,{etag},"y"'):
            assert_not_modified(read_again(alice, base, condition), etag)
        alice.creates()
        assert len(read_again(alice, base, etag).data) > len(first.data)


@on_both_paths
@pytest.mark.parametrize(
    "change",
    [
        lambda alice, _path: alice.post("/tasks", {"title": "a"}),
        lambda alice, _path: alice.post(alice.path, {"title": "a"}),
        lambda alice, _path: create_under(alice, f"/tasks/{ID}"),
        lambda alice, path: alice.put(path, {"title": "a"}),
        lambda alice, path: alice.patch(path, {"description": "a"}),
        lambda alice, path: alice.patch(f"{path}/complete"),
        lambda alice, path: alice.delete(path),
        lambda alice, path: alice.delete(f"{path}?permanent=true"),
    ],
    ids=["post", "post by path", "create", "put", "patch", "complete", "delete", "for good"],
)
def test_after_any_change_the_list_is_sent_again(alice, base, change):
    base = base_of(alice, base)
    task = alice.creates()
    etag = alice.get(base).headers["ETag"]

    assert change(alice, f"/tasks/{task['id']}").status_code < 300

    response = read_again(alice, base, etag)
    assert response.status_code == 200
    assert response.headers["ETag"] != etag
    assert_not_modified(read_again(alice, base, response.headers["ETag"]), response.headers["ETag"])


@on_both_paths
def test_a_star_stands_for_whatever_list_there_is(alice, base):
    base = base_of(alice, base)
    for _ in range(2):  # Of no task, and of one.
        assert_not_modified(read_again(alice, base, "*"), alice.get(base).headers["ETag"])
        alice.creates()


def test_what_others_do_does_not_change_ones_list(alice, bob):
    etag = alice.get("/tasks").headers["ETag"]

    bob.creates()

    assert_not_modified(read_again(alice, "/tasks", etag), etag)


def test_what_is_refused_does_not_change_the_list(alice, bob):
    task, of_bob = alice.creates(), bob.creates()
    etag = alice.get("/tasks").headers["ETag"]

    assert alice.post("/tasks", {"title": ""}).status_code == 422
    assert alice.get(f"/tasks/{uuid4()}").status_code == 404
    assert bob.patch(f"/tasks/{task['id']}", {"title": "a"}).status_code == 404
    assert alice.patch(f"/tasks/{of_bob['id']}", {}).status_code == 404
    assert alice.patch(f"/tasks/{task['id']}", {}).status_code == 200

    assert_not_modified(read_again(alice, "/tasks", etag), etag)


def test_the_tag_of_one_list_is_not_that_of_another(alice, bob):
    for person in (alice, bob):
        for _ in range(3):
            person.creates("milk")
    cursor = alice.get("/tasks?limit=1").json["next_cursor"]
    paths = [
        *("/tasks", alice.path, "/tasks?limit=1", "/tasks?limit=2", "/tasks?completed=false"),
        *("/tasks?completed=true", "/tasks?sort=title", "/tasks?sort=-title", "/tasks?q=milk"),
        *("/tasks?q=mil", "/tasks?include=total", f"/tasks?limit=1&cursor={cursor}"),
    ]
    tags = {path: alice.get(path).headers["ETag"] for path in paths}
    tags_of_bob = [bob.get(path).headers["ETag"] for path in ("/tasks", bob.path)]

    assert len({*tags.values(), *tags_of_bob}) == len(paths) + 2
    for path in paths:
        others = [*(tag for name, tag in tags.items() if name != path), *tags_of_bob]
        assert read_again(alice, path, ", ".join(others)).status_code == 200
        assert_not_modified(read_again(alice, path, tags[path]), tags[path])
    for path in ("/tasks", bob.path):
        assert read_again(bob, path, ", ".join(tags.values())).status_code == 200


@pytest.mark.parametrize(
    "condition", ['"1"', 'W/"1."', '"."', "nonsense", '"' + "9" * 400 + '"', "", '""', 'W/""']
)
def test_a_tag_of_no_list_brings_it(alice, condition):
    alice.creates()

    for path in ("/tasks", alice.path):
        assert read_again(alice, path, condition).status_code == 200


@pytest.mark.parametrize("number", ["01", "+1", "1_0", "-1", " 1", "\xb9", "2"])
def test_a_tag_with_another_number_brings_the_list(alice, number):
    alice.creates()
    etag = alice.get("/tasks").headers["ETag"]
    other = re.sub(r"\b1\b", number, etag, count=1)
    assert other != etag

    assert read_again(alice, "/tasks", other).status_code == 200


def test_a_list_that_is_sent_in_batches_has_a_tag_too(alice, monkeypatch):
    monkeypatch.setattr(routes, "BATCH_SIZE", 2)
    for _ in range(5):
        alice.creates()
    response = alice.get(alice.path)
    etag = response.headers["ETag"]
    assert len(response.json) == 5

    assert_not_modified(read_again(alice, alice.path, etag), etag)
    alice.creates()
    assert len(read_again(alice, alice.path, etag).json) == 6


def test_whose_account_is_elsewhere_has_tags_before_the_first_task(variant):
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    ada = outsider(external, SECRET, "ada/b c")
    for base in ("/tasks", ada.path):
        etag = ada.get(base).headers["ETag"]
        assert_not_modified(read_again(ada, base, etag), etag)
        ada.creates()
        assert read_again(ada, base, etag).status_code == 200


def test_that_nothing_has_changed_is_found_in_one_round_trip(new_database):
    with tapped(new_database("unchanged")) as wire:
        app = create_app(make_settings(database_url=wire.url, threads=1))
        alice = register(app, "alice@example.com")
        for number in range(30):
            alice.creates(f"milk {number}")
        for path in ("/tasks?limit=20", "/tasks?q=milk&sort=title", alice.path):
            etag = alice.get(path).headers["ETag"]
            wire.messages.clear()

            assert_not_modified(read_again(alice, path, etag), etag)

            assert len(wire.messages) == 1
        with app.app_context():
            db.engine.dispose()


@write_in_all_ways
def test_a_write_takes_place_where_the_task_is_as_it_was_read(alice, write):
    etag = alice.post("/tasks", {"title": "Buy milk"}).headers["ETag"]
    [task] = alice.get("/tasks").json["tasks"]

    response = write_to(alice, f"/tasks/{task['id']}", write, etag)

    assert response.status_code == (204 if write == "delete" else 200)
    left = alice.get("/tasks").json["tasks"]
    assert left == ([] if write == "delete" else [response.json])
    if left:
        assert response.headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("write", "base"),
    [(write, base) for write in WRITES for base in BASES if (write, base) != ("patch", "by path")],
)
def test_a_write_does_not_take_place_where_the_task_has_changed(alice, write, base):
    task = alice.creates()
    current = alice.patch(f"/tasks/{task['id']}", {"description": "Oat"}).json
    path = f"{base_of(alice, base)}/{task['id']}"

    assert_changed(write_to(alice, path, write, '"1"'), current)

    assert alice.get(path).json == current
    assert alice.get("/tasks").json["tasks"] == [current]


@write_in_all_ways
def test_a_condition_may_be_weak_or_one_of_several(alice, write):
    for condition in (
        'W/"{}"',
        '"0", "{}"',
        'W/"0","{}"',
        "*",
        '"x", "{}"',
        ' "{}" ',
        '"a,b","{}"',
    ):
        task = alice.creates()
        path = f"/tasks/{task['id']}"

        response = write_to(alice, path, write, condition.format(task["version"]))

        assert response.status_code == (204 if write == "delete" else 200), condition


@pytest.mark.parametrize(
    "condition",
    [
        *("", '""', '"x"', "nonsense", '"*"', '"1.0"', '"+1"', '"-1"', '" 1"', '"01"', '"1_0"'),
        *('"\xb9"', '"' + "9" * 19 + '"', ",,,", 'W/""', '"1', '"1";"2"'),
    ],
)
def test_what_is_no_tag_of_the_task_matches_nothing(alice, condition):
    task = alice.creates()

    for write in WRITES:
        assert_changed(write_to(alice, f"/tasks/{task['id']}", write, condition), task)

    assert alice.get(f"/tasks/{task['id']}").json == task


@on_both_paths
def test_the_tag_of_a_list_is_not_that_of_a_task(alice, base):
    task = alice.creates()
    etag = alice.get(base_of(alice, base)).headers["ETag"]

    assert_changed(write_to(alice, f"/tasks/{task['id']}", "patch", etag), task)


@write_in_all_ways
@pytest.mark.parametrize("condition", ['"1"', "*", "nonsense"])
def test_a_missing_task_is_missing_under_every_condition(alice, bob, write, condition):
    of_bob = bob.creates()

    for task_id in (uuid4(), of_bob["id"], "7"):
        response = write_to(alice, f"/tasks/{task_id}", write, condition)
        problem = assert_problem(response, 404, "task_not_found")
        assert "current" not in problem
    assert bob.get(f"/tasks/{of_bob['id']}").json == of_bob


def test_an_empty_change_has_its_condition_too(alice):
    path = f"/tasks/{alice.creates()['id']}"
    current = alice.patch(path, {"order": 1}).json

    assert_changed(alice.patch(path, {}, headers={"If-Match": '"1"'}), current)
    assert_changed(alice.patch(path, {}, headers={"If-Match": "nonsense"}), current)
    for condition in ('"2"', "*"):
        response = alice.patch(path, {}, headers={"If-Match": condition})
        assert (response.status_code, response.json) == (200, current)
        assert response.headers["ETag"] == '"2"'


def test_a_body_that_is_wrong_is_refused_before_its_condition(alice):
    path = f"/tasks/{alice.creates()['id']}"

    response = alice.patch(path, {"title": ""}, headers={"If-Match": '"7"'})

    assert_refused_field(response, "/title", "blank")


def test_of_twenty_who_have_read_the_same_one_can_write(alice):
    task = alice.creates()
    path = f"/tasks/{task['id']}"

    def patch(number):
        return alice.patch(path, {"title": str(number)}, headers={"If-Match": '"1"'})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(patch, range(20)))

    [done] = [answer for answer in answers if answer.status_code == 200]
    assert alice.get(path).json == done.json
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 19
    for answer in refused:
        assert_changed(answer, done.json)


@on_both_paths
def test_a_task_can_be_created_under_an_id_of_ones_own(alice, base):
    path = f"{base_of(alice, base)}/{ID}"

    response = create_under(alice, path, description="Oat")

    assert response.status_code == 201
    assert response.headers["Location"] == path
    assert response.headers["ETag"] == '"1"'
    task = response.json
    assert (task["id"], task["user_id"], task["description"]) == (ID, alice.id, "Oat")
    assert (task["completed"], task["order"], task["version"]) == (False, 0, 1)
    assert alice.get(path).json == task
    assert alice.get("/tasks").json["tasks"] == [task]


def test_all_that_a_task_has_may_be_sent_with_its_id(alice):
    other = str(uuid4())
    response = create_under(alice, f"/tasks/{ID}", id=other, completed=True, order=7)

    task = response.json
    assert (response.status_code, task["id"], task["order"]) == (201, ID, 7)
    assert task["completed_at"] == task["created_at"]


@on_both_paths
def test_an_id_in_capitals_is_the_same_id(alice, base):
    base = base_of(alice, base)

    response = create_under(alice, f"{base}/{ID.upper()}")

    assert (response.status_code, response.json["id"]) == (201, ID)
    assert response.headers["Location"] == f"{base}/{ID}"
    assert_changed(create_under(alice, f"{base}/{ID}"), response.json)
    assert_changed(create_under(alice, f"{base}/{ID.upper()}"), response.json)


def test_the_location_is_that_of_a_user_of_any_name(variant):
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    somebody = outsider(external, SECRET, "a/b %2F ü")

    response = create_under(somebody, f"{somebody.path}/{ID}")

    assert (response.status_code, response.json["user_id"]) == (201, "a/b %2F ü")
    assert response.headers["Location"] == f"{somebody.path}/{ID}"
    assert somebody.get(response.headers["Location"]).json == response.json


@on_both_paths
def test_a_task_that_is_there_is_not_created_again(alice, base):
    path = f"{base_of(alice, base)}/{ID}"
    task = create_under(alice, path).json

    assert_changed(create_under(alice, path, title="Other"), task)

    assert alice.get(path).json == task
    etag = alice.put(path, {"title": "Buy bread"}).headers["ETag"]
    assert_changed(create_under(alice, path), alice.get(path).json)
    assert alice.get(path).headers["ETag"] == etag


@on_both_paths
@pytest.mark.parametrize("version", ['"1"', '"7"', "*"])
def test_nothing_is_new_and_of_a_version_at_once(alice, base, version):
    task = alice.creates()
    base = base_of(alice, base)
    headers = {"If-Match": version, "If-None-Match": "*"}

    replaced = alice.put(f"{base}/{task['id']}", {"title": "New"}, headers=headers)
    created = alice.put(f"{base}/{ID}", {"title": "New"}, headers=headers)

    assert_changed(replaced, task)
    assert_problem(created, 404, "task_not_found")
    assert alice.get("/tasks").json["tasks"] == [task]


@pytest.mark.parametrize("write", [name for name in WRITES if name != "put"])
@pytest.mark.parametrize("condition", ["*", '"1"', '"7"'])
def test_where_nothing_can_be_created_the_condition_to_do_so_is_refused(alice, write, condition):
    task = alice.creates()
    method, suffix, body = WRITES[write]

    response = alice.call(
        method, f"/tasks/{task['id']}{suffix}", body, headers={"If-None-Match": condition}
    )

    assert_refused_field(response, "/header/If-None-Match", "invalid")
    assert alice.get("/tasks").json["tasks"] == [task]


def test_of_two_who_create_the_same_at_once_one_does(alice):
    ids = [str(uuid4()) for _ in range(10)]
    barrier = Barrier(2)

    def create(person):
        statuses = []
        for task_id in ids:
            barrier.wait()
            statuses.append(create_under(alice, f"/tasks/{task_id}", title=person))
        return statuses

    with ThreadPoolExecutor(2) as pool:
        pairs = list(zip(*pool.map(create, ("first", "second")), strict=True))

    for pair in pairs:
        created, refused = sorted(pair, key=lambda answer: answer.status_code)
        assert created.status_code == 201
        assert_changed(refused, created.json)
    assert len(alice.get("/tasks").json["tasks"]) == 10


def test_an_id_in_the_trash_is_not_taken_again(alice):
    create_under(alice, f"/tasks/{ID}")
    alice.delete(f"/tasks/{ID}")

    assert_problem(create_under(alice, f"/tasks/{ID}"), 409, "task_in_trash")
    assert_problem(create_under(alice, f"{alice.path}/{ID.upper()}"), 409, "task_in_trash")

    assert alice.get("/tasks").json["tasks"] == []


def test_an_id_that_was_deleted_for_good_can_be_taken_again(alice):
    create_under(alice, f"/tasks/{ID}", description="Oat")
    alice.delete(f"/tasks/{ID}?permanent=true")

    response = create_under(alice, f"/tasks/{ID}")

    assert (response.status_code, response.json["description"]) == (201, None)


@on_both_paths
def test_an_id_of_somebody_elses_task_is_as_good_as_any(alice, bob, base):
    of_bob = bob.creates("Bob's")

    response = create_under(alice, f"{base_of(alice, base)}/{of_bob['id']}", title="Alice's")

    assert response.status_code == 201
    assert alice.get(f"/tasks/{of_bob['id']}").json == response.json
    assert bob.get(f"/tasks/{of_bob['id']}").json == of_bob
    assert alice.get("/tasks").json["tasks"] == [response.json]
    assert bob.get("/tasks").json["tasks"] == [of_bob]
    bob.delete(f"/tasks/{of_bob['id']}")
    assert alice.get(f"/tasks/{of_bob['id']}").json == response.json


def test_an_id_in_somebody_elses_trash_is_as_good_as_any(alice, bob):
    of_bob = bob.creates()
    bob.delete(f"/tasks/{of_bob['id']}")

    assert create_under(alice, f"/tasks/{of_bob['id']}").status_code == 201
    assert bob.get("/tasks").json["tasks"] == []


@on_both_paths
def test_without_being_told_to_nothing_is_created(alice, base):
    path = f"{base_of(alice, base)}/{ID}"

    assert_problem(alice.put(path, {"title": "a"}), 404, "task_not_found")
    response = alice.put(path, {"title": "a"}, headers={"If-Match": "*"})
    assert_problem(response, 404, "task_not_found")
    assert alice.get("/tasks").json["tasks"] == []


@pytest.mark.parametrize("task_id", ["7", ID.replace("-", ""), f"{{{ID}}}", f"{ID}0", "%00"])
def test_what_is_no_id_cannot_be_created(alice, task_id):
    assert_problem(create_under(alice, f"/tasks/{task_id}"), 404, "task_not_found")


@on_both_paths
@pytest.mark.parametrize("condition", ['"1"', 'W/"1"', '"*"', "", "nonsense"])
def test_a_replacement_has_no_other_condition_of_this_kind(alice, base, condition):
    task = alice.creates()
    base = base_of(alice, base)

    for task_id in (task["id"], ID):
        response = create_under(alice, f"{base}/{task_id}", condition)
        assert_refused_field(response, "/header/If-None-Match", "invalid")

    assert alice.get("/tasks").json["tasks"] == [task]


def test_a_task_that_is_created_is_one_that_could_be_posted(alice):
    assert_refused_field(create_under(alice, f"/tasks/{ID}", title=""), "/title", "blank")
    assert_refused_field(create_under(alice, f"/tasks/{ID}", colour="red"), "/colour", "unknown")
    assert alice.get("/tasks").json["tasks"] == []


def test_an_id_is_never_in_the_trash_and_among_the_tasks(alice, sql):
    """Whoever creates anew what somebody deletes at this moment is told so, or comes first."""
    for number in range(30):
        task = alice.creates(f"precious {number}")
        url = f"/tasks/{task['id']}"

        def recreate(url=url):
            headers = {"If-None-Match": "*"}
            return alice.put(url, {"title": "new"}, headers=headers).status_code

        with ThreadPoolExecutor(2) as pool:
            deleted, created = pool.submit(alice.delete, url), pool.submit(recreate)
        assert deleted.result().status_code == 204
        assert created.result() in (409, 412)
    assert sql("SELECT id FROM tasks WHERE id IN (SELECT id FROM trash)") == []


def test_whoever_creates_what_others_delete_for_good_stays_logged_in(alice):
    url = f"/tasks/{uuid4()}"
    headers = {"If-None-Match": "*"}

    def create(_number):
        return alice.put(url, {"title": "a"}, headers=headers).status_code

    def delete(_number):
        return alice.delete(f"{url}?permanent=true").status_code

    with ThreadPoolExecutor(4) as pool:
        created, deleted = pool.map(create, range(60)), pool.map(delete, range(60))
        assert set(created) <= {201, 412}
        assert set(deleted) <= {204, 404}
