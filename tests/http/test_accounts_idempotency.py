"""Idempotency-Key where the answer holds tokens: registering, logging in and out, refreshing."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from taskapi.auth import passwords
from taskapi.http.endpoint import endpoint_of
from tests.support.people import PASSWORD, assert_problem, assert_refused_field, bearer

ADA = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
ALICE = {"email": "alice@example.com", "password": PASSWORD}
OTHER = "a longer horse, stapled"
REPLAYED = "Idempotent-Replayed"


def send(client, path, body=None, token=None, key="k"):
    headers = {"Idempotency-Key": key, **(bearer(token) if token else {})}
    return client.post(f"/auth/{path}", json=body, headers=headers)


def refresh(client, token, key="k"):
    return send(client, "refresh", token=token, key=key)


def assert_same_answer(again, first):
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.status_code == first.status_code
    assert again.data == first.data


def open_sessions(sql):
    [row] = sql("SELECT count(*) AS number FROM sessions WHERE revoked_at IS NULL")
    return row["number"]


def test_registering_again_with_its_key_gets_the_same_account_and_tokens(client, sql):
    first = send(client, "register", ADA)

    again = send(client, "register", ADA)

    assert first.status_code == 201
    assert_same_answer(again, first)
    assert open_sessions(sql) == 1
    assert client.get("/auth/me", headers=bearer(again.json["access_token"])).status_code == 200


def test_a_taken_address_is_no_less_taken_for_another_key(client):
    send(client, "register", ADA)

    assert_problem(send(client, "register", ADA, key="other"), 409, "email_taken")
    assert_problem(client.post("/auth/register", json=ADA), 409, "email_taken")


@pytest.mark.parametrize("change", [{"password": OTHER}, {"name": "Grace"}])
def test_registering_otherwise_with_the_same_key_is_refused(client, change):
    send(client, "register", ADA)

    response = send(client, "register", {**ADA, **change})

    assert_problem(response, 422, "idempotency_key_reused")


def test_logging_in_again_with_its_key_opens_no_second_session(client, alice, sql):
    first = send(client, "login", ALICE)

    again = send(client, "login", ALICE)

    assert_same_answer(again, first)
    assert open_sessions(sql) == 2  # The one that registering opened, and this one.


def test_a_key_opens_nothing_without_the_password(client, alice):
    send(client, "login", ALICE)

    response = send(client, "login", {**ALICE, "password": OTHER})

    assert_problem(response, 401, "credentials_invalid")


def test_a_key_is_the_account_s_own(client, alice, bob):
    first = send(client, "login", ALICE)

    second = send(client, "login", {**ALICE, "email": "bob@example.com"})

    assert second.status_code == 200
    assert second.json["user"]["id"] == bob.id
    assert first.json["user"]["id"] == alice.id


def test_asking_for_the_cookie_is_another_request(client, alice):
    send(client, "login", ALICE)

    assert_problem(send(client, "login?cookie=true", ALICE), 422, "idempotency_key_reused")


def test_a_key_of_a_task_is_none_of_a_login(client, alice):
    headers = {"Idempotency-Key": "k"}
    assert alice.post("/tasks", {"title": "Buy milk"}, headers=headers).status_code == 201

    assert_problem(send(client, "login", ALICE), 422, "idempotency_key_reused")


def test_refreshing_again_with_its_key_gets_the_same_pair(client, alice):
    first = refresh(client, alice.tokens["refresh_token"])

    again = refresh(client, alice.tokens["refresh_token"])

    assert_same_answer(again, first)
    assert client.get("/auth/me", headers=bearer(again.json["access_token"])).status_code == 200
    assert refresh(client, again.json["refresh_token"], key="next").status_code == 200


def test_the_cookie_is_set_again_as_well(app, client, alice):
    def with_cookie():
        return send(app.test_client(), "login?cookie=true", ALICE)

    first, again = with_cookie(), with_cookie()

    assert_same_answer(again, first)
    assert (
        first.headers["Set-Cookie"].partition(";")[0]
        == (again.headers["Set-Cookie"].partition(";")[0])
    )


def test_eight_who_race_with_one_key_get_one_pair_and_the_session_goes_on(app, alice):
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: refresh(app.test_client(), alice.tokens["refresh_token"]), range(8))
        )

    assert {answer.status_code for answer in answers} <= {200, 409}
    [token] = {one.json["refresh_token"] for one in answers if one.status_code == 200}
    assert refresh(app.test_client(), token, key="next").status_code == 200


def test_the_new_token_gets_the_same_pair_as_well_by_the_key_that_it_came_by(client, alice):
    first = refresh(client, alice.tokens["refresh_token"])

    again = refresh(client, first.json["refresh_token"])

    assert_same_answer(again, first)
    assert refresh(client, first.json["refresh_token"], key="next").status_code == 200


@pytest.mark.parametrize("which", ["the token that it spent", "the token that it gave"])
def test_an_exchange_that_comes_late_gets_nothing_and_ends_nothing(client, alice, which):
    first = refresh(client, alice.tokens["refresh_token"])
    second = refresh(client, first.json["refresh_token"], key="next")
    given = alice.tokens if which == "the token that it spent" else first.json

    response = refresh(client, given["refresh_token"])

    assert_problem(response, 409, "refresh_token_superseded")
    assert "Set-Cookie" not in response.headers
    assert refresh(client, second.json["refresh_token"], key="n").status_code == 200


def test_an_exchange_is_not_repeated_once_its_session_has_ended(client, alice):
    first = refresh(client, alice.tokens["refresh_token"])
    send(client, "logout", token=first.json["access_token"], key="bye")

    response = refresh(client, alice.tokens["refresh_token"])

    assert_problem(response, 401, "session_ended")


def test_the_old_token_with_another_key_ends_the_session(client, alice):
    refresh(client, alice.tokens["refresh_token"])

    response = refresh(client, alice.tokens["refresh_token"], key="other")

    assert_problem(response, 401, "refresh_token_reused")


def test_one_key_for_two_refreshes_is_refused_and_ends_nothing(client, alice):
    first = refresh(client, alice.tokens["refresh_token"])
    second = refresh(client, first.json["refresh_token"], key="next")

    response = refresh(client, second.json["refresh_token"])

    assert_problem(response, 422, "idempotency_key_reused")
    assert refresh(client, second.json["refresh_token"], key="last").status_code == 200


def test_logging_out_again_with_its_key_is_not_refused(client, alice):
    first = send(client, "logout", token=alice.token)

    again = send(client, "logout", token=alice.token)

    assert first.status_code == 204
    assert_same_answer(again, first)
    assert_problem(alice.get("/tasks"), 401, "session_ended")


def test_a_key_of_another_session_s_logout_does_not_pass_for_this_one_s(client, alice, sql):
    send(client, "logout", token=alice.token)
    token = client.post("/auth/login", json=ALICE).json["access_token"]

    response = send(client, "logout", token=token)

    assert_problem(response, 422, "idempotency_key_reused")
    assert send(client, "logout", token=token, key="other").status_code == 204
    assert open_sessions(sql) == 0


def test_an_ended_session_is_refused_with_a_key_that_it_did_not_end_by(client, alice):
    alice.post("/auth/logout")

    assert_problem(send(client, "logout", token=alice.token), 401, "session_ended")


def test_changing_the_password_again_with_its_key_is_not_refused(client, alice):
    body = {"current_password": PASSWORD, "new_password": OTHER}
    first = send(client, "password", body, alice.token)

    again = send(client, "password", body, alice.token)

    assert first.status_code == 204
    assert_same_answer(again, first)
    assert client.post("/auth/login", json={**ALICE, "password": OTHER}).status_code == 200


def test_a_change_that_is_overtaken_by_itself_is_to_be_asked_for_again(client, alice, monkeypatch):
    body = {"current_password": PASSWORD, "new_password": OTHER}
    hash_password = passwords.hash_password

    def hash_and_be_overtaken(password):
        monkeypatch.setattr(passwords, "hash_password", hash_password)
        assert send(client, "password", body, alice.token).status_code == 204
        return hash_password(password)

    monkeypatch.setattr(passwords, "hash_password", hash_and_be_overtaken)

    overtaken = send(client, "password", body, alice.token)

    assert_problem(overtaken, 409, "idempotency_key_in_use")
    assert send(client, "password", body, alice.token).status_code == 204


def test_one_key_for_two_passwords_is_refused(client, alice):
    body = {"current_password": PASSWORD, "new_password": OTHER}
    send(client, "password", body, alice.token)

    response = send(client, "password", {**body, "new_password": "yet another"}, alice.token)

    assert_problem(response, 422, "idempotency_key_reused")


def test_after_a_day_a_key_is_forgotten(client, alice, sql):
    send(client, "login", ALICE)
    sql("UPDATE idempotency_keys SET created_at = now() - interval '1 day'")

    again = send(client, "login", ALICE)

    assert again.status_code == 200
    assert REPLAYED not in again.headers
    assert open_sessions(sql) == 3


def test_a_key_that_is_none_is_refused(client, alice):
    response = send(client, "login", ALICE, key="x" * 256)

    assert_refused_field(response, "/header/Idempotency-Key", "too_long")


def test_neither_tokens_nor_anything_of_a_password_is_kept(client, alice, sql):
    pair = send(client, "login", ALICE).json
    send(
        client, "password", {"current_password": PASSWORD, "new_password": OTHER}, alice.token, "p"
    )

    kept = sql("SELECT key, encode(body, 'escape') AS body, headers::text FROM idempotency_keys")

    assert {row["key"] for row in kept} == {"k", "p"}
    for secret in (pair["access_token"], pair["refresh_token"], PASSWORD, OTHER):
        assert all(secret not in str(row) for row in kept)


def test_every_post_takes_a_key(app):
    without = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "POST" in rule.methods and not endpoint_of(app.view_functions[rule.endpoint]).idempotency
    }

    assert without == set()
