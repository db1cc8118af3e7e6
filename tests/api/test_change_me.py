"""PATCH /auth/me: the name, and with the password the e-mail address."""

import pytest

from tests.support.people import PASSWORD, assert_problem, assert_refused_field


def test_the_name_changes_and_is_there_at_the_next_look(alice):
    response = alice.patch("/auth/me", {"name": "Alice Liddell"})

    assert response.status_code == 200
    assert response.json == {**alice.tokens["user"], "name": "Alice Liddell"}
    assert alice.get("/auth/me").json == response.json


def test_the_address_changes_with_the_password_and_is_what_one_logs_in_with(client, alice):
    response = alice.patch("/auth/me", {"email": " New@Example.com", "password": PASSWORD})

    assert response.status_code == 200
    assert response.json["email"] == "New@Example.com"
    for email, status in (("new@example.com", 200), ("alice@example.com", 401)):
        body = {"email": email, "password": PASSWORD}
        assert client.post("/auth/login", json=body).status_code == status


def test_the_address_does_not_change_without_the_password(alice):
    response = alice.patch("/auth/me", {"email": "new@example.com", "name": "New"})
    assert_refused_field(response, "/password", "required")

    for wrong in ("wrong password", ""):
        response = alice.patch("/auth/me", {"email": "new@example.com", "password": wrong})
        assert_problem(response, 403, "password_wrong")

    assert alice.get("/auth/me").json == alice.tokens["user"]


@pytest.mark.parametrize("taken", ["bob@example.com", "BOB@Example.com"])
def test_an_address_that_somebody_has_is_taken(alice, bob, taken):
    response = alice.patch("/auth/me", {"email": taken, "password": PASSWORD})

    assert_problem(response, 409, "email_taken")
    assert alice.get("/auth/me").json == alice.tokens["user"]


def test_ones_own_address_is_not_taken(alice):
    response = alice.patch("/auth/me", {"email": "alice@example.com", "password": PASSWORD})

    assert response.status_code == 200


def test_null_clears_the_name_and_nothing_changes_nothing(alice):
    assert alice.patch("/auth/me", {"name": None}).json["name"] is None
    assert alice.patch("/auth/me", {}).json["name"] is None
    assert alice.patch("/auth/me", {"password": PASSWORD}).status_code == 200


def test_what_was_read_may_be_sent_back(alice):
    body = {**alice.get("/auth/me").json, "name": "New", "password": PASSWORD}

    assert alice.patch("/auth/me", body).json["name"] == "New"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"email": "nowhere", "password": PASSWORD}, "/email", "not_an_email"),
        ({"email": None, "password": PASSWORD}, "/email", "null"),
        ({"name": "x" * 256}, "/name", "too_long"),
        ({"name": "a\u0000"}, "/name", "forbidden_character"),
        ({"password_hash": "x"}, "/password_hash", "unknown"),
    ],
)
def test_what_cannot_be_is_refused(alice, body, pointer, code):
    assert_refused_field(alice.patch("/auth/me", body), pointer, code)
