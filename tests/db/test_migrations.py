"""The schema: up, down, and never apart from the models."""

import re
from concurrent.futures import ThreadPoolExecutor

import flask_migrate
import psycopg2
import pytest
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, ensure_ready, execute
from taskapi.exceptions import DatabaseNotReady
from taskapi.tasks.words import fold
from tests.support.people import assert_problem, register
from tests.support.service import ROOT, make_settings, run_cli

OBJECTS = text("""
    SELECT 'table' AS kind, relname::text AS name FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'column', concat_ws(
        '.', table_name, column_name, data_type, character_maximum_length)
      FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    UNION ALL SELECT 'function', proname FROM pg_proc
     WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'policy', concat_ws('.', tablename, policyname, qual, with_check)
      FROM pg_policies
     ORDER BY 1, 2
""")


@pytest.fixture
def fresh(new_database):
    """An application on a database that nothing has migrated."""
    url = new_database("migrations")
    app = create_app(make_settings(database_url=url, migrate_on_start=False))
    with app.app_context():
        yield app
        db.engine.dispose()


def objects():
    with db.engine.connect() as connection:
        return connection.execute(OBJECTS, execution_options={"acting_as": SYSTEM}).all()


def revision():
    return execute(text("SELECT version_num FROM alembic_version"), acting_as=SYSTEM)


def test_every_migration_goes_up_down_and_up_again(fresh):
    flask_migrate.upgrade()
    migrated = objects()

    flask_migrate.downgrade(revision="base")
    assert objects() == [("table", "alembic_version")]

    flask_migrate.upgrade()
    assert objects() == migrated
    assert ("table", "tasks") in migrated


def test_each_step_down_can_be_gone_up_again(fresh):
    flask_migrate.upgrade()
    migrated = [*objects(), *revision()]

    flask_migrate.downgrade(revision="-1")
    assert [*objects(), *revision()] != migrated
    flask_migrate.upgrade()

    assert [*objects(), *revision()] == migrated


def test_models_and_migrations_say_the_same(fresh):
    flask_migrate.upgrade()

    flask_migrate.check()


def test_a_table_of_another_program_is_not_ours_to_drop(fresh):
    flask_migrate.upgrade()
    with db.engine.connect() as connection:
        connection.execute(
            text("CREATE TABLE theirs (id int)"), execution_options={"acting_as": SYSTEM}
        )

    flask_migrate.check()


def test_several_processes_that_start_at_once_migrate_once(new_database):
    settings = {"DATABASE_URL": new_database("race"), "JWT_SECRET_KEY": "k" * 32}

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: run_cli("--migrate-only", **settings), range(4)))

    assert [run.returncode for run in runs] == [0, 0, 0, 0], runs
    app = create_app(make_settings(database_url=settings["DATABASE_URL"]))
    with app.app_context():
        rows = execute(text("SELECT version_num FROM alembic_version"), acting_as=SYSTEM)
        db.engine.dispose()
    assert len(rows) == 1


@pytest.mark.parametrize("table", ["tasks", "trash"])
def test_the_words_of_tasks_that_are_there_are_made_anew(fresh, table):
    titles = [
        *("Buy milk", "Crème brûlée", "תל\u05beאביב", "sof\u00adtware", "दूध खरीदें", "買牛奶 🥛"),
        *("ซื้อนม", "😀" * 500, "\u0345" * 400, "한국어", "½ l"),
    ]
    flask_migrate.upgrade(revision="0012")
    execute(text("INSERT INTO users (id) VALUES ('ada')"), acting_as=SYSTEM)
    deleted_at = ", deleted_at" if table == "trash" else ""
    insert = text(f"""
        INSERT INTO {table} (user_id, id, title, description, title_words, version{deleted_at})
        SELECT 'ada', gen_random_uuid(), title, title || ' é', 'as it was', row_number() OVER ()
               {", now()" if deleted_at else ""}
          FROM unnest(CAST(:titles AS text[])) AS title
    """)
    execute(insert, {"titles": titles * 200}, acting_as=SYSTEM)

    flask_migrate.upgrade(revision="0013")

    select = text(f"SELECT DISTINCT title, title_words, description_words FROM {table}")
    rows = execute(select, acting_as=SYSTEM)
    assert {row["title"] for row in rows} == set(titles)
    for row in rows:
        assert row["title_words"] == fold(row["title"])
        assert row["description_words"] == fold(f"{row['title']} é")


def test_an_older_release_lives_with_a_newer_schema(new_database):
    url = new_database("newer")
    first = create_app(make_settings(database_url=url))
    with first.app_context():
        ensure_ready()
        execute(text("UPDATE alembic_version SET version_num = '9999'"), acting_as=SYSTEM)
        db.engine.dispose()

    app = create_app(make_settings(database_url=url))

    alice = register(app, "alice@example.com")
    assert alice.creates()["title"] == "Buy milk"
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def owner(new_database, server_url):
    """An ordinary role that owns a database and may not create roles."""
    url = make_url(new_database("owned"))
    admin = psycopg2.connect(
        make_url(server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    admin.autocommit = True
    cursor = admin.cursor()
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper")
    if not cursor.fetchone():
        admin.close()
        pytest.skip("only a superuser can make the roles that this test is about")
    name = f"owner_of_{url.database}"
    cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    cursor.execute(f"ALTER DATABASE {url.database} OWNER TO {name}")
    owned = url.set(username=name, password="secret").render_as_string(hide_password=False)
    yield name, owned, cursor, admin.server_version
    cursor.execute(f"REVOKE taskapi_user FROM {name} CASCADE")
    cursor.execute(f"DROP DATABASE {url.database} WITH (FORCE)")
    cursor.execute(f"DROP ROLE {name}")
    admin.close()


def test_an_ordinary_owner_role_serves_and_is_bound_to_ask_an_administrator_first(owner, app):
    name, url, cursor, _ = owner
    ordinary = create_app(make_settings(database_url=url))

    with ordinary.app_context():
        with pytest.raises(DatabaseNotReady) as refusal:
            ensure_ready()
        advice = str(refusal.value.__cause__)
        assert f"GRANT taskapi_user TO {name};" in advice
        assert "CREATE ROLE" not in advice  # It is there already: another database has made it.

        cursor.execute(f"GRANT taskapi_user TO {name}")
        ensure_ready()

    alice = register(ordinary, "alice@example.com")
    bob = register(ordinary, "bob@example.com")
    task = alice.creates()
    assert alice.patch(f"/tasks/{task['id']}", {"title": "a"}).status_code == 200
    assert_problem(bob.get(f"/tasks/{task['id']}"), 404, "task_not_found")
    with ordinary.app_context():
        db.engine.dispose()


def test_a_role_that_may_create_roles_needs_nobody(owner):
    name, url, cursor, version = owner
    cursor.execute(f"ALTER ROLE {name} CREATEROLE")
    if version >= 160000:
        # From 16 on it may grant only the roles that it made or administers.
        cursor.execute(f"GRANT taskapi_user TO {name} WITH ADMIN TRUE, SET FALSE, INHERIT FALSE")
    app = create_app(make_settings(database_url=url))

    with app.app_context():
        ensure_ready()
        db.engine.dispose()


def test_no_migration_runs_code_of_the_service():
    """The service's code changes; what a migration has done does not."""
    files = sorted((ROOT / "migrations" / "versions").glob("*.py"))
    imported = {
        file.name: re.findall(r"^\s*(?:from|import) taskapi\b.*", file.read_text(), re.MULTILINE)
        for file in files
    }

    assert {name for name, lines in imported.items() if lines} == set()
    assert len(files) > 10
