"""GET /auth/sessions, DELETE /auth/sessions/{id}, POST /auth/logout?all=true."""

from uuid import uuid4

import pytest

from taskapi.auth.sessions import MAX_SESSIONS
from tests.support.people import PASSWORD, assert_problem, assert_refused_field, bearer

CREDENTIALS = {"email": "alice@example.com", "password": PASSWORD}


def log_in(client, device="Phone"):
    headers = {"User-Agent": device} if device is not None else {}
    return client.post("/auth/login", json=CREDENTIALS, headers=headers).json


def list_of(client, tokens):
    headers = bearer(tokens["access_token"])
    return client.get("/auth/sessions", headers=headers).json["sessions"]


def test_every_login_is_listed_with_its_device_the_last_used_first(client, alice, bob):
    phone, tablet = log_in(client, "Phone"), log_in(client, "Tablet")

    sessions = list_of(client, phone)

    assert [session["device"] for session in sessions[:2]] == ["Tablet", "Phone"]
    assert len(sessions) == 3
    assert [session["current"] for session in sessions] == [False, True, False]
    assert [session["id"] for session in sessions if session["current"]] == [
        session["id"] for session in list_of(client, tablet) if session["device"] == "Phone"
    ]
    assert set(sessions[0]) == {"id", "device", "created_at", "last_used_at", "current"}


def test_a_refresh_is_a_use(client, alice):
    phone = log_in(client)
    client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))

    first, second = list_of(client, phone)

    assert not first["current"]
    assert first["last_used_at"] > first["created_at"]
    assert second["last_used_at"] == second["created_at"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("x" * 300, "x" * 255), ("", None), ("a\tb\x7f", "ab"), ("<script>", "<script>")],
)
def test_a_device_is_shown_as_it_named_itself_within_reason(client, alice, sent, shown):
    tokens = log_in(client, sent)

    [current] = [session for session in list_of(client, tokens) if session["current"]]
    assert current["device"] == shown


def test_a_session_can_be_ended_from_another(client, alice):
    phone = log_in(client)
    [target] = [session for session in list_of(client, phone) if session["current"]]

    assert alice.delete(f"/auth/sessions/{target['id']}").status_code == 204

    response = client.get("/tasks", headers=bearer(phone["access_token"]))
    assert_problem(response, 401, "session_ended")
    assert len(list_of(client, alice.tokens)) == 1
    again = alice.delete(f"/auth/sessions/{target['id']}")
    assert_problem(again, 404, "session_not_found")


def test_ending_ones_own_session_logs_out(client, alice):
    assert alice.delete(f"/auth/sessions/{alice.session_id}").status_code == 204

    assert_problem(alice.get("/tasks"), 401, "session_ended")


def test_a_missing_a_malformed_and_somebody_elses_session_look_the_same(alice, bob):
    for session_id in (uuid4(), "nonsense", bob.session_id, alice.session_id.replace("-", "")):
        response = alice.delete(f"/auth/sessions/{session_id}")
        assert_problem(response, 404, "session_not_found")

    assert bob.get("/tasks").status_code == 200


def test_logging_out_everywhere_ends_all_sessions_and_nobody_elses(client, alice, bob):
    phone = log_in(client)

    assert alice.post("/auth/logout?all=true").status_code == 204

    assert_problem(alice.get("/tasks"), 401, "session_ended")
    response = client.get("/tasks", headers=bearer(phone["access_token"]))
    assert_problem(response, 401, "session_ended")
    assert bob.get("/tasks").status_code == 200


def test_logging_out_ends_one_session(client, alice):
    phone = log_in(client)

    assert alice.post("/auth/logout?all=false").status_code == 204

    assert client.get("/tasks", headers=bearer(phone["access_token"])).status_code == 200


@pytest.mark.parametrize("value", ["yes", "1", "TRUE", ""])
def test_all_is_true_or_false(alice, value):
    response = alice.post(f"/auth/logout?all={value}")

    assert_refused_field(response, "/query/all", "wrong_type")
    assert alice.get("/tasks").status_code == 200


def test_an_expired_session_is_not_listed(client, alice, sql):
    phone = log_in(client)
    sql("UPDATE sessions SET expires_at = now() WHERE id = :id", id=alice.session_id)

    assert len(list_of(client, phone)) == 1


def test_a_user_keeps_the_sessions_that_were_used_last(alice, monkeypatch, sql):
    sql(
        """
        INSERT INTO sessions (id, user_id, refresh_id, last_used_at, expires_at)
        SELECT gen_random_uuid(), :owner, gen_random_uuid(), now() - n * interval '1 hour',
               now() + interval '1 day'
          FROM generate_series(1, 150) AS n
        """,
        owner=alice.id,
    )

    login = {"email": "alice@example.com", "password": PASSWORD}
    assert alice.client.post("/auth/login", json=login).status_code == 200

    kept = sql("SELECT min(last_used_at) > now() - interval '99 hours' AS recent FROM sessions")
    assert kept == [{"recent": True}]
    assert alice.get("/auth/sessions").json["count"] == MAX_SESSIONS
