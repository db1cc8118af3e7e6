"""Tokens that somebody made, changed or took from another place: natively and as contract B."""

import base64
import hmac
import json
import time
from uuid import uuid4

import jwt
import pytest

from tests.support.contracts import application
from tests.support.people import assert_refused, bearer

REMOVED = object()


@pytest.fixture(scope="module", params=["native", "b"])
def shared_app(shared_app, request):
    with application(shared_app.config["SQLALCHEMY_DATABASE_URI"], request.param) as app:
        yield app


def contract_of(client):
    return client.application.config["CONTRACT"]


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def encode(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def sign(app, claims, header=None, digest="sha256", key=None):
    """Sign by hand: libraries refuse to make what attackers make."""
    key = app.config["JWT_SECRET_KEY"] if key is None else key
    message = f"{encode({'alg': 'HS256', 'typ': 'JWT', **(header or {})})}.{encode(claims)}"
    signature = hmac.digest(key.encode(), message.encode(), digest)
    return f"{message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refused(client, token, code="token_invalid"):
    for method, path in (
        *(("GET", "/tasks"), ("POST", "/tasks"), ("GET", "/api/somebody/tasks")),
        *(("POST", "/api/somebody/tasks"), ("GET", "/auth/sessions"), ("DELETE", "/auth/me")),
    ):
        if code == "session_ended" and path.startswith("/api/"):
            continue  # Whose path it is comes before any statement, which asks for the session.
        json = {"password": "a"} if path == "/auth/me" else {"title": "a"}
        body = {} if method == "GET" else {"json": json}
        response = client.open(path, method=method, headers=bearer(token), **body)
        assert_refused(contract_of(client), response, 401, code)
    logout = client.post("/auth/logout", headers=bearer(token))
    if contract_of(client) == "b":  # There a bad token counts as none.
        assert logout.status_code == 200
    else:
        assert_refused("native", logout, 401, code)


def test_our_own_claims_signed_again_are_accepted(app, client, alice):
    token = sign(app, claims_of(alice.tokens["access_token"]))

    assert client.get("/tasks", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("exp", REMOVED),
        ("exp", 10**30),
        ("exp", 1e400),
        ("exp", "soon"),
        ("exp", None),
        ("exp", [1]),
        ("exp", True),
        ("exp", -1),
        ("iat", REMOVED),
        ("iat", "x"),
        ("iat", -(10**9)),
        ("iat", 10**30),
        ("nbf", 10**11),
        ("nbf", "x"),
        ("iss", "elsewhere"),
        ("iss", ["taskapi"]),
        ("iss", REMOVED),
        ("aud", "elsewhere"),
        ("aud", {}),
        ("aud", REMOVED),
        ("sub", REMOVED),
        ("sub", 7),
        ("sub", None),
        ("sub", "alice\x00"),
        ("sub", ["a"]),
        ("sid", REMOVED),
        ("sid", "not a uuid"),
        ("sid", "'; DROP TABLE tasks; --"),
        ("sid", 7),
        ("jti", REMOVED),
        ("jti", 7),
        ("type", REMOVED),
        ("type", "refresh"),
        ("type", "secret_key"),
        ("type", 7),
    ],
)
def test_a_claim_that_is_wrong_or_missing(app, client, alice, claim, value):
    claims = claims_of(alice.tokens["access_token"])
    if value is REMOVED:
        del claims[claim]
    else:
        claims[claim] = value
    if claim == "type" and value is REMOVED:
        # Without a type it is an access token, as the library has it.
        assert client.get("/tasks", headers=bearer(sign(app, claims))).status_code == 200
        return
    expired = claim == "exp" and value in (-1, True)
    refused(client, sign(app, claims), "token_expired" if expired else "token_invalid")


def test_a_token_of_another_user_with_my_session(app, client, alice, bob):
    claims = claims_of(alice.tokens["access_token"]) | {"sub": bob.id}

    refused(client, sign(app, claims), "session_ended")


def test_a_session_that_never_was(app, client, alice):
    claims = claims_of(alice.tokens["access_token"]) | {"sid": str(uuid4())}

    refused(client, sign(app, claims), "session_ended")


def test_an_expired_token(app, client, alice):
    past = int(time.time()) - 1000
    claims = claims_of(alice.tokens["access_token"]) | {"iat": past, "exp": past + 900}

    refused(client, sign(app, claims), "token_expired")


def test_a_token_that_expires_after_it_was_verified(app, client, alice, monkeypatch):
    token = alice.tokens["access_token"]
    assert client.get("/tasks", headers=bearer(token)).status_code == 200

    later = time.time() + 901
    monkeypatch.setattr("taskapi.auth.tokens.time.time", lambda: later)

    refused(client, token, "token_expired")


def test_a_token_without_a_signature(client, alice):
    claims = claims_of(alice.tokens["access_token"])
    algorithms: list[object] = ["none", "None", "NONE", "nOnE", "", None, 7, []]
    for algorithm in algorithms:
        message = f"{encode({'alg': algorithm, 'typ': 'JWT'})}.{encode(claims)}"
        refused(client, f"{message}.")
        refused(client, f"{message}.AAAA")


def test_a_token_signed_with_another_algorithm_or_key(app, client, alice):
    claims = claims_of(alice.tokens["access_token"])
    refused(client, sign(app, claims, {"alg": "HS512"}, digest="sha512"))
    refused(client, sign(app, claims, {"alg": "HS384"}, digest="sha384"))
    refused(client, sign(app, claims, {"alg": "RS256"}))
    refused(client, sign(app, claims, {"alg": "HS256 "}))
    refused(client, sign(app, claims, key="another key that is long enough to be one"))
    refused(client, sign(app, claims, key=""))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../etc/passwd"},
        {"kid": 7},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"typ": 7},
    ],
)
def test_what_a_header_asks_for_is_never_done(app, client, alice, header):
    token = sign(app, claims_of(alice.tokens["access_token"]), header)

    response = client.get("/tasks", headers=bearer(token))

    if response.status_code != 200:
        assert_refused(contract_of(client), response, 401, "token_invalid")
    assert "crit" not in header or response.status_code == 401


def test_a_changed_token(client, alice):
    head, body, signature = alice.tokens["access_token"].split(".")
    claims = claims_of(alice.tokens["access_token"]) | {"sub": "somebody"}
    other = encode(claims)
    for token in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}.{signature}.{signature}",
        f".{body}.{signature}",
        head,
        "null",
        "a.b.c",
        "é.è.ê",
        "." * 100,
        "A" * 5000,
        "eyJhbGciOiJIUzI1NiJ9." + "W" * 2000 + ".x",
    ):
        refused(client, token)


def test_deeply_nested_claims(app, client):
    nested = base64.urlsafe_b64encode(b"[" * 1500 + b"]" * 1500).rstrip(b"=").decode()

    refused(client, f"eyJhbGciOiJIUzI1NiJ9.{nested}.AAAA")


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(client, alice):
    refused(client, alice.tokens["refresh_token"])

    response = client.post("/auth/refresh", headers=bearer(alice.tokens["access_token"]))
    assert_refused(contract_of(client), response, 401, "token_invalid")
    assert alice.get("/tasks").status_code == 200
