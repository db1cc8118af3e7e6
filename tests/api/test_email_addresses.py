"""E-mail addresses: one account for each, however it is spelled; shown as it was typed."""

import bisect
import sys
import unicodedata
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from idna.uts46data import uts46_starts, uts46_statuses

from taskapi.auth.addresses import AddressRefused, canonicalise, derive_legacy_form
from tests.support.people import PASSWORD, Person, assert_problem, assert_refused_field, json_of

MUNICH = "n@münchen.de"
MUNICH_ASCII = "n@xn--mnchen-3ya.de"
ASSIGNED = [
    character
    for code in range(1, sys.maxunicode + 1)
    if unicodedata.category(character := chr(code)) not in ("Cs", "Co", "Cn")
]


def register(client: FlaskClient, email: str) -> Any:
    return client.post("/auth/register", json={"email": email, "password": PASSWORD})


def log_in(client: FlaskClient, email: str, password: str = PASSWORD) -> Any:
    return client.post("/auth/login", json={"email": email, "password": password})


def try_to_canonicalise(address):
    try:
        return canonicalise(address)
    except AddressRefused:
        return None


@pytest.fixture
def an_older_account(client, sql):
    """Make accounts whose address is stored as an older release stored it."""

    def store(email, stored=None):
        person = Person(client, json_of(register(client, f"older{len(email)}{email[:1]}@a.test")))
        sql(
            "UPDATE users SET email = :email, display_email = NULL WHERE id = :id",
            email=stored or derive_legacy_form(email),
            id=person.id,
        )
        return person

    return store


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MUNICH, MUNICH_ASCII),
        (MUNICH_ASCII, MUNICH),
        (MUNICH, "N@MU\u0308NCHEN\u3002DE"),
        ("ada@example.com", "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
        ("straße@example.com", "STRASSE@example.com"),
        ("\u03d3@example.com", "\u03cd@example.com"),
    ],
)
def test_two_spellings_of_one_address_are_one_account(client, first, second):
    assert register(client, first).status_code == 201

    assert_problem(register(client, second), 409, "email_taken")
    assert log_in(client, second).status_code == 200


def test_two_domains_that_only_look_related_are_two_accounts(client):
    assert register(client, "n@strasse.de").status_code == 201
    assert register(client, "n@straße.de").status_code == 201

    assert log_in(client, "n@xn--strae-oqa.de").json["user"]["email"] == "n@straße.de"


@pytest.mark.parametrize("typed", ["Ada@Example.COM", "n@straße.de", MUNICH, MUNICH_ASCII])
def test_an_address_is_shown_as_it_was_typed(client, typed):
    person = Person(client, json_of(register(client, f" {typed} ")))

    assert person.tokens["user"]["email"] == typed
    assert json_of(person.get("/auth/me"))["email"] == typed


def test_a_changed_address_is_shown_as_it_was_typed(alice):
    body = {"email": "Me@Straße.de", "password": PASSWORD}

    assert json_of(alice.patch("/auth/me", body))["email"] == "Me@Straße.de"
    assert json_of(alice.get("/auth/me"))["email"] == "Me@Straße.de"


def test_an_address_is_compared_in_ascii(client, sql):
    register(client, "N@Straße.de")

    assert sql("SELECT email, display_email FROM users") == [
        {"email": "n@xn--strae-oqa.de", "display_email": "N@Straße.de"}
    ]


@pytest.mark.parametrize("place", ["a{}da@example.com", "ada@exam{}ple.com"])
@pytest.mark.parametrize(
    "character",
    "\u00ad\u034f\u061c\u115f\u17b4\u180e\u200b\u200d\u202e\u2060\u3164\ufe0f\ufeff\uffa0"
    "\U0001d173\U000e0001\U000e0100",
)
def test_an_invisible_character_is_refused_and_named(client, place, character):
    response = register(client, place.format(character))

    assert_refused_field(response, "/email", "invisible_character")
    assert f"U+{ord(character):04X}" in response.json["detail"]
    assert response.json["detail"].startswith("The email ")


def test_every_character_that_idna_would_drop_is_refused():
    dropped = [chr(code) for code in range(sys.maxunicode + 1) if is_dropped(code)]

    assert len(dropped) > 100
    assert [one for one in dropped if try_to_canonicalise(f"ada@exam{one}ple.com")] == []


