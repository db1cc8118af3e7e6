"""DATABASE_URL: what psql takes is taken, and what cannot connect is refused by name."""

from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, execute
from taskapi.settings import Settings, SettingsError
from tests.support.people import register
from tests.support.service import make_settings, run_cli
from tests.support.wire import tapped


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read DATABASE_URL as the service does; return it as the engine takes it."""

    def read(url):
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("JWT_SECRET_KEY", "k" * 32)
        return Settings.from_environment(str(tmp_path / ".env")).database_url

    return read


@pytest.fixture
def refusal(read):
    """Return what is said of a DATABASE_URL that is refused."""

    def refusal(url):
        with pytest.raises(SettingsError) as refused:
            read(url)
        [line] = str(refused.value).splitlines()
        assert line.startswith("DATABASE_URL: ")
        return line

    return refusal


def handed_to_libpq(url):
    app = create_app(make_settings(database_url=url))
    with app.app_context():
        _, parameters = db.engine.dialect.create_connect_args(db.engine.url)
    return {name: str(value) for name, value in parameters.items()}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:password@localhost:5432/tasks",
        "postgres://user@localhost/tasks",
        "postgresql:///tasks",
        "postgresql://localhost",
        "postgresql://user@/tasks?host=/var/run/postgresql",
        "postgresql://user@/tasks?host=/var/run/postgresql&port=5433",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/tasks",
        "postgresql://user:password@%2Fvar%2Frun%2Fpostgresql:5433/tasks?application_name=a",
        "postgresql://user:password@h1:5432,h2:5433/tasks",
        "postgresql://user@h1,h2/tasks?target_session_attrs=read-write",
        "postgresql://user@h1:5432,h2/tasks?load_balance_hosts=disable",
        "postgresql://user@[::1]:5432/tasks",
        "postgresql://user@[::1]:5432,[2001:db8::1]:5433,h3/tasks",
        "postgresql://user@/tasks?host=h1,h2&port=5432,5433",
        "postgresql://u%40corp:p%40s%2Fs%3A%23%3F%25%20w@host/my%20tasks",
        "postgresql://user:a?b#c&d=e@host/tasks",
        "postgresql://host/tasks?options=-c%20search_path%3Dours&sslmode=verify-full&sslrootcert=/c",
        "postgresql://host/tasks?user=user&password=a%2Bb+c&connect_timeout=5&keepalives_idle=9",
    ],
)
def test_what_psql_takes_means_the_same_here(read, url):
    assert handed_to_libpq(read(url)) == parse_dsn(url.replace("postgres://", "postgresql://"))


def test_one_port_is_that_of_all_hosts(read):
    handed = handed_to_libpq(read("postgresql:///tasks?host=h1,h2&port=5433"))

    assert (handed["host"], handed["port"]) == ("h1,h2", "5433,5433")


@pytest.fixture
def serving(read):
    """Serve on a DATABASE_URL; return what the application answers about its connection."""
    made = []

    def make(url):
        made.append(create_app(make_settings(database_url=read(url), threads=1)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


def test_the_second_host_serves_while_the_first_is_away(serving, new_database):
    with tapped(new_database("url")) as wire:
        url = make_url(wire.url)
        hosts = f"{url.username}@127.0.0.1:9,127.0.0.1:{url.port}"
        options = "sslmode=disable&target_session_attrs=read-write"
        app = serving(f"postgresql://{hosts}/{url.database}?{options}")

        alice = register(app, "alice@example.com")

        assert alice.creates()["title"] == "Buy milk"
        assert wire.messages
        with app.app_context():
            db.engine.dispose()


def test_a_socket_directory_in_the_place_of_the_host_serves(serving, new_database):
    url = make_url(new_database("url"))
    directory = url.query.get("host")
    if directory is None:
        pytest.skip("the server that was given does not listen on a socket")
    app = serving(f"postgresql://{url.username}@{quote(str(directory), safe='')}/{url.database}")

    assert app.test_client().get("/health").status_code == 200


def test_what_the_url_says_of_the_connection_wins(serving, new_database):
    url = make_url(new_database("url")).update_query_dict(
        {"connect_timeout": "7", "application_name": "ours", "keepalives_idle": "11"}
    )
    app = serving(url.set(drivername="postgresql").render_as_string(hide_password=False))

    with app.app_context():
        shown = text("SELECT current_setting('application_name') AS name")
        assert execute(shown, acting_as=SYSTEM) == [{"name": "ours"}]
        with db.engine.connect() as connection:
            driver_connection: Any = connection.connection.driver_connection
            parameters = driver_connection.info.dsn_parameters

    assert parameters["connect_timeout"] == "7"
    assert parameters["keepalives_idle"] == "11"
    assert parameters["tcp_user_timeout"] == "10000"


def test_the_encoding_of_the_connection_is_not_the_urls(serving, new_database):
    url = make_url(new_database("url")).update_query_dict({"client_encoding": "latin1"})
    app = serving(url.set(drivername="postgresql").render_as_string(hide_password=False))

    alice = register(app, "alice@example.com")

    assert alice.creates("🥛")["title"] == "🥛"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://h/d?sslmode=no-verify", ["sslmode", "verify-full", "require"]),
        ("postgresql://h/d?sslmode=", ["sslmode"]),
        ("postgresql://h/d?target_session_attrs=rw", ["target_session_attrs", "read-write"]),
        ("postgresql://h/d?connect_timeout=5s", ["connect_timeout", "number"]),
        ("postgresql://h/d?pgbouncer=true&schema=public", ["pgbouncer", "PREPARE_STATEMENTS=no"]),
        ("postgresql://h/d?schema=public", ["schema", "search_path"]),
        ("postgresql://h/d?connection_limit=5", ["connection_limit", "THREADS"]),
        ("postgresql://h/d?sslmode=require&colour=red", ["option", "number 2"]),
        ("postgresql://h/d\n", ["line break"]),
        (" postgresql://h/d", ["white space"]),
        ("postgresql://h/d ?sslmode=require", ["white space"]),
        ("postgresql+asyncpg://h/d", ["postgresql://", "driver"]),
        ("jdbc:postgresql://h/d", ["postgresql://"]),
        ("mysql://h/d", ["postgresql://"]),
        ("postgresql://h:http/d", ["port"]),
        ("postgresql://h:0/d", ["port"]),
        ("postgresql://h1:1,h2:2,h3/d?port=5432,5433", ["port", "host"]),
    ],
)
def test_what_cannot_connect_is_refused_by_name(refusal, url, named):
    line = refusal(url)

    assert [word for word in named if word not in line] == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter@2/secret@host:5432/d",
        "postgresql://user:hunter@secret@host:5432/d",
        "postgresql://user:hunter/secret@host:5432/d",
        "postgresql://user:1234/secret@host:5432/d",
        "postgresql://user:hunter%zzsecret@host/d",
        "postgresql://user:hunter secret@host/d",
        "postgresql://user@corp:hunter@secret/d",
        "postgresql://user/hunter?secret=1@host/d",
        "postgresql://user:hunter:secret@[host/d",
        "postgresql://user:hunter,secret@[host/d",
        "user:hunter@secret/d",
        "postgresql:/user:hunter@secret/d",
        "postgresql//user:hunter@secret/d",
        "DATABASE_URL=postgresql://user:hunter@secret/d",
        "postgresql://user:x@host/d?password=hunter&secret",
        "postgresql://user:x@host/d?hunter=secret",
        "postgresql://user:x@host/d?sslmode=hunter-secret",
    ],
)
def test_no_part_of_a_mistyped_password_is_told(refusal, url):
    line = refusal(url)

    assert "hunter" not in line
    assert "secret" not in line


def test_a_password_that_must_be_escaped_is_told_how(refusal):
    assert "%40" in refusal("postgresql://user:p@ss@host/d")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hunter:2@{address}/{database}?sslmode=disable",
        "postgresql://%22hunter%22:2@{address}/{database}?sslmode=disable",
        "postgresql://{user}@{address}/hunter?sslmode=disable",
        "postgresql://{user}@hunter.invalid/{database}?connect_timeout=2",
    ],
)
def test_what_is_in_the_wrong_place_is_not_logged(new_database, url):
    with tapped(new_database("url")) as wire:
        parsed = make_url(wire.url)
        url = url.format(
            address=f"127.0.0.1:{parsed.port}", user=parsed.username, database=parsed.database
        )
        with pytest.raises(psycopg2.OperationalError, match="hunter"):
            psycopg2.connect(url)

        started = run_cli("--migrate-only", DATABASE_URL=url, JWT_SECRET_KEY="k" * 32)

    assert started.returncode == 1
    assert "taskapi cannot start" in started.stderr
    assert "hunter" not in started.stdout + started.stderr


def test_neither_is_it_told_by_a_command(new_database, serving):
    with tapped(new_database("url")) as wire:
        parsed = make_url(wire.url)
        address = f"hunter:2@127.0.0.1:{parsed.port}/{parsed.database}?sslmode=disable"
        app = serving(f"postgresql://{address}")

        said = [app.test_cli_runner().invoke(args=[name]).output for name in ("doctor", "purge")]

    assert [output for output in said if "hunter" in output or "failed" not in output] == []
