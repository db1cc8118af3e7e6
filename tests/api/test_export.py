import csv
import io
import re

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskapi.text import INVISIBLE
from taskapi.transfer import csv_files, service
from tests.support.people import assert_problem, assert_refused_field, bearer, outsider

SECRET = "a secret that the issuer and we share"
COLUMNS = "id,title,description,completed,completed_at,order,created_at,updated_at,version"
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "＋1", "－1", "＠SUM(A1)"]


def export(person, kind="json"):
    response = person.get(f"/tasks/export?format={kind}")
    assert response.status_code == 200, response.text
    return response


def lines_of(response):
    """The cells of a CSV file, by their columns."""
    return [*csv.DictReader(io.StringIO(response.data.decode(), newline=""), strict=True)]


def oldest_first(person):
    tasks, query = [], "?sort=created_at&limit=200"
    while query:
        page = person.get(f"/tasks{query}").json
        tasks += page["tasks"]
        cursor = page["next_cursor"]
        query = cursor and f"?sort=created_at&limit=200&cursor={cursor}"
    return tasks


def as_cells(task):
    """A task as CSV has it, where no text of it could be run."""
    cells = {name: str(task[name]) for name in COLUMNS.split(",") if task[name] is not None}
    cells["completed"] = cells["completed"].lower()
    return {name: cells.get(name, "") for name in COLUMNS.split(",")}


@pytest.fixture
def tasks(alice):
    """Three tasks, the oldest first."""
    alice.creates("Buy milk", description="Oat,\r\ntwo of them", order=-3)
    alice.creates('"Quoted", 買牛奶 👩‍👩‍👧‍👦', completed=True)
    alice.creates("Call Bob\u2028now")
    return oldest_first(alice)


def test_as_json_there_is_a_task_on_each_line_the_oldest_first(alice, tasks):
    response = export(alice)

    assert response.mimetype == "application/json"
    assert response.json == tasks
    first, *lines, last = response.data.decode().strip("\n").split("\n")
    assert (first, last) == ("[", "]")
    assert [orjson.loads(line.removesuffix(",")) for line in lines] == tasks


def test_json_is_what_comes_unless_asked_otherwise(alice, tasks):
    response = alice.get("/tasks/export")

    assert response.data == export(alice).data
    assert response.headers["Content-Disposition"] == 'attachment; filename="tasks.json"'


def test_as_csv_there_is_a_line_of_names_and_one_for_each_task(alice, tasks):
    response = export(alice, "csv")

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="tasks.csv"'
    text = response.data.decode()
    assert text.startswith(f"{COLUMNS}\r\n") and text.endswith("\r\n")
    assert text.count("\r\n") == 1 + 3 + 1  # One is within a description.
    assert lines_of(response) == [as_cells(task) for task in tasks]


def test_completion_and_what_is_not_there_have_cells_of_their_own(alice):
    done, still_open = alice.creates("Done", completed=True), alice.creates("Open")

    lines = lines_of(export(alice, "csv"))

    assert [line["completed"] for line in lines] == ["true", "false"]
    assert [line["completed_at"] for line in lines] == [done["completed_at"], ""]
    assert [line["description"] for line in lines] == ["", ""]
    assert [line["version"] for line in lines] == [str(t["version"]) for t in (done, still_open)]


def test_where_there_are_no_tasks_the_file_says_so(alice, variant):
    ada = outsider(variant(auth_mode="external", external_jwt_secret=SECRET), SECRET, "ada")

    for nobody in (alice, ada):
        assert export(nobody).data.strip() == b"[]"
        assert export(nobody, "csv").data.decode() == f"{COLUMNS}\r\n"


@pytest.mark.parametrize("kind", ["xml", "JSON", "", "json,csv"])
def test_there_is_no_other_format(alice, kind):
    assert_refused_field(alice.get(f"/tasks/export?format={kind}"), "/query/format", "unknown")


def test_a_parameter_that_is_not_known_is_refused(alice):
    assert_refused_field(alice.get("/tasks/export?completed=true"), "/query/completed", "unknown")


def test_a_file_has_nothing_of_anybody_else_and_nothing_from_the_trash(client, alice, bob):
    task = alice.creates("Of Alice")
    deleted = alice.creates("Deleted")
    assert alice.delete(f"/tasks/{deleted['id']}").status_code == 204
    bob.creates("Of Bob")

    assert export(alice).json == [task]
    assert [line["id"] for line in lines_of(export(alice, "csv"))] == [task["id"]]
    assert_problem(client.get("/tasks/export"), 401, "token_missing")


@pytest.mark.parametrize(
    "text", [f"{marks}{text}" for marks in ("", "'", "''") for text in FORMULAS]
)
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(alice, text):
    alice.creates(text, description=text)

    [line] = lines_of(export(alice, "csv"))

    assert (line["title"], line["description"]) == (f"'{text}", f"'{text}")
    assert export(alice).json[0]["title"] == text


@pytest.mark.parametrize(
    "sign",
    ["\t", "\r", "\n", "\r\n", " ", "   ", "\u00a0", "\u3000"],
    ids=["tab", "cr", "lf", "crlf", "space", "spaces", "hard space", "wide space"],
)
@pytest.mark.parametrize("marks", ["", "'"], ids=["bare", "marked"])
def test_so_does_what_would_run_behind_white_space(alice, sign, marks):
    alice.creates("a", description=f"{marks}{sign}=1+1")
    alice.creates(f"'{sign}=1+1")  # At the very beginning it would be trimmed.

    first, second = lines_of(export(alice, "csv"))

    # Behind a tab or the end of a line some begin another cell.
    again = "'" if sign.strip(" \u00a0\u3000") else ""
    assert first["description"] == f"'{marks}{sign}{again}=1+1"
    assert second["title"] == f"''{sign}{again}=1+1"


