"""Which statements are prepared on a connection, under which names, and how many."""

import pytest
from psycopg2.errors import UndefinedTable
from sqlalchemy import Integer, MetaData, Table, Text, bindparam, literal_column, select, text

from taskapi import create_app
from taskapi.db import prepared as prepared_statements
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, execute, transaction
from taskapi.db.prepared import PREPARE_THRESHOLD
from tests.support.service import make_settings


@pytest.fixture(scope="module")
def one_connection(new_database):
    """An application with a single connection, on a database of its own."""
    app = create_app(make_settings(database_url=new_database("prepared"), threads=1))
    with app.app_context():
        yield app
        db.engine.dispose()


@pytest.fixture(autouse=True)
def _new_connection(one_connection):
    db.engine.dispose()


def run(statement, times=1, **values):
    """Run a statement so often; return what it answered last."""
    for _ in range(times):
        rows = execute(statement, values, acting_as=SYSTEM)
    return rows


def adding(number, kind=Integer):
    """Make a new expression; that of one number is always the same."""
    one = bindparam("one", type_=kind())
    return select(one.label("one"), literal_column(str(number)).label("number"))


def prepared():
    """Name what is prepared on the connection, in the order in which it was."""
    statement = text("SELECT name FROM pg_prepared_statements ORDER BY prepare_time")
    return [row["name"] for row in execute(statement, acting_as=SYSTEM)]


def test_a_frequent_statement_is_prepared_once():
    statement = adding(1)

    assert run(statement, PREPARE_THRESHOLD + 5, one=7) == [{"one": 7, "number": 1}]

    assert len(prepared()) == 1


def test_a_statement_that_is_made_anew_has_the_name_it_had():
    for _ in range(3):
        assert run(adding(1), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 1}]

    assert len(prepared()) == 1


def test_a_statement_of_another_text_has_another_name():
    assert run(adding(1), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 1}]
    assert run(adding(2), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 2}]

    assert len(prepared()) == 2


def test_a_statement_of_other_types_has_another_name():
    assert run(adding(1), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 1}]
    assert run(adding(1, Text), PREPARE_THRESHOLD, one="7") == [{"one": "7", "number": 1}]

    assert len(prepared()) == 2


def test_a_connection_keeps_as_many_as_are_allowed_and_the_least_used_goes(monkeypatch):
    monkeypatch.setattr(prepared_statements, "MAX_PREPARED_STATEMENTS", 3)
    for number in range(3):
        run(adding(number), PREPARE_THRESHOLD, one=1)
    first, second, third = prepared()
    run(adding(0), one=1)

    assert run(adding(3), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 3}]

    assert len(prepared()) == 3
    assert {first, third} < set(prepared())
    assert second not in prepared()
    assert run(adding(1), PREPARE_THRESHOLD, one=7) == [{"one": 7, "number": 1}]
    assert second in prepared()


def test_the_shapes_of_lists_fit_on_a_connection_however_many_there_are():
    for number in range(250):
        run(adding(number), PREPARE_THRESHOLD, one=1)

    assert len(prepared()) == 100


@pytest.fixture
def prepared_by_another(one_connection):
    """Prepare a statement on the connection without the service knowing of it."""
    statement = adding(1)
    run(statement, PREPARE_THRESHOLD, one=7)
    [name] = prepared()
    db.engine.dispose()
    execute(text(f"PREPARE {name}(integer) AS SELECT $1 AS one, 1 AS number"), acting_as=SYSTEM)
    return name


def test_what_is_prepared_already_serves(prepared_by_another):
    assert run(adding(1), PREPARE_THRESHOLD + 1, one=7) == [{"one": 7, "number": 1}]

    assert prepared() == [prepared_by_another]


def test_what_is_prepared_already_ends_no_transaction(prepared_by_another):
    with transaction(acting_as=SYSTEM):
        assert run(adding(1), PREPARE_THRESHOLD + 1, one=7) == [{"one": 7, "number": 1}]

    assert prepared() == [prepared_by_another]


def test_what_could_not_be_prepared_is_tried_again():
    later = select(text("one")).select_from(Table("later", MetaData()))
    later = later.execution_options(prepare=True)
    for _ in range(PREPARE_THRESHOLD + 1):
        with pytest.raises(UndefinedTable):
            run(later)

    execute(text("CREATE TABLE later AS SELECT 7 AS one"), acting_as=SYSTEM)

    assert run(later, 2) == [{"one": 7}]
    assert len(prepared()) == 1


def test_what_was_prepared_before_a_failure_is_used_all_the_same():
    statement = select((literal_column("1") / bindparam("one", type_=Integer())).label("one"))
    for _ in range(PREPARE_THRESHOLD):
        with pytest.raises(Exception, match="division by zero"):
            run(statement, one=0)

    with transaction(acting_as=SYSTEM):
        assert run(statement, 2, one=1) == [{"one": 1}]

    assert len(prepared()) == 1
