"""Passwords: compared as they look, refused where they are guessed first."""

import unicodedata

import bcrypt
import pytest

from taskapi.auth import passwords
from tests.support.people import PASSWORD, assert_problem, assert_refused_field

NFC = unicodedata.normalize("NFC", "Crème brûlée, größer")
NFD = unicodedata.normalize("NFD", NFC)
ADDRESS = "alice.wonderland.of.the.looking.glass@example.com"


def register(client, password, email="ada@example.com", name=None):
    body = {"email": email, "password": password, "name": name}
    return client.post("/auth/register", json=body)


def log_in(client, password, email="ada@example.com"):
    return client.post("/auth/login", json={"email": email, "password": password})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NFC, NFD),
        (NFD, NFC),
        ("three unlikely words", "three\u00a0unlikely\u3000words"),
        ("three\u2003unlikely\u202fwords", "three unlikely words"),
    ],
)
def test_two_forms_of_one_text_are_one_password(client, first, second):
    assert register(client, first).status_code == 201

    assert log_in(client, second).status_code == 200


def test_case_and_compatibility_forms_are_other_passwords(client):
    register(client, "three unlikely words ﬁve")

    for other in (
        "Three unlikely words ﬁve",
        "three unlikely words five",
        "ｔhree unlikely words ﬁve",
    ):
        assert_problem(log_in(client, other), 401, "credentials_invalid")


def test_a_confirmed_and_a_changed_password_are_compared_in_the_same_form(client, alice):
    body = {"current_password": PASSWORD, "new_password": NFD}
    assert alice.post("/auth/password", body).status_code == 204

    assert log_in(client, NFC, "alice@example.com").status_code == 200
    assert alice.delete("/auth/me", json={"password": NFC}).status_code == 204


@pytest.mark.parametrize("kind", ["argon2", "bcrypt"])
def test_a_hash_of_the_form_that_was_typed_is_found_and_renewed(client, alice, sql, kind):
    if kind == "argon2":
        stored = passwords._HASHES.hash(NFD)
    else:
        stored = bcrypt.hashpw(NFD.encode(), bcrypt.gensalt(4)).decode()
    sql("UPDATE users SET password_hash = :hash", hash=stored)

    assert log_in(client, NFD, "alice@example.com").status_code == 200

    [user] = sql("SELECT password_hash FROM users")
    assert user["password_hash"] != stored
    assert log_in(client, NFC, "alice@example.com").status_code == 200


def test_an_unknown_address_costs_as_many_hashes_as_a_known_one(client, alice, monkeypatch):
    hashes = []
    verify = passwords._HASHES.verify_and_update

    def count(password, password_hash):
        hashes.append(password)
        return verify(password, password_hash)

    monkeypatch.setattr(passwords._HASHES, "verify_and_update", count)

    log_in(client, NFD, "alice@example.com")
    known = len(hashes)
    log_in(client, NFD, "nobody@example.com")

    assert (known, len(hashes) - known) == (2, 2)


def test_the_length_counts_in_the_form_that_is_hashed(client):
    password = "qu\u0308w\u0308x\u0308"

    assert len(password) >= 7
    assert_refused_field(register(client, password + "e\u0301"), "/password", "too_short")


@pytest.mark.parametrize("length", [72, 73, 100])
def test_what_bcrypt_did_not_look_at_does_not_begin_to_count(client, alice, sql, length):
    password = "correct horse battery staple " * 4
    stored = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    sql("UPDATE users SET password_hash = :hash", hash=stored)

    other = password[:72] + "z" * (length - 72)
    assert log_in(client, other, "alice@example.com").status_code == 200

    assert sql("SELECT password_hash FROM users") == [{"password_hash": stored}]
    assert log_in(client, password, "alice@example.com").status_code == 200


def test_a_new_password_ends_the_limit_of_bcrypt(client, alice, sql):
    long = "correct horse battery staple " * 4
    stored = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    sql("UPDATE users SET password_hash = :hash", hash=stored)

    body = {"current_password": long, "new_password": long + "?"}
    assert alice.post("/auth/password", body).status_code == 204

    assert_problem(log_in(client, long, "alice@example.com"), 401, "credentials_invalid")
    assert log_in(client, long + "?", "alice@example.com").status_code == 200


GUESSED_FIRST = [
    "aaaaaaaa",
    " " * 8,
    "\u00a0" * 8,
    "x" * 256,
    "abcdefghijklmnopqrstuvwxyz",
    "12345678901234567890",
    "P4ssw0rd!",
    "iloveyou2",
    ADDRESS,
    ADDRESS.upper(),
    "alicewonderland",
]


@pytest.mark.parametrize("password", GUESSED_FIRST)
def test_a_password_that_is_guessed_first_is_refused(client, password):
    response = register(client, password, ADDRESS, "Alice Wonderland")

    assert_refused_field(response, "/password", "too_common")
    assert response.json["detail"].startswith("The password is guessed too quickly")


@pytest.mark.parametrize("password", ["aaaaaaaa", "alice@example.com"])
def test_a_new_password_that_is_guessed_first_is_refused(alice, password):
    response = alice.post(
        "/auth/password", {"current_password": PASSWORD, "new_password": password}
    )

    assert_refused_field(response, "/new_password", "too_common")


def test_an_operator_gives_no_password_that_is_guessed_first(app):
    run = app.test_cli_runner().invoke(
        args=["users", "create", "ada@example.com", "--password-stdin"], input="ada@example.com\n"
    )

    assert run.exit_code == 1
    assert "The password is guessed too quickly" in run.output


@pytest.mark.parametrize("password", ["aaaaaaaaaaaaaaaaaaaa" + PASSWORD, PASSWORD + "1" * 200])
def test_a_long_password_needs_one_part_that_is_hard_to_guess(client, password):
    assert register(client, password).status_code == 201


def test_zxcvbn_is_given_little_of_a_long_password(client, monkeypatch):
    import zxcvbn

    lengths: list[int] = []
    estimate = zxcvbn.zxcvbn

    def note(password, user_inputs):
        lengths.extend(len(text) for text in (password, *user_inputs))
        return estimate(password, user_inputs)

    monkeypatch.setattr(zxcvbn, "zxcvbn", note)
    register(client, "x" * 256, ADDRESS, "n" * 255)

    assert len(lengths) > 2
    assert max(lengths) == passwords._ZXCVBN_MAX_CHARACTERS
