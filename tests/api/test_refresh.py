from concurrent.futures import ThreadPoolExecutor

from tests.support.people import assert_problem, bearer


def refresh(client, token):
    return client.post("/auth/refresh", headers=bearer(token))


def test_a_refresh_token_buys_a_new_pair(client, alice):
    response = refresh(client, alice.tokens["refresh_token"])

    assert response.status_code == 200
    assert set(response.json) == set(alice.tokens)
    assert response.json["user"] == alice.tokens["user"]
    assert response.json["refresh_token"] != alice.tokens["refresh_token"]
    assert client.get("/tasks", headers=bearer(response.json["access_token"])).status_code == 200
    assert refresh(client, response.json["refresh_token"]).status_code == 200


def test_a_spent_token_that_comes_back_ends_its_session(client, alice):
    renewed = refresh(client, alice.tokens["refresh_token"]).json

    response = refresh(client, alice.tokens["refresh_token"])

    assert_problem(response, 401, "refresh_token_reused")
    assert_problem(refresh(client, renewed["refresh_token"]), 401, "session_ended")
    mine = client.get("/tasks", headers=bearer(renewed["access_token"]))
    assert_problem(mine, 401, "session_ended")
    assert_problem(alice.get("/auth/me"), 401, "session_ended")


def test_other_sessions_go_on_when_one_is_ended(client, alice, bob):
    other = client.post(
        "/auth/login", json={"email": "alice@example.com", "password": "correct horse battery"}
    ).json
    refresh(client, alice.tokens["refresh_token"])
    refresh(client, alice.tokens["refresh_token"])

    assert client.get("/auth/me", headers=bearer(other["access_token"])).status_code == 200
    assert bob.get("/auth/me").status_code == 200


def test_of_eight_who_race_with_one_token_one_wins_and_the_session_ends(app, alice):
    def race(_: int):
        return refresh(app.test_client(), alice.tokens["refresh_token"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, range(8)))

    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    assert {answer.status_code for answer in answers} == {200, 401}
    for token in (winners[0].json["access_token"], alice.tokens["access_token"]):
        ended = app.test_client().get("/auth/me", headers=bearer(token))
        assert_problem(ended, 401, "session_ended")


def test_a_session_lives_on_from_its_last_refresh(client, alice, sql):
    sql("UPDATE sessions SET expires_at = now() + interval '1 hour'")
    refresh(client, alice.tokens["refresh_token"])

    [session] = sql("SELECT expires_at - now() > interval '29 days' AS extended FROM sessions")
    assert session["extended"]


def test_an_expired_session_cannot_be_refreshed(client, alice, sql):
    sql("UPDATE sessions SET expires_at = now()")

    response = refresh(client, alice.tokens["refresh_token"])

    assert_problem(response, 401, "session_ended")
    assert_problem(alice.get("/tasks"), 401, "session_ended")
