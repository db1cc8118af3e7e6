"""JWT_SECRET_KEY takes several: the first signs, the others verify."""

import secrets

import pytest

from tests.support.people import Person, assert_problem, assert_refused_field, bearer, register

OLD, NEW, OTHER = ("old" + "o" * 40, "new" + "n" * 40, "other" + "x" * 40)


@pytest.fixture
def signed_in(app, variant):
    """Somebody whose tokens the old key has signed, and the same database with other keys."""
    alice = register(variant(jwt_secret_keys=(OLD,)), "alice@example.com")

    def with_keys(*keys):
        return Person(variant(jwt_secret_keys=keys).test_client(), alice.tokens)

    return with_keys


def test_what_an_old_key_has_signed_is_still_good(signed_in):
    alice = signed_in(NEW, OLD)

    assert alice.get("/tasks").status_code == 200
    refreshed = alice.client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert refreshed.status_code == 200
    # The new pair is good without the old key.
    later = Person(signed_in(NEW).client, refreshed.json)
    assert later.get("/tasks").status_code == 200


def test_a_key_that_was_taken_away_takes_its_tokens_with_it(signed_in):
    assert_problem(signed_in(NEW, OTHER).get("/tasks"), 401, "token_invalid")


def test_a_cursor_of_an_old_key_is_still_good(signed_in):
    alice = signed_in(OLD)
    for _ in range(3):
        alice.creates()
    cursor = alice.get("/tasks?limit=1").json["next_cursor"]

    assert signed_in(NEW, OLD).get(f"/tasks?limit=1&cursor={cursor}").status_code == 200
    taken = signed_in(OLD)
    taken.client.application.extensions["taskapi.cursors"] = signed_in(
        NEW
    ).client.application.extensions["taskapi.cursors"]
    assert_refused_field(taken.get(f"/tasks?cursor={cursor}"), "/query/cursor", "invalid")


def test_each_of_several_keys_must_be_long_enough(monkeypatch, tmp_path):
    from taskapi.settings import Settings, SettingsError

    monkeypatch.setenv("JWT_SECRET_KEY", f"{secrets.token_urlsafe(48)},short")
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(tmp_path / "none"))

    with pytest.raises(SettingsError, match=r"JWT_SECRET_KEY.*32 bytes"):
        Settings.from_environment(str(tmp_path / "no.env"))
