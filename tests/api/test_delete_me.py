"""DELETE /auth/me: the account goes with all that it had, and nothing brings it back."""

import threading
import time

import pytest
from sqlalchemy import text

from taskapi.auth import deletion
from taskapi.db.execute import SYSTEM, execute, transaction
from tests.support.people import (
    PASSWORD,
    assert_problem,
    assert_refused_field,
    bearer,
    json_of,
    register,
)


def test_everything_goes_and_nothing_of_anybody_else(client, alice, bob, sql):
    alice.creates()
    task = bob.creates()

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    for table in ("tasks", "sessions"):
        owners = {row["user_id"] for row in sql(f"SELECT user_id FROM {table}")}
        assert owners == {bob.id}
    assert [row["id"] for row in sql("SELECT id FROM users")] == [bob.id]
    assert bob.get("/tasks").json["tasks"] == [task]


def test_the_tokens_die_at_once_and_nothing_comes_back_when_they_are_used(client, alice, sql):
    alice.delete("/auth/me", json={"password": PASSWORD})

    for method, path, body in (
        ("GET", "/tasks", None),
        ("POST", "/tasks", {"title": "a"}),
        ("POST", alice.path, {"title": "a"}),
        ("GET", "/auth/me", None),
        ("PATCH", "/auth/me", {"name": "a"}),
        ("DELETE", "/auth/me", {"password": PASSWORD}),
        (
            "POST",
            "/auth/password",
            {"current_password": PASSWORD, "new_password": "a longer horse, stapled"},
        ),
        ("GET", "/auth/sessions", None),
        ("POST", "/auth/logout", None),
    ):
        assert_problem(alice.call(method, path, body), 401, "session_ended")
    refresh = client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert_problem(refresh, 401, "session_ended")
    assert sql("SELECT 1 FROM users UNION ALL SELECT 1 FROM tasks") == []


def test_the_address_is_free_again(app, client, alice):
    alice.delete("/auth/me", json={"password": PASSWORD})

    body = {"email": "alice@example.com", "password": PASSWORD}
    assert_problem(client.post("/auth/login", json=body), 401, "credentials_invalid")
    again = register(app, "alice@example.com")
    assert again.id != alice.id
    assert json_of(again.get("/tasks"))["tasks"] == []


@pytest.mark.parametrize("password", ["wrong password", ""])
def test_it_takes_the_password(alice, password):
    response = alice.delete("/auth/me", json={"password": password})

    assert_problem(response, 403, "password_wrong")
    assert alice.get("/auth/me").status_code == 200


def test_it_takes_a_body(alice):
    assert_problem(alice.delete("/auth/me"), 415, "unsupported_media_type")
    assert_refused_field(alice.delete("/auth/me", json={}), "/password", "required")


def test_what_is_written_while_the_account_goes_is_gone_or_refused(app, alice, sql):
    statuses = []

    def write():
        client = app.test_client()
        for number in range(10_000):
            response = client.post(
                "/tasks", json={"title": str(number)}, headers=bearer(alice.token)
            )
            statuses.append(response.status_code)
            if response.status_code != 201:
                break

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    while len(statuses) < 10:
        time.sleep(0.001)
    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204
    for writer in writers:
        writer.join()

    assert set(statuses) == {201, 401}
    assert sql("SELECT 1 FROM users UNION ALL SELECT 1 FROM tasks") == []


def give_tasks(sql, person, count):
    sql(
        """
        INSERT INTO tasks (user_id, id, title, version)
        SELECT :owner, gen_random_uuid(), 'task', n FROM generate_series(1, :count) AS n
        """,
        owner=person.id,
        count=count,
    )


def left_of(sql, person):
    return [
        sql(f"SELECT count(*) FROM {table} WHERE {owner} = :id", id=person.id)[0]["count"]
        for table, owner in (("tasks", "user_id"), ("sessions", "user_id"), ("users", "id"))
    ]


def test_an_account_of_many_tasks_is_deleted_in_pieces(alice, sql, monkeypatch):
    sizes = []

    def measured(*args, **kwargs):
        rows = execute(*args, **kwargs)
        sizes.append(len(rows))
        return rows

    give_tasks(sql, alice, 1200)
    monkeypatch.setattr(deletion, "execute", measured)

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    assert left_of(sql, alice) == [0, 0, 0]
    assert max(sizes) <= 500
    assert sum(sizes) >= 1200


def test_a_deletion_that_was_interrupted_is_finished_by_the_purge(app, alice, sql, monkeypatch):
    monkeypatch.setattr(deletion, "_BATCH_ROWS", 3)
    monkeypatch.setattr(deletion, "_DELETION_TIMEOUT_SECONDS", 0)
    monkeypatch.setattr(deletion.delete_closed_account, "__defaults__", (0,))
    give_tasks(sql, alice, 10)

    assert alice.delete("/auth/me", json={"password": PASSWORD}).status_code == 204

    # Closed at once: nothing of it can be used, and its address is free.
    assert left_of(sql, alice)[2] == 1
    assert_problem(alice.get("/tasks"), 401, "session_ended")
    login = {"email": "alice@example.com", "password": PASSWORD}
    assert_problem(alice.client.post("/auth/login", json=login), 401, "credentials_invalid")
    assert register(app, "alice@example.com").id != alice.id
    assert (
        "alice"
        not in app.test_cli_runner()
        .invoke(args=["users", "list"])
        .output.partition("alice@example.com")[2]
    )

    result = app.test_cli_runner().invoke(args=["purge"])
    assert result.exit_code == 0, result.output
    assert "1 deleted accounts." in result.output
    assert left_of(sql, alice) == [0, 0, 0]


def test_a_piece_reads_no_more_rows_than_there_are_though_statistics_are_old(app, alice, sql):
    fill = """
        WITH counter AS (
          UPDATE users SET change_seq = change_seq + :count WHERE id = :user_id
          RETURNING change_seq - :count AS seq)
        INSERT INTO tasks (user_id, id, title, version)
        SELECT :user_id, gen_random_uuid(), 'Buy milk', seq + n
          FROM counter, generate_series(1, :count) AS n
    """
    read = """
        SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::int AS rows
          FROM pg_stat_xact_user_tables WHERE relname = 'tasks'
    """
    # The planner knows other tasks, and of this account none.
    sql(fill, user_id=alice.id, count=5000)
    sql("ANALYZE tasks")
    owner = register(app, "owner@example.com")
    sql(fill, user_id=owner.id, count=5000)
    [piece] = [one for one in deletion._build_batch_deletions() if " tasks " in str(one)]
    values = {"owner": owner.id, "count": 500}

    with app.app_context(), transaction(acting_as=SYSTEM):
        deleted = execute(piece, values, acting_as=SYSTEM)
        [found] = execute(text(read), acting_as=SYSTEM)

    assert len(deleted) == 500
    assert found["rows"] <= 10_000
