"""The index that contract B finds another user's task by: made once, at the start."""

import re
import threading
from contextlib import ExitStack

import pytest
from flask import Flask

from taskapi.db import readiness
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM
from taskapi.exceptions import DatabaseNotReady
from tests.support.contracts import application


@pytest.fixture
def new_app(new_database):
    """Make applications on an empty database of their own."""
    url = new_database("contracts")
    with ExitStack() as stack:

        def make(contract: str = "b", **settings) -> Flask:
            return stack.enter_context(application(url, contract, **settings))

        yield make


def prepare(app: Flask) -> None:
    with app.app_context():
        readiness.migrate_and_verify(db.engine)


def index_of(app: Flask):
    with app.app_context(), db.engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        return connection.exec_driver_sql("SELECT to_regclass('ix_tasks_id')::oid").scalar()


def test_the_index_by_id_is_made_once_and_for_contract_b_alone(new_app):
    native = new_app("native")
    prepare(native)
    assert index_of(native) is None

    prepare(new_app())
    made = index_of(native)
    prepare(new_app())

    assert made is not None
    assert index_of(native) == made


def test_services_that_start_together_make_one_index(new_app):
    prepare(new_app("native"))
    apps = [new_app() for _ in range(4)]
    threads = [threading.Thread(target=prepare, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert index_of(apps[0])


def test_without_leave_to_migrate_the_service_names_the_statement_to_run(new_app):
    prepare(new_app("native"))
    app = new_app(migrate_on_start=False)

    with pytest.raises(DatabaseNotReady) as refusal:
        prepare(app)

    [statement] = re.findall(r"CREATE INDEX.*;", str(refusal.value.__cause__))
    with app.app_context(), db.engine.begin() as connection:
        connection.execution_options(acting_as=SYSTEM)
        connection.exec_driver_sql(statement)
    prepare(app)
    assert app.test_client().get("/health").status_code == 200
