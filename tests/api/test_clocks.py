"""Clocks that differ or are set back: tokens are judged by one rule, and sessions live on."""

import time

import jwt
import pytest

from taskapi.auth import tokens
from tests.support.people import Person, assert_problem, bearer, json_of, register

SECRET = "a secret that the issuer and we share"


@pytest.fixture
def clock(monkeypatch):
    """Set the clock by which an instance issues tokens; the others keep the right time."""

    class Clock:
        ahead = 0

        def time(self):
            return time.time() + self.ahead

    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


@pytest.fixture
def accepts_own(variant, alice):
    """Say whether the service accepts an access token of its own with these times from now."""

    def accepts(settings, **times):
        app = variant(jwt_secret_keys=(SECRET,), **settings)
        claims = jwt.decode(alice.token, options={"verify_signature": False})
        return _answer(app, claims | {"exp": 600} | times)

    return accepts


@pytest.fixture
def accepts_outside(variant):
    """Say the same of an issuer's."""

    def accepts(settings, **times):
        app = variant(auth_mode="external", external_jwt_secret=SECRET, **settings)
        return _answer(app, {"sub": "ada", "iat": 0, "exp": 600} | times)

    return accepts


def _answer(app, claims):
    now = int(time.time())
    times = {
        name: now + claims[name] for name in ("iat", "nbf", "exp") if claims.get(name, 1e9) < 1e6
    }
    token = jwt.encode(claims | times, SECRET, "HS256")
    response = app.test_client().get("/tasks", headers=bearer(token))
    return response.json.get("code", response.status_code)


@pytest.mark.parametrize("whose", ["accepts_own", "accepts_outside"])
@pytest.mark.parametrize(
    ("settings", "times", "answer"),
    [
        ({}, {"iat": 25}, 200),
        ({}, {"iat": 25, "nbf": 25}, 200),
        ({}, {"iat": 40}, "token_invalid"),
        ({}, {"iat": 0, "nbf": 40}, "token_invalid"),
        ({}, {"iat": -600, "exp": -1}, "token_expired"),
        ({"jwt_clock_skew": 0}, {"iat": 5}, "token_invalid"),
        ({"jwt_clock_skew": 120}, {"iat": 100, "nbf": 100}, 200),
        ({"jwt_clock_skew": 120}, {"iat": -600, "exp": -1}, "token_expired"),
        ({"jwt_expiry_leeway": 60}, {"iat": -600, "exp": -50}, 200),
        ({"jwt_expiry_leeway": 60}, {"iat": -600, "exp": -70}, "token_expired"),
        ({"jwt_expiry_leeway": 60}, {"iat": 40}, "token_invalid"),
    ],
)
def test_one_rule_holds_for_own_and_external_tokens(request, whose, settings, times, answer):
    accepts = request.getfixturevalue(whose)

    assert accepts(settings, **times) == answer


def test_a_token_of_an_instance_a_second_ahead_is_accepted_at_once(app, clock):
    clock.ahead = 1
    alice = register(app, "alice@example.com")

    assert alice.get("/tasks").status_code == 200
    again = app.test_client().post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert again.status_code == 200, again.text


@pytest.mark.parametrize("seconds", [5, 3600, 40 * 86400])
def test_a_session_survives_a_clock_that_is_set_back(app, clock, seconds):
    clock.ahead = seconds
    alice = register(app, "alice@example.com")
    clock.ahead = 0

    answer = app.test_client().post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))

    assert answer.status_code == 200, answer.text
    assert Person(app.test_client(), json_of(answer)).get("/tasks").status_code == 200


def test_a_refresh_token_from_the_future_is_good_for_one_exchange_like_any_other(app, clock):
    clock.ahead = 3600
    refresh = bearer(register(app, "alice@example.com").tokens["refresh_token"])
    clock.ahead = 0
    assert app.test_client().post("/auth/refresh", headers=refresh).status_code == 200

    again = app.test_client().post("/auth/refresh", headers=refresh)

    assert_problem(again, 401, "refresh_token_reused")


def test_a_session_ends_by_the_clock_of_the_database(app, alice, sql):
    """An instance whose clock is wrong neither ends sessions early nor prolongs them."""
    lifetime = "SELECT (expires_at - last_used_at)::text AS it FROM sessions"
    assert sql(lifetime) == [{"it": "30 days"}]

    app.test_client().post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))

    assert sql(lifetime) == [{"it": "30 days"}]


def test_the_messages_of_an_issuers_tokens_speak_of_no_tokens_of_this_service(variant):
    app = variant(auth_mode="external", external_jwt_secret=SECRET)
    client = app.test_client()
    answers = [
        client.get("/tasks", headers=bearer(token)).json["detail"]
        for token in (
            "nonsense",
            jwt.encode({"sub": "ada", "exp": int(time.time()) - 60}, SECRET, "HS256"),
        )
    ]
    answers.append(client.get("/tasks").json["detail"])

    for detail in answers:
        assert "refresh" not in detail
        assert "this service issued" not in detail
    assert "log in again" in answers[0]
    assert "log in again" in answers[1]
