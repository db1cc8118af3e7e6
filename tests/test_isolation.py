"""No user reaches what is another's: by every route, and by the database alone."""

import re

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import event, text
from sqlalchemy.exc import ProgrammingError

from taskapi.database import Actor, execute
from taskapi.extensions import db
from taskapi.openapi import build_document
from tests.people import assert_problem


def operations(app):
    """Every operation that needs a token and takes an access token, with an example body."""
    for path, item in build_document(app)["paths"].items():
        for method, operation in item.items():
            if operation["security"] and operation["operationId"] != "auth_refresh":
                content = operation.get("requestBody", {}).get("content", {})
                body = content.get("application/json", {}).get("example")
                yield method.upper(), path, body


def everything_of(person):
    return person.get("/tasks?limit=200").json


@pytest.fixture(params=["with the queries' own conditions", "by row-level security alone"])
def walls(app, request):
    """Let the requests run as they are, and again without `WHERE user_id = …`."""
    if request.param.startswith("with"):
        yield
        return
    rewritten = []

    def forget_the_owner(_conn, _cursor, statement, parameters, context, _many):
        if not isinstance(context.execution_options["acting_as"], Actor):
            return statement, parameters
        statement, count = re.subn(
            r"\b(tasks\.user_id|sessions\.user_id|users\.id) = %\(\w+\)s(::\w+)?", "true", statement
        )
        assert count, statement
        rewritten.append(statement)
        return statement, parameters

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", forget_the_owner, retval=True)
    yield
    event.remove(engine, "before_cursor_execute", forget_the_owner)
    assert rewritten


def test_no_operation_shows_or_changes_what_is_somebody_elses(app, alice, bob, walls):
    tasks = [alice.creates(f"Secret {number}", description="Secret") for number in range(3)]
    before = everything_of(alice)

    called = 0
    for method, path, body in operations(app):
        url = path.format(task_id=tasks[1]["id"])
        if path == "/auth/logout":
            continue  # Bob goes on; what it does is asserted below.
        response = bob.call(method, url, body)
        called += 1
        assert "Secret" not in response.text, (method, path)
        assert alice.id not in response.text, (method, path)
        if "{task_id}" in path:
            assert_problem(response, 404, "task_not_found")

    assert called >= 8
    assert bob.post("/auth/logout").status_code == 204
    assert everything_of(alice) == before
    assert alice.get("/auth/me").json["id"] == alice.id


def test_no_operation_answers_without_a_token(app, client, alice):
    task = alice.creates("Secret")
    before = everything_of(alice)

    for method, path, body in operations(app):
        response = client.open(path.format(task_id=task["id"]), method=method, json=body)
        assert_problem(response, 401, "token_missing")

    assert everything_of(alice) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tasks (user_id, id, title, version)"
        " VALUES (:other, gen_random_uuid(), 'a', 1)",
        "UPDATE tasks SET user_id = :other",
        "SELECT password_hash FROM users",
        "SELECT refresh_id FROM sessions",
        "UPDATE users SET email = 'eve@example.com'",
        "UPDATE sessions SET user_id = :other",
        "DELETE FROM users",
        "INSERT INTO users (id) VALUES ('eve')",
        "CREATE TABLE loot (id int)",
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "SELECT * FROM alembic_version",
    ],
)
def test_the_database_refuses_what_no_request_asks_for(app, alice, bob, statement):
    bob.creates()
    with app.app_context(), pytest.raises(ProgrammingError) as refusal:
        execute(text(statement), {"other": alice.id}, acting_as=bob.actor)

    assert isinstance(refusal.value.orig, InsufficientPrivilege)


@pytest.mark.parametrize("table", ["tasks", "users", "sessions"])
def test_a_forgotten_condition_shows_and_changes_own_rows_only(app, alice, bob, sql, table):
    alice.creates()
    bob.creates()
    owner = "id" if table == "users" else "user_id"
    with app.app_context():
        rows = execute(text(f"SELECT {owner} AS owner FROM {table}"), acting_as=bob.actor)
        if table == "tasks":
            execute(text("DELETE FROM tasks"), acting_as=bob.actor)

    assert [row["owner"] for row in rows] == [bob.id]
    assert len(sql(f"SELECT {owner} FROM {table}")) == (1 if table == "tasks" else 2)


def test_nobody_is_nobody(app, alice, sql):
    alice.creates()

    assert sql("SET LOCAL ROLE taskapi_user; SELECT * FROM tasks") == []
    assert (
        sql("SET LOCAL ROLE taskapi_user; SET LOCAL taskapi.user_id = ''; SELECT * FROM tasks")
        == []
    )
    assert len(sql("SELECT * FROM tasks")) == 1


def test_every_table_with_an_owner_is_protected(sql):
    tables = sql("""
        SELECT relname, relrowsecurity FROM pg_class
         WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
           AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid
                        AND attname = 'user_id' AND NOT attisdropped)
    """)

    assert {table["relname"] for table in tables} >= {"tasks", "sessions"}
    assert all(table["relrowsecurity"] for table in tables)
