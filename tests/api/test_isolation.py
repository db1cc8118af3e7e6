"""No user reaches what is another's: by every route, and by the database alone."""

import itertools
import re
import secrets

import orjson
import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import text

from taskapi.db import execute as sending
from taskapi.db import prepared
from taskapi.db.execute import execute
from taskapi.db.prepared import Statement
from taskapi.openapi import build_document
from taskapi.tasks.schemas import EXAMPLE_ANCHOR, EXAMPLE_ID
from tests.support.people import Caller, assert_refused, outsider, register


def operations(app):
    """Every operation that is about somebody's own, with an example body."""
    for path, item in build_document(app)["paths"].items():
        for method, operation in item.items():
            if operation["operationId"] == "auth_refresh":
                continue  # It takes no access token, and its own test is about whose it is.
            if {} in operation["security"]:
                continue  # It answers with a token or without, and of nobody's tasks.
            if operation["security"] or "{user_id}" in path:
                content = operation.get("requestBody", {}).get("content", {})
                body = content.get("application/json", {}).get("example")
                yield method.upper(), path, body


class Mode:
    """A way of knowing who asks: the application, and how somebody comes to be known."""

    def __init__(self, name, app):
        self.name = name
        self.app = app
        self.names = (f"user-{number}" for number in itertools.count())

    def newcomer(self):
        name = next(self.names)
        if self.name in ("local", "contract b"):
            return register(self.app, f"{name}@example.com")
        if self.name in ("external", "contract c"):
            return outsider(self.app, self.app.config["SECRET_OF_TEST"], name)
        return Caller(self.app.test_client(), name, None)

    def assert_refused(self, response, status, code):
        return assert_refused(self.app.config["CONTRACT"], response, status, code)


@pytest.fixture(params=["local", "external", "path", "contract b", "contract c"])
def mode(app, variant, request):
    if request.param == "local":
        return Mode("local", app)
    if request.param == "contract b":
        return Mode(request.param, variant(contract="b"))
    secret = secrets.token_urlsafe(48)
    is_c = request.param == "contract c"
    other = variant(
        contract="c" if is_c else "native",
        auth_mode="external" if is_c else request.param,
        external_jwt_secret=secret,
    )
    other.config["SECRET_OF_TEST"] = secret
    return Mode(request.param, other)


@pytest.fixture(params=["with the queries' own conditions", "by row-level security alone"])
def walls(mode, request, monkeypatch):
    """Let the requests run as they are, and again without `WHERE user_id = …`."""
    if request.param.startswith("with"):
        yield
        return
    rewritten = {}
    send = sending._send

    def forget_the_owner(cursor, statement, parameters=None, preamble=sending._NO_PREAMBLE):
        if "SET LOCAL ROLE taskapi_user" in preamble.sql:
            if statement not in rewritten:
                rewritten[statement] = without_owner(statement)
            statement = rewritten[statement]
        return send(cursor, statement, parameters, preamble)

    monkeypatch.setattr(sending, "_send", forget_the_owner)
    # Plans are kept for whoever uses the connection next: each from its first use on.
    monkeypatch.setattr(prepared, "PREPARE_THRESHOLD", 1)
    yield
    assert rewritten


def without_owner(statement):
    owner = r"\b(\w+\.user_id|users\.id) = %\(\w+\)s(::\w+)?"
    text, count = re.subn(owner, "true", statement.text)
    # An owner who is made by their first task is inserted, and sought by nothing.
    # And what only asks whether a session lives is about no rows.
    assert count or "ON CONFLICT" in text or text == "SELECT 1", text
    return Statement(text, statement.values, statement.types)


def everything(sql):
    return [
        sql(f"SELECT * FROM {table} ORDER BY user_id, id")
        for table in ("tasks", "trash", "tombstones", "sessions")
    ]


