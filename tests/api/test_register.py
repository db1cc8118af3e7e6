from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.people import PASSWORD, assert_problem, assert_refused_field, bearer


def test_an_account_is_opened_and_logged_in(client):
    response = client.post(
        "/auth/register",
        json={"email": "ada@example.com", "password": PASSWORD, "name": "Ada Lovelace"},
    )

    assert response.status_code == 201
    body = response.json
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 900
    assert body["user"]["email"] == "ada@example.com"
    assert body["user"]["name"] == "Ada Lovelace"
    assert set(body["user"]) == {"id", "email", "name", "created_at"}
    me = client.get("/auth/me", headers=bearer(body["access_token"]))
    assert me.json == body["user"]


def test_a_name_is_not_needed(client):
    for name in ({}, {"name": None}, {"name": ""}):
        email = f"ada{len(str(name))}@example.com"
        response = client.post(
            "/auth/register", json={"email": email, "password": PASSWORD, **name}
        )
        assert response.json["user"]["name"] is None


@pytest.mark.parametrize(
    "email", ["ALICE@Example.COM", " alice@example.com ", "ａlice@example.com"]
)
def test_an_address_is_taken_in_every_spelling(client, alice, email):
    response = client.post("/auth/register", json={"email": email, "password": PASSWORD})

    assert_problem(response, 409, "email_taken")


def test_of_many_who_want_one_address_one_gets_it(variant):
    app = variant(threads=12)

    def register(_: int) -> int:
        body = {"email": "ada@example.com", "password": PASSWORD}
        return app.test_client().post("/auth/register", json=body).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(register, range(12)))

    assert sorted(statuses) == [201] + [409] * 11


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"email": None}, "/email", "null"),
        ({"email": ""}, "/email", "blank"),
        ({"email": "ada"}, "/email", "not_an_email"),
        ({"email": "ada@"}, "/email", "not_an_email"),
        ({"email": "ada@example.com\nBcc: eve@example.com"}, "/email", "not_an_email"),
        ({"email": "a\u0000da@example.com"}, "/email", "forbidden_character"),
        ({"email": "a" * 250 + "@example.com"}, "/email", "too_long"),
        ({"email": "\ufdfa" * 15 + "@example.com"}, "/email", "not_an_email"),
        ({"password": None}, "/password", "null"),
        ({"password": "1234567"}, "/password", "too_short"),
        ({"password": "p" * 257}, "/password", "too_long"),
        ({"password": "password1"}, "/password", "too_common"),
        ({"password": "Password1"}, "/password", "too_common"),
        ({"password": 12345678}, "/password", "wrong_type"),
        ({"name": "n" * 256}, "/name", "too_long"),
        ({"admin": True}, "/admin", "unknown"),
    ],
)
def test_what_cannot_be_accepted_is_refused_by_name(client, change, pointer, code):
    body = {"email": "ada@example.com", "password": PASSWORD, **change}

    assert_refused_field(client.post("/auth/register", json=body), pointer, code)


@pytest.mark.parametrize("password", ["p4ssw0rd, twice", "p4ssw0rd, twice " * 16, "ünïcödé 🔑"])
def test_a_password_needs_no_certain_kinds_of_characters(client, password):
    body = {"email": "ada@example.com", "password": password}
    assert client.post("/auth/register", json=body).status_code == 201
    assert client.post("/auth/login", json=body).status_code == 200


def test_only_a_slow_hash_of_the_password_is_kept(alice, sql):
    [user] = sql("SELECT * FROM users")

    assert user["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in str(user)
