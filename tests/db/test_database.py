"""How statements reach PostgreSQL."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.errors import DivisionByZero, QueryCanceled
from sqlalchemy import text

from taskapi import create_app
from taskapi.db.base import db
from taskapi.db.connections import Cursor
from taskapi.db.execute import SYSTEM, Actor, execute, transaction
from taskapi.exceptions import (
    DatabaseNotReady,
    DatabaseUnavailable,
    SessionEnded,
)
from tests.support.people import assert_problem, register
from tests.support.service import make_settings


@pytest.fixture
def other_app(new_database):
    """Make applications with settings and databases of their own."""
    made = []

    def make(**settings):
        settings.setdefault("database_url", new_database("other"))
        made.append(create_app(make_settings(**settings)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


def test_a_statement_that_does_not_say_for_whom_it_runs_is_never_sent(app, sql):
    hidden = text("INSERT INTO users (id) VALUES ('unasked')")
    with app.app_context():
        with db.engine.connect() as connection, pytest.raises(TypeError, match="on whose behalf"):
            connection.execute(hidden)
        with pytest.raises(TypeError, match="on whose behalf"):
            db.session.execute(hidden)
        with pytest.raises(TypeError, match="on whose behalf"):
            execute(hidden, acting_as=None)  # type: ignore[arg-type]  # as a mistake would
        with (
            pytest.raises(TypeError, match="on whose behalf"),
            transaction(acting_as=None),  # type: ignore[arg-type]  # as a mistake would
        ):
            execute(hidden, acting_as=SYSTEM)

    assert sql("SELECT * FROM users") == []


def test_a_session_that_is_over_is_refused_by_the_database_itself(app, alice, sql):
    stranger = Actor(alice.id, str(uuid4()))

    with app.app_context(), pytest.raises(SessionEnded):
        execute(text("DELETE FROM tasks"), acting_as=stranger)


def test_who_asked_is_forgotten_when_the_statement_ends(app, alice):
    alice.get("/tasks")

    with app.app_context():
        [state] = execute(
            text(
                "SELECT current_user = session_user AS reset,"
                " current_setting('taskapi.user_id', true) AS user_id"
            ),
            acting_as=SYSTEM,
        )

    assert state["reset"]
    assert not state["user_id"]


def test_a_user_id_may_hold_anything_that_text_may(app, sql):
    for number, name in enumerate(["o'hara", "a\\'b", "%s %(x)s 100%", "a;b--", "ü 😀", '"q"']):
        session = str(uuid4())
        sql("INSERT INTO users (id) VALUES (:id)", id=name)
        sql(
            "INSERT INTO sessions (id, user_id, refresh_id, expires_at)"
            " VALUES (:s, :u, gen_random_uuid(), now() + interval '1 hour')",
            s=session,
            u=name,
        )
        with app.app_context():
            rows = execute(
                text("SELECT current_setting('taskapi.user_id') AS me, :n AS n"),
                {"n": number},
                acting_as=Actor(name, session),
            )
        assert rows == [{"me": name, "n": number}]


def test_a_transaction_is_all_or_nothing(app, sql):
    def fail_half_way():
        with transaction(acting_as=SYSTEM):
            execute(text("INSERT INTO users (id) VALUES ('half')"), acting_as=SYSTEM)
            raise ZeroDivisionError

    with app.app_context(), pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert sql("SELECT * FROM users") == []

    with app.app_context(), transaction(acting_as=SYSTEM):
        execute(text("INSERT INTO users (id) VALUES ('one')"), acting_as=SYSTEM)
        execute(text("INSERT INTO users (id) VALUES ('two')"), acting_as=SYSTEM)
    assert len(sql("SELECT * FROM users")) == 2


def test_a_part_of_a_transaction_can_be_undone_by_itself(app, sql):
    def fail_half_way():
        with transaction(acting_as=SYSTEM):
            execute(text("INSERT INTO users (id) VALUES ('half')"), acting_as=SYSTEM)
            execute(text("SELECT 1 / 0"), acting_as=SYSTEM)

    with app.app_context(), transaction(acting_as=SYSTEM):
        execute(text("INSERT INTO users (id) VALUES ('one')"), acting_as=SYSTEM)
        with pytest.raises(DivisionByZero):
            fail_half_way()
        execute(text("INSERT INTO users (id) VALUES ('two')"), acting_as=SYSTEM)

    assert sql("SELECT id FROM users ORDER BY id") == [{"id": "one"}, {"id": "two"}]


def test_a_transaction_is_on_one_behalf(app, alice):
    with app.app_context(), transaction(acting_as=alice.actor):
        with pytest.raises(TypeError, match="on one behalf"):
            execute(text("SELECT 1"), acting_as=SYSTEM)
        with pytest.raises(TypeError, match="on one behalf"), transaction(acting_as=SYSTEM):
            raise AssertionError


def test_connections_that_died_are_replaced_without_a_failed_request(app, alice, sql):
    alice.creates()
    for _ in range(3):
        killed = sql(
            "SELECT count(pg_terminate_backend(pid, 2000)) AS count FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = current_user"
            " AND pid <> pg_backend_pid()"
        )
        assert alice.get("/tasks").status_code == 200
        assert alice.post("/tasks", {"title": "a"}).status_code == 201
    assert killed


def test_a_connection_that_dies_under_a_statement_is_a_503(app, alice, sql):
    started = threading.Event()

    def kill():
        started.wait()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'active' AND query = 'SELECT pg_sleep(4)'"
            ):
                return

    killer = threading.Thread(target=kill)
    killer.start()
    started.set()
    with app.app_context(), pytest.raises(DatabaseUnavailable):
        execute(text("SELECT pg_sleep(4)"), acting_as=SYSTEM)
    killer.join()
    assert alice.get("/tasks").status_code == 200


@pytest.fixture
def one_connection(other_app):
    """An application that has a single connection."""
    app = other_app(threads=1)
    with app.app_context():
        yield app


def test_a_connection_in_a_failed_transaction_serves_nobody_else(one_connection):
    with pytest.raises(DivisionByZero):
        execute(text("BEGIN; SELECT 1 / 0"), acting_as=SYSTEM)

    assert execute(text("SELECT 1 AS one"), acting_as=SYSTEM) == [{"one": 1}]


def test_a_transaction_that_is_left_open_is_rolled_back_for_the_next(one_connection):
    execute(text("BEGIN; INSERT INTO users (id) VALUES ('open')"), acting_as=SYSTEM)

    assert execute(text("SELECT id FROM users"), acting_as=SYSTEM) == []


def test_a_rollback_that_is_cancelled_harms_nobody_else(one_connection, monkeypatch):
    cancelled = []
    send = Cursor.execute

    def cancel_rollbacks(cursor, query, values=None):
        if query == "ROLLBACK":
            cancelled.append(query)
            raise QueryCanceled
        send(cursor, query, values)

    monkeypatch.setattr(Cursor, "execute", cancel_rollbacks)
    with pytest.raises(DivisionByZero), transaction(acting_as=SYSTEM):
        execute(text("SELECT 1 / 0"), acting_as=SYSTEM)

    assert cancelled
    assert execute(text("SELECT 1 AS one"), acting_as=SYSTEM) == [{"one": 1}]


def test_sqlalchemys_own_connections_are_looked_at_as_well(one_connection):
    with db.engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        with pytest.raises(DivisionByZero):
            connection.execute(text("BEGIN; SELECT 1 / 0"))

    assert execute(text("SELECT 1 AS one"), acting_as=SYSTEM) == [{"one": 1}]


def test_an_idle_connection_is_kept(one_connection):
    pids = [execute(text("SELECT pg_backend_pid()"), acting_as=SYSTEM) for _ in range(3)]
    with pytest.raises(DivisionByZero):
        execute(text("SELECT 1 / 0"), acting_as=SYSTEM)

    assert [execute(text("SELECT pg_backend_pid()"), acting_as=SYSTEM)] * 3 == pids


def test_a_transaction_that_has_failed_is_not_taken_for_committed(one_connection):
    def hide_the_failure():
        with transaction(acting_as=SYSTEM):
            execute(text("INSERT INTO users (id) VALUES ('lost')"), acting_as=SYSTEM)
            with suppress(DivisionByZero):
                execute(text("SELECT 1 / 0"), acting_as=SYSTEM)

    with pytest.raises(RuntimeError, match="nothing of it was kept"):
        hide_the_failure()


def test_a_statement_that_takes_too_long_is_a_503(other_app):
    app = other_app(statement_timeout=0.1)

    with app.app_context(), pytest.raises(DatabaseUnavailable):
        execute(text("SELECT pg_sleep(10)"), acting_as=SYSTEM)


def test_a_lock_that_takes_too_long_is_a_503(other_app):
    app = other_app(lock_timeout=0.1)
    alice = register(app, "alice@example.com")
    task = alice.creates()

    with app.app_context(), transaction(acting_as=SYSTEM), ThreadPoolExecutor(1) as elsewhere:
        execute(text("SELECT * FROM users FOR UPDATE"), acting_as=SYSTEM)
        response = elsewhere.submit(alice.patch, f"/tasks/{task['id']}", {"title": "a"}).result()

    assert_problem(response, 503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"


def test_a_pool_that_is_used_up_is_a_503(other_app):
    app = other_app(threads=1, pool_timeout=0.1)
    alice = register(app, "alice@example.com")

    with app.app_context(), transaction(acting_as=SYSTEM), ThreadPoolExecutor(1) as elsewhere:
        response = elsewhere.submit(alice.get, "/tasks").result()

    assert_problem(response, 503, "busy")


def test_without_a_database_everything_but_data_is_answered(other_app):
    app = other_app(database_url="postgresql+psycopg2://nobody@127.0.0.1:9/nothing")
    client = app.test_client()

    assert client.get("/health/live").status_code == 200
    response = client.get("/health")
    assert response.status_code == 503
    assert response.json["status"] == "unhealthy"
    assert response.json["database"] == "disconnected"
    assert response.headers["Retry-After"]
    body = {"email": "alice@example.com", "password": "correct horse battery"}
    assert_problem(client.post("/auth/login", json=body), 503, "database_unavailable")
    assert_problem(client.post("/auth/register", json=body), 503, "database_unavailable")


@pytest.mark.parametrize(
    "hole",
    [
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_rows ON tasks; CREATE POLICY open ON tasks USING (true)",
        "CREATE POLICY open ON sessions FOR SELECT USING (true)",
        "GRANT CREATE ON SCHEMA public TO taskapi_user; ALTER TABLE tasks OWNER TO taskapi_user",
        "CREATE TABLE notes (user_id text)",
    ],
)
def test_without_isolation_no_data_is_served(other_app, new_database, hole):
    url = new_database("open")
    healthy = other_app(database_url=url)
    alice = register(healthy, "alice@example.com")
    alice.creates()
    with healthy.app_context():
        execute(text(hole), acting_as=SYSTEM)

    app = other_app(database_url=url)
    client = app.test_client()

    assert client.get("/health").status_code == 503
    response = client.post(
        "/auth/login", json={"email": "alice@example.com", "password": "correct horse battery"}
    )
    assert_problem(response, 503, "database_not_ready")


def test_while_the_database_is_prepared_the_others_are_asked_to_wait(other_app):
    app = other_app(pool_timeout=0.1)
    gate = app.extensions["taskapi.database"]

    with app.app_context(), gate._lock, pytest.raises(DatabaseNotReady):
        execute(text("SELECT 1"), acting_as=SYSTEM)
    with app.app_context():
        assert execute(text("SELECT 1 AS one"), acting_as=SYSTEM) == [{"one": 1}]


def test_without_migrating_on_start_an_empty_database_is_not_served(other_app):
    app = other_app(migrate_on_start=False)

    assert app.test_client().get("/health").status_code == 503


def test_the_limits_are_set_on_every_connection(app, sql):
    assert sql("SHOW statement_timeout") == [{"statement_timeout": "5s"}]
    assert sql("SHOW lock_timeout") == [{"lock_timeout": "3s"}]
    assert sql("SHOW timezone") == [{"TimeZone": "UTC"}]
    with app.app_context():
        assert "Pool size: 8 " in db.engine.pool.status()


def test_psycopg2_is_new_enough_for_what_is_asked_of_it():
    assert psycopg2.extensions.libpq_version() >= 140000


def test_a_server_that_is_gone_between_two_results_is_an_outage(alice, monkeypatch):
    def vanish(_cursor, _query, _values=None):
        raise psycopg2.DatabaseError("error with no message from the libpq")

    with monkeypatch.context() as patch:
        patch.setattr(Cursor, "execute", vanish)
        assert_problem(alice.get("/tasks"), 503, "database_unavailable")

    assert alice.get("/tasks").status_code == 200
