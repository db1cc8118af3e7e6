"""AUTH_MODE=external: what a token must say, and what somebody may try instead.

Natively and as contract C.
"""

import base64
import hmac
import json
import time
from datetime import timedelta

import jwt
import pytest

from tests.support.issuer import AUDIENCE, ISSUER, running_issuer
from tests.support.people import assert_refused, bearer

SECRET = "a secret that the issuer and we share"


@pytest.fixture(scope="module")
def issuer():
    with running_issuer() as issuer:
        issuer.add_key("ed")
        issuer.add_key("ec", "ES256")
        issuer.add_key("rsa", "RS256")
        yield issuer


@pytest.fixture(params=["native", "c"])
def contract(request):
    return request.param


@pytest.fixture
def published(variant, issuer, contract):
    """An application that trusts keys which the issuer publishes."""
    return variant(
        contract=contract,
        auth_mode="external",
        external_jwks_url=issuer.url,
        external_jwt_issuer=ISSUER,
        external_jwt_audience=AUDIENCE,
    )


@pytest.fixture
def shared(variant, contract):
    """An application that trusts a shared secret, and asks no more of a token."""
    return variant(contract=contract, auth_mode="external", external_jwt_secret=SECRET)


def encode(part):
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header, claims, key, digest="sha256"):
    message = f"{encode(header)}.{encode(claims)}"
    signature = hmac.digest(key, message.encode(), digest) if key is not None else b""
    return f"{message}.{encode(signature)}"


def claims(**changes):
    now = int(time.time())
    body = {"sub": "ada", "iat": now, "exp": now + 900, "iss": ISSUER, "aud": AUDIENCE, **changes}
    return {name: value for name, value in body.items() if value is not ...}


def refused(app, token, code="token_invalid"):
    client = app.test_client()
    for method, path in (("GET", "/tasks"), ("POST", "/api/ada/tasks"), ("GET", "/auth/me")):
        json = {"title": "a"} if method == "POST" else None
        response = client.open(path, method=method, json=json, headers=bearer(token))
        assert_refused(app.config["CONTRACT"], response, 401, code)


def accepted(app, token):
    return app.test_client().get("/tasks", headers=bearer(token)).status_code == 200


def test_a_token_of_the_shared_secret_is_accepted(shared):
    token = jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, SECRET, "HS256")

    assert accepted(shared, token)
    task = (
        shared.test_client().post("/api/ada/tasks", json={"title": "a"}, headers=bearer(token)).json
    )
    assert task["user_id"] == "ada"


def test_issuer_and_audience_are_asked_of_a_shared_secret_only_where_they_are_set(
    shared, variant, contract
):
    strict = variant(
        auth_mode="external",
        contract=contract,
        external_jwt_secret=SECRET,
        external_jwt_issuer=ISSUER,
        external_jwt_audience=AUDIENCE,
    )
    for changes, is_enough in (
        ({}, True),
        ({"aud": [AUDIENCE, "another"]}, True),
        ({"iss": "another"}, False),
        ({"iss": ...}, False),
        ({"aud": "another"}, False),
        ({"aud": ...}, False),
    ):
        payload = claims(**changes)
        token = jwt.encode(payload, SECRET, "HS256")
        # A token for others is for others, also where the service has no name of its own.
        assert accepted(shared, token) == ("aud" not in payload), changes
        assert accepted(strict, token) == is_enough, changes


@pytest.mark.parametrize(
    ("claim", "value", "code"),
    [
        ("exp", ..., "token_invalid"),
        ("exp", 10**30, "token_invalid"),
        ("exp", 1e400, "token_invalid"),
        ("exp", float("nan"), "token_invalid"),
        ("exp", timedelta(seconds=400 * 86400), "token_invalid"),
        ("exp", "soon", "token_invalid"),
        ("exp", None, "token_invalid"),
        ("exp", [1], "token_invalid"),
        ("exp", {}, "token_invalid"),
        ("exp", -1, "token_expired"),
        ("exp", timedelta(seconds=-60), "token_expired"),
        ("iat", timedelta(seconds=3600), "token_invalid"),
        ("iat", "x", "token_invalid"),
        ("nbf", timedelta(seconds=3600), "token_invalid"),
        ("nbf", "x", "token_invalid"),
        ("sub", ..., "token_invalid"),
        ("sub", 7, "token_invalid"),
        ("sub", None, "token_invalid"),
        ("sub", ["ada"], "token_invalid"),
        ("sub", "", "token_invalid"),
        ("sub", " ", "token_invalid"),
        ("sub", "a\x00b", "token_invalid"),
        ("sub", "\ud800", "token_invalid"),
        ("sub", "x" * 256, "token_invalid"),
    ],
)
def test_a_claim_that_is_wrong_or_missing(shared, claim, value, code):
    if isinstance(value, timedelta):  # From now.
        value = int(time.time() + value.total_seconds())
    token = forge({"alg": "HS256"}, claims(aud=..., **{claim: value}), SECRET.encode())

    refused(shared, token, code)


