from tests.support.people import assert_problem


def test_the_account_of_the_token_is_shown(alice, bob):
    response = alice.get("/auth/me")

    assert response.status_code == 200
    assert response.json == {
        "id": alice.id,
        "email": "alice@example.com",
        "name": "Alice",
        "created_at": response.json["created_at"],
    }
    assert bob.get("/auth/me").json["name"] == "Bob"


def test_an_account_that_is_gone_has_no_sessions(alice, sql):
    sql("DELETE FROM users")

    assert_problem(alice.get("/auth/me"), 401, "session_ended")
