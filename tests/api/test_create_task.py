import re
from uuid import UUID

import pytest

from tests.support.people import assert_problem, assert_refused_field


def test_a_title_is_enough(alice):
    response = alice.post("/tasks", {"title": "Buy milk"})

    assert response.status_code == 201
    task = response.json
    assert task == {
        "id": task["id"],
        "user_id": alice.id,
        "title": "Buy milk",
        "description": None,
        "completed": False,
        "completed_at": None,
        "order": 0,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
        "version": 1,
    }
    assert UUID(task["id"]).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["created_at"])


def test_the_answer_says_where_the_task_is_and_which_version(alice):
    response = alice.post("/tasks", {"title": "Buy milk"})

    assert response.headers["ETag"] == '"1"'
    assert alice.get(response.headers["Location"]).json == response.json


def test_every_field_may_be_sent(alice):
    task = alice.creates("Buy milk", description="Oat", completed=True, order=-7)

    assert task["description"] == "Oat"
    assert task["completed"] is True
    assert task["completed_at"] == task["created_at"]
    assert task["order"] == -7


def test_what_was_read_may_be_sent_back(alice):
    first = alice.creates("Buy milk", description="Oat")

    second = alice.post("/tasks", first).json

    assert second["title"] == "Buy milk"
    assert second["id"] != first["id"]
    assert second["version"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, señor: naïve café",
        "買牛奶 🥛 اشتر الحليب לקנות חלב",
        "👩‍👩‍👧‍👦 e\u0301 \u202eright-to-left\u202c",
        "<script>alert('x')</script> & \"quotes\" \\ %s %(a)s :b",
        "Robert'); DROP TABLE tasks;--",
        "line\nbreak\ttab",
    ],
)
def test_text_comes_back_exactly_as_it_was_sent(alice, text):
    task = alice.creates(text, description=f" {text} ")

    stored = alice.get(f"/tasks/{task['id']}").json
    assert stored["title"] == text
    assert stored["description"] == f" {text} "


def test_white_space_around_the_title_is_cut(alice):
    assert alice.creates(" \u3000Buy milk\n")["title"] == "Buy milk"


def test_an_empty_description_is_none(alice):
    assert alice.creates(description="")["description"] is None


@pytest.mark.parametrize("character", ["a", "語", "😀"])
def test_the_longest_texts_are_taken(alice, character):
    task = alice.creates(character * 500, description=character * 2000)

    assert task["title"] == character * 500
    assert task["description"] == character * 2000


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/title", "required"),
        ({"title": None}, "/title", "null"),
        ({"title": ""}, "/title", "blank"),
        ({"title": " \t\u3000"}, "/title", "blank"),
        ({"title": "\u200b\u00ad\ufeff"}, "/title", "blank"),
        ({"title": "\u3164 \u2060\U000e0041"}, "/title", "blank"),
        ({"title": "\u0001\u007f"}, "/title", "blank"),
        ({"title": "😀" * 501}, "/title", "too_long"),
        ({"title": 5}, "/title", "wrong_type"),
        ({"title": ["a"]}, "/title", "wrong_type"),
        ({"title": "a\u0000b"}, "/title", "forbidden_character"),
        ({"title": "a", "description": "d" * 2001}, "/description", "too_long"),
        ({"title": "a", "description": False}, "/description", "wrong_type"),
        ({"title": "a", "description": "\u0000"}, "/description", "forbidden_character"),
        ({"title": "a", "completed": "yes"}, "/completed", "wrong_type"),
        ({"title": "a", "completed": 1}, "/completed", "wrong_type"),
        ({"title": "a", "completed": None}, "/completed", "null"),
        ({"title": "a", "order": "5"}, "/order", "wrong_type"),
        ({"title": "a", "order": 1.5}, "/order", "wrong_type"),
        ({"title": "a", "order": True}, "/order", "wrong_type"),
        ({"title": "a", "order": 2**31}, "/order", "out_of_range"),
        ({"title": "a", "order": -(2**31) - 1}, "/order", "out_of_range"),
        ({"title": "a", "priority": 1}, "/priority", "unknown"),
        ({"title": "a", "a/b~c": 1}, "/a~1b~0c", "unknown"),
        ([], "", "wrong_type"),
        ("title", "", "wrong_type"),
        (7, "", "wrong_type"),
    ],
)
def test_what_no_task_can_have_is_refused_by_name(alice, body, pointer, code):
    assert_refused_field(alice.post("/tasks", body), pointer, code)
    assert alice.get("/tasks").json["tasks"] == []


def test_all_that_is_wrong_is_said_at_once(alice):
    response = alice.post("/tasks", {"title": "", "order": "x", "colour": "red"})

    errors = assert_problem(response, 422, "validation_failed")["errors"]
    assert {error["pointer"] for error in errors} == {"/title", "/order", "/colour"}


def test_a_whole_number_may_be_written_with_a_point(alice):
    response = alice.post(
        "/tasks", data='{"title": "a", "order": 3.0}', content_type="application/json"
    )

    assert response.json["order"] == 3


def test_versions_count_the_changes_of_their_owner(alice, bob):
    assert [alice.creates()["version"], alice.creates()["version"]] == [1, 2]
    assert bob.creates()["version"] == 1