@pytest.mark.parametrize("sub", ["x" * 255, "用" * 255, "auth0|5f7c8", "a'; DROP TABLE users; --"])
def test_the_subject_is_the_user_id_as_it_stands(shared, contract, sub):
    headers = bearer(jwt.encode(claims(aud=..., sub=sub), SECRET, "HS256"))

    body = {"text" if contract == "c" else "title": "a"}
    client = shared.test_client()

    assert client.post("/tasks", json=body, headers=headers).json["user_id"] == sub
    assert client.get("/auth/me", headers=headers).json["id"] == sub
    [task] = client.get("/tasks", headers=headers).json["tasks"]
    assert task["user_id"] == sub


def test_a_token_that_expires_after_it_was_verified(shared, monkeypatch):
    token = jwt.encode(claims(aud=...), SECRET, "HS256")
    assert accepted(shared, token)
    later = time.time() + 1000
    monkeypatch.setattr("taskapi.auth.external.time.time", lambda: later)

    refused(shared, token, "token_expired")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS384", "HS512", "RS256", 7])
def test_another_algorithm_than_the_shared_secrets(shared, algorithm):
    for key in (SECRET.encode(), b"", None):
        refused(shared, forge({"alg": algorithm}, claims(), key))


@pytest.mark.parametrize("kid", ["ed", "ec", "rsa"])
@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES256", "EdDSA", "PS256"])
def test_a_published_key_is_never_taken_for_a_secret_or_for_another_algorithm(
    published, issuer, kid, algorithm
):
    [jwk] = [jwk for jwk in issuer.published if jwk["kid"] == kid]
    public = issuer.keys[kid][1].public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for key in (pem, pem.strip(), json.dumps(jwk).encode(), b"", None):
        refused(published, forge({"alg": algorithm, "kid": kid}, claims(), key))


def test_a_token_signed_by_another_key_of_the_same_issuer_and_name(published, issuer):
    good = issuer.sign("ed")
    assert accepted(published, good)
    body = good.rsplit(".", 1)[0]
    other = issuer.sign("ec").rsplit(".", 1)[1]

    refused(published, f"{body}.{other}")
    refused(published, issuer.sign("ec", header={"kid": "ed"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example.com"},
        {"iss": ...},
        {"iss": [ISSUER]},
        {"aud": "another"},
        {"aud": ...},
        {"aud": {}},
        {"aud": []},
    ],
)
def test_issuer_and_audience_are_always_asked_of_published_keys(published, issuer, changes):
    header = {"alg": "EdDSA", "kid": "ed"}
    message = f"{encode(header)}.{encode(claims(**changes))}"
    signature = issuer.keys["ed"][1].sign(message.encode())

    refused(published, f"{message}.{encode(signature)}")


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../etc/passwd"},
        {"kid": 7},
        {"kid": None},
        {"kid": ["ed"]},
        {"kid": "ed", "jku": "https://evil.example/keys"},
        {"kid": "ed", "jwk": {"kty": "oct", "k": "AAAA"}},
        {"kid": "ed", "x5u": "https://evil.example/cert"},
        {"kid": "ed", "crit": ["exp"]},
        {"kid": "ed", "b64": False, "crit": ["b64"]},
    ],
)
def test_what_a_header_asks_for_is_never_done(published, issuer, header):
    token = forge({"alg": "HS256", "typ": "JWT", **header}, claims(), b"AAAA")

    refused(published, token)


@pytest.mark.parametrize(
    "token",
    [
        "null",
        "a.b.c",
        "é.è.ê",
        "." * 100,
        "A" * 5000,
        "A" * 9000,
        "eyJhbGciOiJFZERTQSJ9." + "W" * 2000 + ".x",
        f"{encode({'alg': 'EdDSA', 'kid': 'ed'})}.{encode(b'[' * 1500 + b']' * 1500)}.AAAA",
        f"{encode([])}.{encode({})}.AAAA",
        f"{encode(b'{')}.{encode({})}.AAAA",
    ],
)
def test_what_is_no_token(published, shared, token):
    refused(published, token)
    refused(shared, token)


def test_a_token_of_ours_is_none_of_theirs(published, shared, alice):
    refused(published, alice.token)
    refused(shared, alice.token)


def test_there_are_no_accounts_here(shared, contract):
    client = shared.test_client()
    headers = bearer(jwt.encode(claims(), SECRET, "HS256"))
    for method, path in (
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/password"),
        ("GET", "/auth/sessions"),
    ):
        response = client.open(path, method=method, json={}, headers=headers)
        assert_refused(contract, response, 404, "route_not_found")
    for method in ("PATCH", "DELETE"):
        response = client.open("/auth/me", method=method, json={}, headers=headers)
        assert_refused(contract, response, 405, "method_not_allowed")
