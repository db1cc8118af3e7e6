"""POST /auth/password: a new password, and the end of every other session."""

import pytest

from taskapi.auth import passwords
from tests.support.people import PASSWORD, Person, assert_problem, assert_refused_field, bearer

NEW = "a longer horse, stapled"


def log_in(client, password=PASSWORD):
    return client.post("/auth/login", json={"email": "alice@example.com", "password": password})


def test_the_new_password_is_the_one_that_counts(client, alice):
    body = {"current_password": PASSWORD, "new_password": NEW}

    assert alice.post("/auth/password", body).status_code == 204

    assert_problem(log_in(client), 401, "credentials_invalid")
    assert log_in(client, NEW).status_code == 200


def test_every_other_session_ends_and_this_one_goes_on(client, alice, bob):
    others = [log_in(client).json for _ in range(2)]

    alice.post("/auth/password", {"current_password": PASSWORD, "new_password": NEW})

    for tokens in others:
        response = client.get("/tasks", headers=bearer(tokens["access_token"]))
        assert_problem(response, 401, "session_ended")
        response = client.post("/auth/refresh", headers=bearer(tokens["refresh_token"]))
        assert_problem(response, 401, "session_ended")
    assert alice.get("/tasks").status_code == 200
    refreshed = client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert refreshed.status_code == 200
    assert bob.get("/tasks").status_code == 200


def test_the_current_password_must_be_right(client, alice):
    body = {"current_password": "wrong password", "new_password": NEW}

    assert_problem(alice.post("/auth/password", body), 403, "password_wrong")

    assert log_in(client).status_code == 200


def test_whoever_logs_in_with_the_old_password_at_the_same_moment_stays_outside(
    client, alice, monkeypatch
):
    """The old password is verified first, and used only after the change."""
    verify = passwords.verify_password

    def verify_and_be_overtaken(password, password_hash):
        verdict = verify(password, password_hash)
        monkeypatch.setattr(passwords, "verify_password", verify)
        body = {"current_password": PASSWORD, "new_password": NEW}
        assert alice.post("/auth/password", body).status_code == 204
        return verdict

    monkeypatch.setattr(passwords, "verify_password", verify_and_be_overtaken)

    assert_problem(log_in(client), 401, "credentials_invalid")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (
            "POST",
            "/auth/password",
            {"current_password": PASSWORD, "new_password": "a longer horse, stapled"},
        ),
        ("PATCH", "/auth/me", {"email": "thief@example.com", "password": PASSWORD}),
        ("DELETE", "/auth/me", {"password": PASSWORD}),
    ],
)
def test_whoever_was_confirmed_with_the_old_password_changes_nothing_after_the_new(
    client, app, alice, monkeypatch, method, path, body
):
    """A thief's session asks first, and the owner's change of the password comes between."""
    thief = Person(app.test_client(), log_in(client).json)
    verify = passwords.verify_password

    def verify_and_be_overtaken(password, password_hash):
        verdict = verify(password, password_hash)
        monkeypatch.setattr(passwords, "verify_password", verify)
        change = {"current_password": PASSWORD, "new_password": NEW}
        assert alice.post("/auth/password", change).status_code == 204
        return verdict

    monkeypatch.setattr(passwords, "verify_password", verify_and_be_overtaken)

    assert_problem(thief.call(method, path, body), 401, "session_ended")

    assert log_in(client, NEW).status_code == 200
    assert alice.get("/auth/me").json == alice.tokens["user"]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"new_password": NEW}, "/current_password", "required"),
        ({"current_password": PASSWORD}, "/new_password", "required"),
        ({"current_password": PASSWORD, "new_password": "short"}, "/new_password", "too_short"),
        (
            {"current_password": PASSWORD, "new_password": "password123"},
            "/new_password",
            "too_common",
        ),
    ],
)
def test_both_are_needed_and_the_new_one_must_be_good(client, alice, body, pointer, code):
    assert_refused_field(alice.post("/auth/password", body), pointer, code)
    assert log_in(client).status_code == 200
