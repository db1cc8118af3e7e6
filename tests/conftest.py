"""A migrated PostgreSQL for every process of the tests, and the people who appear in them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress

import psycopg2
import pytest
from flask import Flask
from psycopg2.errors import InsufficientPrivilege
from psycopg2.sql import SQL, Identifier
from sqlalchemy import make_url, text

from taskapi import create_app, devdb
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, execute
from tests.support.people import Person, register
from tests.support.service import make_settings


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer() -> None:
    """The tests mean the defaults, whatever the shell that runs them has set."""
    for name in ("DATABASE_URL", "HOST", "PORT", "JWT_SECRET_KEY", "CORS_ORIGINS", "LOG_FORMAT"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The PostgreSQL server: the embedded one, or that of TEST_DATABASE_URL."""
    given = os.environ.get("TEST_DATABASE_URL")
    directory = tmp_path_factory.mktemp("postgres") / "data"
    with nullcontext(given) if given else devdb.running(directory) as url:
        yield url


@pytest.fixture(scope="session")
def new_database(server_url, worker_id):
    """Make an empty database of a given name and return its URL; it goes with the tests."""
    url = make_url(server_url)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    made = []

    def command(template: str, name: str) -> None:
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(SQL(template).format(Identifier(name)))

    def drop(name: str) -> None:
        for _ in range(20):
            # A role that is no superuser may not end a worker of the autovacuum, which ends soon.
            with suppress(InsufficientPrivilege):
                return command("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            time.sleep(0.5)
        raise AssertionError(f"{name} cannot be dropped")

    def make(purpose: str) -> str:
        name = f"taskapi_test_{worker_id}_{purpose}"
        drop(name)
        command("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", name)
        made.append(name)
        return url.set(drivername="postgresql+psycopg2", database=name).render_as_string(
            hide_password=False
        )

    yield make
    for name in made:
        drop(name)


@pytest.fixture(scope="session")
def shared_app(new_database) -> Iterator[Flask]:
    app = create_app(make_settings(database_url=new_database("shared")))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The application on an empty, migrated database."""
    with shared_app.app_context():
        execute(text("TRUNCATE users, login_attempts CASCADE"), acting_as=SYSTEM)
    return shared_app


@pytest.fixture
def variant(app: Flask):
    """Make the application on the same database with other settings."""
    made = []

    def make(**settings: object) -> Flask:
        url = app.config["SQLALCHEMY_DATABASE_URI"]
        made.append(create_app(make_settings(database_url=url, **settings)))
        return made[-1]

    yield make
    for one in made:
        with one.app_context():
            db.engine.dispose()


@pytest.fixture
def sql(app: Flask):
    """Run a statement as the service itself, past the API."""

    def run(statement: str, **parameters: object) -> list[dict[str, object]]:
        with app.app_context():
            return execute(text(statement), parameters, acting_as=SYSTEM)

    return run


@pytest.fixture
def client(app: Flask):
    """A client that nobody has logged in with."""
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> Person:
    """Alice owns what the tests are about."""
    return register(app, "alice@example.com", "Alice")


@pytest.fixture
def bob(app: Flask) -> Person:
    """Bob must see nothing of Alice's."""
    return register(app, "bob@example.com", "Bob")
