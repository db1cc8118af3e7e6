import threading

import pytest

from taskapi.auth import passwords
from tests.support.people import PASSWORD, assert_problem, assert_refused_field, bearer


def log_in(client, email="alice@example.com", password=PASSWORD):
    return client.post("/auth/login", json={"email": email, "password": password})


def test_the_right_password_opens_a_session(client, alice):
    response = log_in(client)

    assert response.status_code == 200
    assert set(response.json) == set(alice.tokens)
    assert response.json["user"] == alice.tokens["user"]
    me = client.get("/auth/me", headers=bearer(response.json["access_token"]))
    assert me.json["id"] == alice.id


@pytest.mark.parametrize("email", ["ALICE@example.com", "alice@EXAMPLE.com ", "ａlice@example.com"])
def test_the_spelling_of_the_address_does_not_matter(client, alice, email):
    assert log_in(client, email).status_code == 200


@pytest.mark.parametrize("password", [PASSWORD.upper(), PASSWORD + " ", "", "x" * 256])
def test_a_wrong_password_and_an_unknown_address_look_the_same(client, alice, password):
    wrong = assert_problem(log_in(client, password=password), 401, "credentials_invalid")
    unknown = assert_problem(
        log_in(client, "nobody@example.com", password), 401, "credentials_invalid"
    )

    assert {**wrong, "request_id": ""} == {**unknown, "request_id": ""}


def test_an_unknown_address_costs_one_hash_like_a_known_one(client, alice, monkeypatch):
    hashes = []
    verify = passwords._HASHES.verify_and_update

    def count(password, password_hash):
        hashes.append(password_hash.split("$")[1:4])
        return verify(password, password_hash)

    monkeypatch.setattr(passwords._HASHES, "verify_and_update", count)
    log_in(client, password="wrong password")
    log_in(client, "nobody@example.com", "wrong password")

    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_every_login_is_a_session_of_its_own(client, alice):
    tokens = log_in(client).json
    client.post("/auth/logout", headers=bearer(tokens["access_token"]))

    assert alice.get("/auth/me").status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"password": PASSWORD}, "/email", "required"),
        ({"email": "alice@example.com"}, "/password", "required"),
        ({"email": "alice@example.com", "password": "x" * 257}, "/password", "too_long"),
        ({"email": "a\u0000", "password": PASSWORD}, "/email", "forbidden_character"),
    ],
)
def test_both_fields_are_needed(client, body, pointer, code):
    assert_refused_field(client.post("/auth/login", json=body), pointer, code)


@pytest.mark.parametrize("rounds", ["04", "12"])
def test_a_hash_brought_from_elsewhere_works_and_is_renewed(client, alice, rounds, sql):
    import bcrypt

    foreign = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(int(rounds))).decode()
    sql("UPDATE users SET password_hash = :hash", hash=foreign)

    assert log_in(client).status_code == 200

    [user] = sql("SELECT password_hash FROM users")
    assert user["password_hash"].startswith("$argon2id$")
    assert log_in(client).status_code == 200


@pytest.mark.parametrize("length", [71, 72, 73, 256])
def test_a_bcrypt_hash_counts_the_first_72_bytes_as_it_always_did(client, alice, sql, length):
    import bcrypt

    password = "p" * length
    foreign = bcrypt.hashpw(password[:72].encode(), bcrypt.gensalt(4)).decode()
    sql("UPDATE users SET password_hash = :hash", hash=foreign)

    for _ in range(2):
        assert_problem(log_in(client, password="q" * length), 401, "credentials_invalid")
        assert log_in(client, password=password).status_code == 200


@pytest.mark.parametrize("stored", [None, "", "md5$plain"])
def test_an_account_without_a_usable_hash_has_no_password(client, alice, stored, sql):
    sql("UPDATE users SET password_hash = :hash", hash=stored)

    assert_problem(log_in(client), 401, "credentials_invalid")


def test_when_too_many_hash_at_once_the_rest_are_asked_to_wait(app, client, alice, monkeypatch):
    monkeypatch.setitem(app.extensions, "taskapi.passwords", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_SLOT_TIMEOUT_SECONDS", 0.05)

    with app.app_context(), passwords._hashing_slot():
        response = log_in(client)

    assert_problem(response, 503, "busy")
    assert response.headers["Retry-After"] == "1"
    assert log_in(client).status_code == 200
