"""AUTH_MODE=external with published keys: rotation, outages, and whom nobody may wait for."""

import threading
import time
from http.client import HTTPException

import pytest

from taskapi.auth import keys
from tests.support.issuer import AUDIENCE, ISSUER, running_issuer
from tests.support.people import assert_problem, bearer


@pytest.fixture
def issuer():
    with running_issuer() as issuer:
        issuer.add_key("one")
        yield issuer


@pytest.fixture
def external(variant, issuer):
    return variant(
        auth_mode="external",
        external_jwks_url=issuer.url,
        external_jwt_issuer=ISSUER,
        external_jwt_audience=AUDIENCE,
    )


@pytest.fixture
def get(external):
    return lambda token: external.test_client().get("/tasks", headers=bearer(token))


@pytest.fixture
def clock(monkeypatch):
    """Let time pass for the keys without waiting for it."""

    class Clock:
        ahead = 0.0

        def monotonic(self):
            return time.monotonic() + self.ahead

    clock = Clock()
    monkeypatch.setattr(keys, "time", clock)
    return clock


def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_token_of_each_algorithm_is_accepted(get, issuer, algorithm):
    issuer.add_key("two", algorithm)

    assert get(issuer.sign("two")).status_code == 200


def test_the_claims_are_who_one_is(external, issuer):
    token = issuer.sign("one", "user|7", email="ada@example.com", name="Ada")

    me = external.test_client().get("/auth/me", headers=bearer(token))

    assert me.json == {
        "id": "user|7",
        "email": "ada@example.com",
        "name": "Ada",
        "created_at": None,
    }
    bare = external.test_client().get("/auth/me", headers=bearer(issuer.sign("one", email=7)))
    assert bare.json == {"id": "ada", "email": None, "name": None, "created_at": None}


def test_the_first_task_makes_the_owner(external, issuer, sql):
    client = external.test_client()
    headers = bearer(issuer.sign("one", "user|7"))

    assert client.get("/tasks", headers=headers).json["tasks"] == []
    assert sql("SELECT * FROM users") == []
    versions = [
        client.post("/tasks", json={"title": "a"}, headers=headers).json["version"]
        for _ in range(3)
    ]

    assert versions == [1, 2, 3]
    assert sql("SELECT id, change_seq FROM users") == [{"id": "user|7", "change_seq": 3}]


def test_first_tasks_at_the_same_time_are_all_kept(external, issuer, sql):
    headers = bearer(issuer.sign("one", "user|7"))
    external.test_client().get("/tasks", headers=headers)
    statuses = []

    def create():
        response = external.test_client().post("/tasks", json={"title": "a"}, headers=headers)
        statuses.append(response.status_code)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [201] * 8
    assert sorted(row["version"] for row in sql("SELECT version FROM tasks")) == [*range(1, 9)]


def test_the_keys_are_asked_for_once(get, issuer):
    for number in range(20):
        assert get(issuer.sign("one", f"user-{number}")).status_code == 200

    assert issuer.asked == 1


def test_a_new_key_is_learned_when_its_first_token_comes(get, issuer):
    assert get(issuer.sign("one")).status_code == 200
    issuer.add_key("two")

    assert get(issuer.sign("two")).status_code == 200
    assert get(issuer.sign("one")).status_code == 200
    assert issuer.asked == 2


def test_unknown_keys_ask_at_most_once_in_thirty_seconds(get, issuer, clock):
    assert get(issuer.sign("one")).status_code == 200
    for number in range(20):
        token = issuer.sign("one", header={"kid": f"made up {number}"})
        assert_problem(get(token), 401, "token_invalid")
    assert issuer.asked == 2

    clock.ahead += 31
    for number in range(20):
        token = issuer.sign("one", header={"kid": f"made up {number}"})
        assert_problem(get(token), 401, "token_invalid")
    assert issuer.asked == 3


def test_a_withdrawn_key_is_refused_also_for_tokens_that_were_seen(get, issuer, clock):
    issuer.add_key("two")
    seen = issuer.sign("one")
    assert get(seen).status_code == 200
    issuer.withdraw("one")
    clock.ahead += 301

    assert get(issuer.sign("two")).status_code == 200  # It asks beside.
    wait_until(lambda: get(seen).status_code == 401)

    assert_problem(get(seen), 401, "token_invalid")
    assert get(issuer.sign("two")).status_code == 200


def test_a_key_that_another_takes_the_place_of_takes_its_tokens_with_it(get, issuer, clock):
    seen = issuer.sign("one")
    assert get(seen).status_code == 200
    issuer.withdraw("one")
    issuer.add_key("one")
    clock.ahead += 301
    get(seen)

    wait_until(lambda: get(seen).status_code == 401)
    assert get(issuer.sign("one")).status_code == 200


def test_old_keys_serve_while_the_issuer_is_away(get, issuer, clock):
    assert get(issuer.sign("one")).status_code == 200
    issuer.stop()

    for _ in range(3):
        clock.ahead += 301
        assert get(issuer.sign("one", f"user-{clock.ahead}")).status_code == 200


