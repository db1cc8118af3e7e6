"""Databases that do not fit: what is overruled on each connection, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from psycopg2.sql import SQL, Identifier
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, ensure_ready, execute
from taskapi.exceptions import DatabaseNotReady
from tests.support.people import assert_problem, json_of, register
from tests.support.service import make_settings


@pytest.fixture
def serving():
    """Make the application on a database."""
    made = []

    def make(url, **settings):
        made.append(create_app(make_settings(database_url=url, **settings)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def altered(new_database):
    """Make a database with a setting of its own; return its URL."""

    def make(name, value):
        url = new_database("altered")
        run(url, "ALTER DATABASE {database} SET " + f"{name} = {value}")
        return url

    return make


def run(url, template):
    parsed = make_url(url).set(drivername="postgresql")
    connection = psycopg2.connect(parsed.render_as_string(hide_password=False))
    connection.autocommit = True
    try:
        statement = SQL(template).format(database=Identifier(str(parsed.database)))
        connection.cursor().execute(statement)
    except InsufficientPrivilege:
        pytest.skip("only a superuser can give a database this setting")
    finally:
        connection.close()


def refusal(app):
    """Return why an application does not serve."""
    with app.app_context(), pytest.raises(DatabaseNotReady) as refused:
        ensure_ready()
    assert app.test_client().get("/health").status_code == 503
    return str(refused.value.__cause__)


OVERRULED = [
    ("default_transaction_isolation", "serializable", "read committed"),
    ("default_transaction_isolation", "'repeatable read'", "read committed"),
    ("transform_null_equals", "on", "off"),
    ("array_nulls", "off", "on"),
    ("row_security", "off", "on"),
]


@pytest.mark.parametrize(("name", "value", "kept"), OVERRULED)
def test_a_setting_of_the_database_is_overruled(serving, altered, name, value, kept):
    app = serving(altered(name, value))

    alice = register(app, "alice@example.com")
    task = alice.creates("\\' é", description=None)

    assert json_of(alice.get("/tasks"))["tasks"] == [task]
    with app.app_context():
        shown = text("SELECT current_setting(:name) AS value")
        assert execute(shown, {"name": name}, acting_as=SYSTEM) == [{"value": kept}]


def test_parallel_writes_succeed_where_the_database_is_serializable(serving, altered):
    app = serving(altered("default_transaction_isolation", "serializable"))
    alice = register(app, "alice@example.com")
    path = f"/tasks/{alice.creates()['id']}"

    def write(number):
        return alice.patch(path, {"order": number}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(80))) == [200] * 80


REFUSED = [
    ("default_transaction_read_only", "on"),
    ("session_replication_role", "replica"),
    ("standard_conforming_strings", "off"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_setting_that_cannot_be_overruled_is_refused_with_its_mend(serving, altered, name, value):
    url = altered(name, value)

    said = refusal(serving(url))

    assert f"{name} is {value}" in said
    _, _, mend = said.partition("run: ")
    run(url, mend.removesuffix("."))
    assert serving(url).test_client().get("/health").status_code == 200


@pytest.mark.parametrize(("name", "value", "kept"), OVERRULED[1:])
def test_where_nothing_may_stay_on_a_connection_it_is_refused(serving, altered, name, value, kept):
    said = refusal(serving(altered(name, value), prepare_statements=False))

    assert f"{name} is {value.strip(chr(39))}; it must be {kept}" in said


def test_an_option_of_the_url_is_to_be_taken_out_there(serving, new_database):
    url = make_url(new_database("altered"))
    url = url.update_query_dict({"options": "-c default_transaction_read_only=on"})

    said = refusal(serving(url.render_as_string(hide_password=False)))

    assert "default_transaction_read_only is on" in said
    assert "take it out of DATABASE_URL" in said


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf8_is_refused(serving, new_database, encoding):
    url = new_database("encoded")
    other = make_url(url).set(database="template1").render_as_string(hide_password=False)
    name = make_url(url).database
    run(other, f"DROP DATABASE {name}")
    run(
        other,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C'"
        " LC_CTYPE 'C'" + (" LOCALE_PROVIDER libc" if version(url) >= 150000 else ""),
    )

    said = refusal(serving(url))

    assert f"is in {encoding}" in said
    assert "ENCODING 'UTF8'" in said


def version(url):
    other = make_url(url).set(drivername="postgresql", database="template1")
    connection = psycopg2.connect(other.render_as_string(hide_password=False))
    connection.close()
    return connection.server_version


def test_a_search_path_that_leads_nowhere_is_refused(serving, altered):
    said = refusal(serving(altered("search_path", "nowhere")))

    assert "search_path" in said
    assert "SET search_path = public" in said


def test_tables_that_would_be_made_a_second_time_elsewhere_are_noticed(serving, new_database):
    url = new_database("altered")
    alice = register(serving(url), "alice@example.com")
    alice.creates()
    run(url, "CREATE SCHEMA newer")
    run(url, "ALTER DATABASE {database} SET search_path = newer, public")

    said = refusal(serving(url))

    assert "newer" in said
    assert "SET search_path = public" in said
    login = {"email": "alice@example.com", "password": "correct horse battery"}
    answer = serving(url).test_client().post("/auth/login", json=login)
    assert_problem(answer, 503, "database_not_ready")


def test_another_schema_than_public_is_served(serving, new_database):
    url = new_database("altered")
    run(url, "CREATE SCHEMA ours")
    run(url, "ALTER DATABASE {database} SET search_path = ours, public")

    alice = register(serving(url), "alice@example.com")

    assert alice.creates()["title"] == "Buy milk"


@pytest.mark.parametrize(("name", "value"), [("search_path", "nowhere"), *REFUSED])
def test_the_doctor_says_what_does_not_fit(serving, altered, name, value):
    app = serving(altered(name, value))

    examined = app.test_cli_runner().invoke(args=["doctor"])

    assert examined.exit_code == 1
    [wrong] = [line for line in examined.output.splitlines() if line.startswith("WRONG")]
    assert wrong.startswith(f"WRONG database: {name} is {value}")


def test_the_doctor_says_that_what_was_answered_may_be_lost(serving, altered):
    app = serving(altered("synchronous_commit", "off"))

    examined = app.test_cli_runner().invoke(args=["doctor"])

    assert examined.exit_code == 1
    assert "WRONG durability: " in examined.output
    assert "synchronous_commit" in examined.output
