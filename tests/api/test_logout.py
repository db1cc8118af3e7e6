import pytest

from tests.support.people import PASSWORD, assert_problem, bearer


def test_the_tokens_of_the_session_are_refused_from_the_next_request_on(client, alice):
    task = alice.creates()

    assert alice.post("/auth/logout").status_code == 204

    for response in (
        alice.get("/tasks"),
        alice.get(f"/tasks/{task['id']}"),
        alice.post("/tasks", {"title": "a"}),
        alice.put(f"/tasks/{task['id']}", {"title": "a"}),
        alice.patch(f"/tasks/{task['id']}", {"title": "a"}),
        alice.patch(f"/tasks/{task['id']}/complete"),
        alice.delete(f"/tasks/{task['id']}"),
        alice.get("/auth/me"),
        alice.post("/auth/logout"),
        client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"])),
    ):
        assert_problem(response, 401, "session_ended")


def test_what_was_written_is_there_after_the_next_login(client, alice):
    task = alice.creates()
    alice.post("/auth/logout")

    body = {"email": "alice@example.com", "password": PASSWORD}
    token = client.post("/auth/login", json=body).json["access_token"]

    assert client.get(f"/tasks/{task['id']}", headers=bearer(token)).json == task


@pytest.mark.parametrize("body", [None, {}, {"all": 1}])
def test_a_body_is_not_needed_and_not_read(alice, body):
    assert alice.post("/auth/logout", body).status_code == 204
