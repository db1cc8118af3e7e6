"""DELETE /auth/me: the account goes with all that it had, and nothing brings it back."""

import threading
import time

import pytest

from tests.people import PASSWORD, assert_problem, assert_refused_field, bearer, json_of, register


def test_everything_goes_and_nothing_of_anybody_else(client, alice, bob, sql):
    alice.creates()
    task = bob.creates()

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    for table in ("tasks", "sessions"):
        owners = {row["user_id"] for row in sql(f"SELECT user_id FROM {table}")}
        assert owners == {bob.id}
    assert [row["id"] for row in sql("SELECT id FROM users")] == [bob.id]
    assert bob.get("/tasks").json["tasks"] == [task]


def test_the_tokens_die_at_once_and_nothing_comes_back_when_they_are_used(client, alice, sql):
    alice.delete("/auth/me", json={"password": PASSWORD})

    for method, path, body in (
        ("GET", "/tasks", None),
        ("POST", "/tasks", {"title": "a"}),
        ("POST", alice.path, {"title": "a"}),
        ("GET", "/auth/me", None),
        ("PATCH", "/auth/me", {"name": "a"}),
        ("DELETE", "/auth/me", {"password": PASSWORD}),
        (
            "POST",
            "/auth/password",
            {"current_password": PASSWORD, "new_password": "a longer horse, stapled"},
        ),
        ("GET", "/auth/sessions", None),
        ("POST", "/auth/logout", None),
    ):
        assert_problem(alice.call(method, path, body), 401, "session_ended")
    refresh = client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert_problem(refresh, 401, "session_ended")
    assert sql("SELECT 1 FROM users UNION ALL SELECT 1 FROM tasks") == []


def test_the_address_is_free_again(app, client, alice):
    alice.delete("/auth/me", json={"password": PASSWORD})

    body = {"email": "alice@example.com", "password": PASSWORD}
    assert_problem(client.post("/auth/login", json=body), 401, "credentials_invalid")
    again = register(app, "alice@example.com")
    assert again.id != alice.id
    assert json_of(again.get("/tasks"))["tasks"] == []


@pytest.mark.parametrize("password", ["wrong password", ""])
def test_it_takes_the_password(alice, password):
    response = alice.delete("/auth/me", json={"password": password})

    assert_problem(response, 403, "password_wrong")
    assert alice.get("/auth/me").status_code == 200


def test_it_takes_a_body(alice):
    assert_problem(alice.delete("/auth/me"), 415, "unsupported_media_type")
    assert_refused_field(alice.delete("/auth/me", json={}), "/password", "required")


def test_what_is_written_while_the_account_goes_is_gone_or_refused(app, alice, sql):
    statuses = []

    def write():
        client = app.test_client()
        for number in range(10_000):
            response = client.post(
                "/tasks", json={"title": str(number)}, headers=bearer(alice.token)
            )
            statuses.append(response.status_code)
            if response.status_code != 201:
                break

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    while len(statuses) < 10:
        time.sleep(0.001)
    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204
    for writer in writers:
        writer.join()

    assert set(statuses) == {201, 401}
    assert sql("SELECT 1 FROM users UNION ALL SELECT 1 FROM tasks") == []