def is_dropped(code):
    at = code if code < 256 else bisect.bisect_right(uts46_starts, code) - 1
    return uts46_statuses[at] == ord("I")


@pytest.mark.parametrize(
    "domain", ["xn--zzzzzz.de", "☃.net", "-a.de", "a..de", "exa mple.com", "a\u2024.de"]
)
def test_a_domain_that_cannot_exist_is_refused(client, domain):
    assert_refused_field(register(client, f"ada@{domain}"), "/email", "not_an_email")


@pytest.mark.parametrize("place", ["a{}da@example.com", "{}@example.com", "ada@exam{}ple.com"])
def test_normalising_twice_changes_nothing_for_any_character(place):
    changed = []
    for character in ASSIGNED:
        once = try_to_canonicalise(place.format(character))
        if once is not None and try_to_canonicalise(once) != once:
            changed.append(character)

    assert changed == []


@settings(deadline=None, max_examples=500)
@given(
    local=st.text(st.characters(categories=["L", "N", "M", "S", "P"]), min_size=1, max_size=6),
    domain=st.text(st.characters(categories=["L", "N", "M"]), min_size=1, max_size=6),
)
@example(local="\u00df\u0301", domain="\u00df\u0301")
@example(local="\u0390\u0345", domain="a\u0345")
def test_normalising_twice_changes_nothing_for_any_text(local, domain):
    once = try_to_canonicalise(f"{local}@{domain}.com")

    assert once is None or canonicalise(once) == once


@settings(deadline=None, max_examples=200)
@given(domain=st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=8))
def test_a_canonical_domain_is_ascii_in_any_composition(domain):
    forms = {
        try_to_canonicalise(f"a@{unicodedata.normalize(form, domain)}.com")
        for form in ("NFC", "NFD")
    }

    assert len(forms) == 1
    assert all(form is None or form.isascii() for form in forms)


# Case folding makes two letters of the first one; only then the accent composes with the second.
NOT_IDEMPOTENT = "n@\u00df\u0301.de"


def test_the_former_form_of_some_addresses_changes_when_it_is_made_again():
    once = derive_legacy_form(NOT_IDEMPOTENT)

    assert derive_legacy_form(once) != once


@pytest.mark.parametrize("email", [NOT_IDEMPOTENT, "n@straße.de", MUNICH])
def test_an_account_is_deleted_with_its_password_whatever_its_address(client, email):
    person = Person(client, json_of(register(client, email)))

    assert person.delete("/auth/me", json={"password": PASSWORD}).status_code == 204


@pytest.mark.parametrize(
    "email", [NOT_IDEMPOTENT, "n@straße.de", "n@☃.net", "a\u3164b@example.com"]
)
def test_an_account_of_an_older_release_confirms_its_password(an_older_account, email):
    person = an_older_account(email)

    body = {"current_password": PASSWORD, "new_password": "a longer horse, stapled"}
    assert person.post("/auth/password", body).status_code == 204
    body = {"email": "new@example.com", "password": "a longer horse, stapled"}
    assert person.patch("/auth/me", body).status_code == 200
    assert person.delete("/auth/me", json={"password": body["password"]}).status_code == 204


@pytest.mark.parametrize(
    "email",
    ["n@straße.de", MUNICH, NOT_IDEMPOTENT, "n@☃.net", "a\u3164b@example.com", "a@b\u200bc.de"],
)
def test_an_account_of_an_older_release_is_reached_as_before(client, an_older_account, email):
    person = an_older_account(email)

    for _ in range(2):
        assert log_in(client, email).json["user"]["id"] == person.id


def test_an_account_of_an_older_release_is_renewed_by_its_login(client, an_older_account, sql):
    an_older_account("N@Straße.de")

    assert log_in(client, "N@Straße.de").json["user"]["email"] == "N@Straße.de"
    assert sql("SELECT email, display_email FROM users") == [
        {"email": "n@xn--strae-oqa.de", "display_email": "N@Straße.de"}
    ]
    assert register(client, "n@strasse.de").status_code == 201


def test_a_wrong_password_renews_nothing(client, an_older_account, sql):
    an_older_account("n@straße.de")

    assert_problem(log_in(client, "n@straße.de", "wrong password"), 401, "credentials_invalid")

    assert sql("SELECT email FROM users") == [{"email": "n@strasse.de"}]