def test_no_operation_shows_or_changes_what_is_somebody_elses(mode, walls, sql):
    alice = mode.newcomer()
    tasks = [alice.creates_by_path(f"Secret {n}", description="Secret") for n in range(4)]
    trashed = tasks.pop()
    assert alice.delete(f"{alice.path}/{trashed['id']}").status_code == 204
    ids = {"task_id": tasks[1]["id"], "session_id": getattr(alice, "session_id", "")}

    called = 0
    for method, path, body in operations(mode.app):
        before = everything(sql)
        bob = mode.newcomer()  # Anew: some of it ends his session, or him.
        if path.startswith("/trash"):
            ids["task_id"] = trashed["id"]
        # Whatever task the body is about is hers as well.
        content = orjson.dumps(body).decode().replace(EXAMPLE_ID, ids["task_id"])
        content = content.replace(EXAMPLE_ANCHOR, tasks[0]["id"])
        said = {"data": content, "content_type": "application/json"} if body else {}
        response = bob.call(method, path.format(user_id=bob.id, **ids), **said)
        called += 1
        assert "Secret" not in response.text, (method, path)
        assert alice.id not in response.text, (method, path)
        if "{task_id}" in path:
            is_forbidden = mode.name == "contract b" and path.startswith("/tasks")
            expected = (403, "task_forbidden") if is_forbidden else (404, "task_not_found")
            mode.assert_refused(response, *expected)
        if path == "/tasks/batch":
            assert [result["status"] for result in response.json["results"]] == [201, 404]
        if "{session_id}" in path:
            mode.assert_refused(response, 404, "session_not_found")
        if "{user_id}" in path and mode.name != "path":
            response = bob.call(method, path.format(user_id=alice.id, **ids), body)
            mode.assert_refused(response, 403, "user_mismatch")
        of_alice = [[row for row in rows if row["user_id"] == alice.id] for rows in before]
        left = [[row for row in rows if row["user_id"] == alice.id] for rows in everything(sql)]
        assert left == of_alice, (method, path)

    assert (
        called
        >= {"local": 29, "external": 23, "path": 6, "contract b": 28, "contract c": 23}[mode.name]
    )
    assert alice.get(alice.path).json == tasks[::-1]


@pytest.mark.parametrize("mode", ["local", "external", "contract b", "contract c"], indirect=True)
def test_no_operation_answers_without_a_token(mode, sql):
    alice = mode.newcomer()
    task = alice.creates_by_path("Secret")
    before = everything(sql)
    ids = {"task_id": task["id"], "session_id": task["id"]}

    for method, path, body in operations(mode.app):
        url = path.format(user_id=alice.id, **ids)
        response = mode.app.test_client().open(url, method=method, json=body)
        mode.assert_refused(response, 401, "token_missing")

    assert everything(sql) == before


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
        "UPDATE sessions SET revoked_at = NULL",
        "DELETE FROM users",
        "INSERT INTO users (id, change_seq) VALUES ('eve', 1)",
        "INSERT INTO users (id, email) VALUES (:other, 'eve@example.com')",
        "SELECT * FROM login_attempts",
        "DELETE FROM login_attempts",
        "SELECT address FROM sessions",
        "CREATE TABLE loot (id int)",
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "SELECT * FROM alembic_version",
        "INSERT INTO idempotency_keys SELECT :other, 'k', '', 200, '{}', '', now()",
        "INSERT INTO trash (user_id, id, title, version, deleted_at)"
        " VALUES (:other, gen_random_uuid(), 'a', 1, now())",
        "INSERT INTO tombstones VALUES (:other, gen_random_uuid(), 1, now())",
        "UPDATE users SET feed_floor = 0",
    ],
)
def test_the_database_refuses_what_no_request_asks_for(app, alice, bob, statement):
    bob.creates()
    with app.app_context(), pytest.raises(InsufficientPrivilege):
        execute(text(statement), {"other": alice.id}, acting_as=bob.actor)


@pytest.mark.parametrize("table", ["tasks", "trash", "tombstones", "users", "sessions"])
def test_a_forgotten_condition_shows_and_changes_own_rows_only(app, alice, bob, sql, table):
    for person in (alice, bob):
        person.creates()
        assert person.delete(f"/tasks/{person.creates()['id']}").status_code == 204
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