@pytest.mark.parametrize(
    "hidden", ["\ufeff", "\u200b", "\u2060", "\u00ad"], ids=["bom", "zwsp", "wj", "shy"]
)
def test_so_does_what_would_run_behind_what_is_invisible(alice, hidden):
    alice.creates("a", description=f"{hidden}=1+1")

    [line] = lines_of(export(alice, "csv"))

    assert line["description"] == f"'{hidden}=1+1"


@pytest.mark.parametrize("separator", [";", "\t", "\n", "; ", ";\u200b"])
def test_so_does_what_would_run_where_a_spreadsheet_splits(alice, separator):
    alice.creates("a", description=f"x{separator}=1+1{separator}y")

    [line] = lines_of(export(alice, "csv"))

    mark = f"{separator[0]}'{separator[1:]}=1+1"
    assert mark in line["description"]


PIECES = [*"=+-@＝;,\t\r\n'\" a1", "\ufeff", "\u200b", "\u00ad", "\x0b", "\x01", "\u2028", "\u3000"]
HIDDEN = re.compile(rf"(?:[\s\x00-\x1f\x7f-\x9f]|{INVISIBLE.pattern})*")


def cells_of(file, delimiter):
    """Split a file as a spreadsheet does that is set to this delimiter, at quotes and without."""
    for line in re.split(r"[\r\n]", file):
        yield from line.split(delimiter)
    for row in csv.reader(io.StringIO(file, newline=""), delimiter=delimiter):
        yield from row


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join))
@example('x;"=1+1')
@example("x;\x01=1+1")
@example("x\t'\ufeff=1+1")
def test_at_no_delimiter_does_a_cell_begin_with_a_formula_and_all_comes_back(text):
    task = {**dict.fromkeys(csv_files.COLUMNS), "title": "a", "description": text}

    file = b"".join(csv_files.write_csv([[task]]))

    for delimiter in ";\t":
        for cell in cells_of(file.decode(), delimiter):
            assert not re.match("[=+\\-@＝]", HIDDEN.sub("", cell, count=1)), (delimiter, cell)
    [read] = csv_files.read_csv(file)
    assert read["description"] == text


@pytest.mark.parametrize(
    "text",
    [
        *("'", "''", "'tis", "'tis = 1", "' '=1", "a=1", "1-1", "a@example.com"),
        *('"=1"', ",=1", "#", "(=1)"),
    ],
)
def test_other_texts_are_left_as_they_are(alice, text):
    alice.creates(text, description=text)

    [line] = lines_of(export(alice, "csv"))

    assert (line["title"], line["description"]) == (text, text)


@pytest.fixture
def many(alice, sql):
    """More tasks than are sent at a time; some are as old as others."""
    sql(
        """
        INSERT INTO tasks (user_id, id, title, version, created_at)
        SELECT :owner, gen_random_uuid(), 'Task ' || n, n,
               '2026-01-01'::timestamptz + n / 7 * interval '1 minute'
          FROM generate_series(1, 1201) AS n
        """,
        owner=alice.id,
    )
    sql("UPDATE users SET change_seq = 1201 WHERE id = :owner", owner=alice.id)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_long_list_is_sent_in_parts(alice, many, kind):
    url, headers = f"/tasks/export?format={kind}", bearer(alice.token)
    response = alice.client.get(url, headers=headers, buffered=False)
    assert response.status_code == 200
    parts = [*response.response]

    assert len([part for part in parts if len(part) > 1000]) == 3
    tasks = oldest_first(alice)
    assert len({task["id"] for task in tasks}) == 1201
    whole = b"".join(parts)
    if kind == "json":
        assert orjson.loads(whole) == tasks
    else:
        cells = csv.DictReader(io.StringIO(whole.decode(), newline=""), strict=True)
        assert [*cells] == [as_cells(task) for task in tasks]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_the_file_is_whole_however_many_parts_it_takes(alice, monkeypatch, kind, count):
    monkeypatch.setattr(service, "_BATCH_SIZE", 2)
    tasks = [alice.creates(str(number)) for number in range(count)]

    response = export(alice, kind)

    found = response.json if kind == "json" else lines_of(response)
    assert [task["id"] for task in found] == [task["id"] for task in tasks]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_what_is_deleted_between_two_parts_leaves_the_file_well_formed(alice, monkeypatch, kind):
    monkeypatch.setattr(service, "_BATCH_SIZE", 2)
    tasks = [alice.creates(str(number)) for number in range(4)]
    url, headers = f"/tasks/export?format={kind}", bearer(alice.token)
    response = alice.client.get(url, headers=headers, buffered=False)
    parts = iter(response.response)
    begin = next(parts)
    if kind == "csv":
        begin += next(parts)
    for task in tasks[2:]:
        assert alice.delete(f"/tasks/{task['id']}").status_code == 204

    whole = begin + b"".join(parts)

    if kind == "json":
        assert orjson.loads(whole) == tasks[:2]
    else:
        assert [*csv.reader(io.StringIO(whole.decode(), newline=""), strict=True)][1:] == [
            [*as_cells(task).values()] for task in tasks[:2]
        ]