def test_without_any_key_the_answer_is_to_try_again(get, issuer, clock):
    port = issuer.port
    issuer.stop()

    response = get(issuer.sign("one"))
    assert_problem(response, 503, "issuer_unavailable")
    assert response.headers["Retry-After"] == "5"

    issuer.may_go_on.clear()
    issuer.start(port)
    assert_problem(get(issuer.sign("one")), 503, "issuer_unavailable")  # Not asked yet again.
    clock.ahead += 6
    assert get(issuer.sign("one")).status_code == 200


def test_an_unknown_key_while_the_issuer_is_away_is_not_called_invalid(get, issuer):
    assert get(issuer.sign("one")).status_code == 200
    issuer.add_key("two")
    issuer.stop()

    assert_problem(get(issuer.sign("two")), 503, "issuer_unavailable")


def test_an_unknown_key_is_not_called_invalid_before_the_issuer_has_answered(
    get, issuer, monkeypatch
):
    assert get(issuer.sign("one")).status_code == 200
    issuer.add_key("two")
    fetch = keys.fetch_keys

    def fetch_late(url):
        time.sleep(0.5)
        return fetch(url)

    monkeypatch.setattr(keys, "fetch_keys", fetch_late)
    monkeypatch.setattr(keys, "_FETCH_TIMEOUT_SECONDS", 0.2)

    assert_problem(get(issuer.sign("two")), 503, "issuer_unavailable")


def test_nobody_whose_key_is_known_waits_for_an_issuer_that_hangs(get, issuer, clock):
    assert get(issuer.sign("one")).status_code == 200
    issuer.hangs.set()
    clock.ahead += 301

    waiting = [
        threading.Thread(target=get, args=(issuer.sign("one", header={"kid": "unknown"}),))
        for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    wait_until(lambda: issuer.asked == 2)
    answered = [get(issuer.sign("one", f"user-{n}")).status_code for n in range(20)]
    still_waiting = [thread.is_alive() for thread in waiting]
    for thread in waiting:
        thread.join()

    assert answered == [200] * 20
    assert still_waiting == [True] * 3
    assert issuer.asked == 2


def test_only_half_of_the_threads_may_wait_for_an_issuer_that_hangs(get, issuer, monkeypatch):
    issuer.hangs.set()
    monkeypatch.setattr(keys, "_FETCH_TIMEOUT_SECONDS", 3)
    token = issuer.sign("one")
    statuses = []

    def call():
        started = time.monotonic()
        response = get(token)
        statuses.append((time.monotonic() - started > 1, response.status_code))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [(False, 503)] * 4 + [(True, 503)] * 4


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>sign in</html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [' + b" " * 300_000 + b"]}",
        b"\xff",
    ],
)
def test_an_answer_that_is_no_set_of_keys_is_an_outage(get, issuer, answer):
    issuer.answer = answer

    assert_problem(get(issuer.sign("one")), 503, "issuer_unavailable")


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
def test_keys_that_cannot_be_used_are_passed_over(get, issuer):
    issuer.published = [
        *(None, 7, "key", {}, {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}),
        *({"kty": "RSA", "kid": "half"}, {"kty": "unheard of", "kid": "odd"}),
        *issuer.published,
    ]
    issuer.add_key("for encryption", "RS256", use="enc")
    issuer.add_key("short", "RS256", bits=1024)
    issuer.add_key("other", "RS256", alg="RS512")

    assert get(issuer.sign("one")).status_code == 200
    for key_id in ("for encryption", "short", "other"):
        assert_problem(get(issuer.sign(key_id)), 401, "token_invalid")


def test_one_bad_key_does_not_spoil_the_others(get, issuer):
    issuer.published = [{**issuer.published[0], "kid": ["x"]}, *issuer.published]

    assert get(issuer.sign("one")).status_code == 200


def test_an_answer_that_comes_in_drops_is_cut_off(issuer, monkeypatch):
    monkeypatch.setattr(keys, "_FETCH_DEADLINE_SECONDS", 0.5)
    issuer.drips = True

    with pytest.raises((OSError, HTTPException, ValueError)):
        keys.fetch_keys(issuer.url)


def test_redirects_are_not_followed(get, issuer):
    with running_issuer() as other:
        other.add_key("theirs")
        issuer.location = other.url

        assert_problem(get(other.sign("theirs")), 503, "issuer_unavailable")
        assert other.asked == 0


def test_a_name_that_is_no_text_is_left_out(external, issuer):
    token = issuer.sign("one", name="\ud800x", email=["a"])

    me = external.test_client().get("/auth/me", headers=bearer(token))

    assert (me.json["name"], me.json["email"]) == (None, None)


def test_a_token_without_a_key_id_means_the_only_key(get, issuer):
    assert get(issuer.sign("one", header={})).status_code == 200
    issuer.add_key("two")
    assert get(issuer.sign("two")).status_code == 200

    assert_problem(get(issuer.sign("two", header={})), 401, "token_invalid")