def test_a_login_under_the_stored_address_leaves_both_ways_open(client, an_older_account):
    person = an_older_account("n@straße.de")

    for email in ("n@strasse.de", "n@straße.de"):
        assert log_in(client, email).json["user"]["id"] == person.id


@pytest.mark.parametrize("other", [MUNICH, MUNICH_ASCII, "N@MÜNCHEN.de"])
def test_an_address_of_an_older_account_is_taken(client, alice, an_older_account, other):
    an_older_account(MUNICH)

    assert_problem(register(client, other), 409, "email_taken")
    body = {"email": other, "password": PASSWORD}
    assert_problem(alice.patch("/auth/me", body), 409, "email_taken")


def test_ones_own_older_address_may_be_written_anew(an_older_account):
    person = an_older_account(MUNICH)

    response = person.patch("/auth/me", {"email": MUNICH_ASCII, "password": PASSWORD})

    assert response.json["email"] == MUNICH_ASCII


def test_two_older_accounts_of_one_address_both_stay_reachable(client, an_older_account):
    first = an_older_account(MUNICH)
    second = an_older_account(MUNICH_ASCII)

    for _ in range(2):
        assert log_in(client, MUNICH).json["user"]["id"] == first.id
        assert log_in(client, MUNICH_ASCII).json["user"]["id"] == second.id


def test_spellings_of_an_address_share_their_failures(client, alice, an_older_account):
    an_older_account("n@straße.de")

    for email in ("n@straße.de", "n@strasse.de", "N@STRASSE.DE", "n@Straße.de", "n@strasse.de"):
        assert_problem(log_in(client, email, "wrong password"), 401, "credentials_invalid")

    assert_problem(log_in(client, "n@straße.de"), 429, "too_many_attempts")


def test_spellings_of_an_unknown_address_share_their_failures(client):
    for email in (MUNICH, MUNICH_ASCII, "N@München.de", "n@MÜNCHEN.DE", "n@münchen。de"):
        assert_problem(log_in(client, email), 401, "credentials_invalid")

    assert_problem(log_in(client, MUNICH), 429, "too_many_attempts")


@pytest.mark.parametrize("email", [MUNICH, MUNICH_ASCII, "N@MÜNCHEN.de"])
@pytest.mark.parametrize("stored", [MUNICH, MUNICH_ASCII])
def test_an_operator_names_an_account_in_any_spelling(app, client, sql, email, stored):
    register(client, MUNICH)
    if stored == MUNICH:
        sql("UPDATE users SET email = :email, display_email = NULL", email=stored)
    log_in(client, MUNICH, "wrong password")

    def flask(*arguments):
        run = app.test_cli_runner().invoke(args=arguments)
        assert run.exit_code == 0, run.output
        return run.output

    flask("users", "unlock", email)
    assert sql("SELECT count(*) FROM login_attempts WHERE attempts = 0") == [{"count": 1}]
    assert len(flask("users", "sessions", email).splitlines()) == 1
    assert flask("tokens", "revoke", email) == "1 sessions ended.\n"
    flask("users", "disable", email)
    assert_problem(log_in(client, MUNICH), 403, "account_disabled")
    flask("users", "enable", email)
    assert log_in(client, MUNICH).status_code == 200


@pytest.mark.parametrize("stored", [MUNICH, MUNICH_ASCII])
def test_an_import_adds_no_second_account_for_another_spelling(app, client, sql, tmp_path, stored):
    register(client, MUNICH)
    if stored == MUNICH:
        sql("UPDATE users SET email = :email, display_email = NULL", email=stored)
    [user] = sql("SELECT password_hash FROM users")
    file = tmp_path / "users.jsonl"
    line = '{{"email": "{}", "password_hash": "{}"}}\n'
    emails = (MUNICH, MUNICH_ASCII, "Grace@Straße.de")
    file.write_text("".join(line.format(email, user["password_hash"]) for email in emails))

    run = app.test_cli_runner().invoke(args=["users", "import", str(file)])

    assert run.stdout == "1 imported, 2 there already, 0 refused.\n"
    assert log_in(client, "grace@straße.de").json["user"]["email"] == "Grace@Straße.de"
