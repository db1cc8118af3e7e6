import csv
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskapi.transfer import csv_files
from tests.support.people import assert_problem, assert_refused_field, outsider

SECRET = "a secret that the issuer and we share"
ARRAY, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
KEPT = ("id", "title", "description", "completed", "completed_at", "order", "created_at")
A, B, C, D = (f"{name * 8}-0000-4000-8000-000000000000" for name in "abcd")
OLD = {
    "id": A,
    "title": "Buy milk",
    "description": "Oat",
    "completed": True,
    "completed_at": "2021-03-04T05:06:07.891234Z",
    "order": -7,
    "created_at": "2020-01-02T03:04:05.678912Z",
}
TEXTS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "＝1", "＋1", "－1", "＠A", "'=1", "''=1", "'''@x"),
    *("'", "''", "'tis", "'quoted'", '"', '""', '"quoted", and more', "a,b;c", "a\tb", "\\n"),
    *("two\nlines", "two\r\nlines", "two\rlines", "a\u2028b\u2029c\x0bd\x1ce\x85f"),
    *(
        "買牛奶",
        "👩‍👩‍👧‍👦 family",
        "e\u0301",
        "\u200b=1",
        "\ufeff=1",
        "NULL",
        "true",
        "0012",
        "1e9",
    ),
]
BEGINNINGS = [
    *("\t=1", "\r=1", "\n=1", "\r\n=1", "'\t=1", "''\r\n"),
    *(" =1", "' =1", "''\u3000=1", "' '=1", " ", "\n"),
]


@pytest.fixture
def known_elsewhere(variant):
    """Make somebody of any name, with a token that says so."""
    external = variant(auth_mode="external", external_jwt_secret=SECRET)
    return lambda user_id: outsider(external, SECRET, user_id)


def send(person, body, media=ARRAY, query="", **headers):
    if media == ARRAY and not isinstance(body, bytes):
        body = orjson.dumps(body)
    if media == LINES and isinstance(body, list):
        body = b"\n".join(orjson.dumps(row) for row in body)
    return person.post(f"/tasks/import{query}", data=body, content_type=media, headers={**headers})


def imports(person, body, media=ARRAY, query=""):
    response = send(person, body, media, query)
    assert response.status_code == 200, response.text
    report = response.json
    assert set(report) == {"dry_run", "created", "existing", "refused", "rows"}
    found = statuses(report)
    assert report["created"] == found.count("created")
    assert report["existing"] == found.count("exists") + found.count("in_trash")
    assert report["refused"] == found.count("refused")
    assert [row["row"] for row in report["rows"]] == [*range(1, len(found) + 1)]
    return report


def written(media, tasks):
    """Write tasks as a file of this type."""
    if media != CSV:
        return tasks
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [*dict.fromkeys(name for task in tasks for name in task)])
    writer.writeheader()
    for task in tasks:
        cells = {name: "" if value is None else value for name, value in task.items()}
        writer.writerow(cells)
    return file.getvalue().encode()


def statuses(report):
    return [row["status"] for row in report["rows"]]


def refusals(report):
    return {
        row["row"]: [(error["pointer"], error["code"]) for error in row["errors"]]
        for row in report["rows"]
        if row["status"] == "refused"
    }


def tasks_of(person):
    return person.get("/tasks?sort=created_at&limit=200").json["tasks"]


def everything(person):
    """What can be seen of somebody's tasks, and how far their changes have been counted."""
    answers = [person.get(path) for path in ("/tasks?limit=200", "/trash", "/tasks/changes")]
    return [answers[0].headers["ETag"], *(answer.json for answer in answers)]


def kept(tasks):
    return [{name: task[name] for name in KEPT} for task in tasks]


def export(person, kind):
    return person.get(f"/tasks/export?format={kind}").data


in_every_format = pytest.mark.parametrize(
    "media", [ARRAY, LINES, CSV], ids=["array", "lines", "csv"]
)


@in_every_format
def test_tasks_come_in_as_they_were_elsewhere(alice, media):
    file = written(media, [OLD, {**OLD, "id": B, "completed": False, "completed_at": None}])

    report = imports(alice, file, media)

    assert report["rows"] == [
        {"row": 1, "status": "created", "id": A},
        {"row": 2, "status": "created", "id": B},
    ]
    assert (report["dry_run"], report["created"]) == (False, 2)
    first, second = (alice.get(f"/tasks/{task_id}").json for task_id in (A, B))
    assert kept([first]) == [OLD]
    assert kept([second]) == [{**OLD, "id": B, "completed": False, "completed_at": None}]
    assert first["user_id"] == alice.id
    assert (first["version"], second["version"]) == (1, 2)
    assert first["updated_at"] > "2026"


@in_every_format
def test_a_title_is_enough(alice, media):
    report = imports(alice, written(media, [{"title": " Buy milk "}, {"title": "b"}]), media)

    assert statuses(report) == ["created"] * 2
    task, other = (alice.get(f"/tasks/{row['id']}").json for row in report["rows"])
    assert (task["title"], task["description"], task["order"]) == ("Buy milk", None, 0)
    assert (task["completed"], task["completed_at"]) == (False, None)
    assert task["created_at"] == task["updated_at"]
    assert other["version"] == task["version"] + 1


def test_a_time_of_completion_says_that_a_task_is_completed(alice):
    time = "2021-03-04T06:06:07+01:00"

    imports(
        alice,
        [
            {"id": A, "title": "a", "completed_at": time},
            {"id": B, "title": "b", "completed": True},
            {"id": C, "title": "c", "completed": True, "completed_at": None},
        ],
    )

    first, second, third = (alice.get(f"/tasks/{task_id}").json for task_id in (A, B, C))
    assert first["completed"] and second["completed"] and third["completed"]
    assert datetime.fromisoformat(first["completed_at"]) == datetime.fromisoformat(time)
    assert second["completed_at"] == second["updated_at"]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
)
def test_times_may_be_as_far_away_as_there_are_times(alice, bob, time):
    imports(
        alice, [{"id": A, "title": "a", "created_at": time, "completed_at": time}, OLD | {"id": B}]
    )

    task = alice.get(f"/tasks/{A}").json
    for name in ("created_at", "completed_at"):
        assert datetime.fromisoformat(task[name]) == datetime.fromisoformat(time)
    assert len(tasks_of(alice)) == 2
    page = alice.get("/tasks?sort=created_at&limit=1").json
    rest = alice.get(f"/tasks?sort=created_at&limit=1&cursor={page['next_cursor']}").json
    assert page["tasks"] + rest["tasks"] == tasks_of(alice)
    for kind, media in (("json", ARRAY), ("csv", CSV)):
        assert len(imports(bob, export(alice, kind), media)["rows"]) == 2
    assert kept(tasks_of(bob)) == kept(tasks_of(alice))


def test_imported_tasks_are_found_sorted_and_fed_like_others(alice):
    since = alice.get("/tasks/changes").json["next"]
    alice.creates("banana")

    imports(alice, [{"title": "Crème brûlée"}, {"title": "Äpfel", "description": "Boskoop"}])

    titles = [task["title"] for task in alice.get("/tasks?sort=title").json["tasks"]]
    assert titles == ["Äpfel", "banana", "Crème brûlée"]
    for query in ("creme", "bosk"):
        assert len(alice.get(f"/tasks?q={query}").json["tasks"]) == 1
    changes = alice.get(f"/tasks/changes?since={since}").json["changes"]
    assert [change["task"]["title"] for change in changes] == ["banana", "Crème brûlée", "Äpfel"]


def fill(person):
    """Have tasks of all kinds."""
    for number, text in enumerate(TEXTS):
        task = person.creates(text, description=text, order=number % 5 - 2)
        if number % 3 == 0:
            assert person.patch(f"/tasks/{task['id']}/complete").status_code == 200
    for text in BEGINNINGS:
        person.creates("Another beginning", description=text)
    person.creates("'\t=1")
    person.creates("x" * 500, description="ü" * 2000, completed=True, order=2**31 - 1)


@pytest.mark.parametrize(("kind", "media"), [("json", ARRAY), ("csv", CSV)], ids=["json", "csv"])
def test_what_one_account_exports_another_can_import(alice, bob, kind, media):
    fill(alice)
    file = export(alice, kind)

    report = imports(bob, file, media)

    tasks = tasks_of(alice)
    assert statuses(report) == ["created"] * len(tasks)
    assert kept(tasks_of(bob)) == kept(tasks)
    assert {task["user_id"] for task in tasks_of(bob)} == {bob.id}
    assert len({task["version"] for task in tasks_of(bob)}) == len(tasks)


@pytest.mark.parametrize(("kind", "media"), [("json", ARRAY), ("csv", CSV)], ids=["json", "csv"])
def test_importing_ones_own_export_changes_nothing(alice, kind, media):
    fill(alice)
    before = everything(alice)

    report = imports(alice, export(alice, kind), media)

    assert statuses(report) == ["exists"] * len(before[1]["tasks"])
    assert everything(alice) == before


@in_every_format
def test_importing_twice_changes_nothing_the_second_time(alice, media):
    file = written(media, [OLD, {**OLD, "id": B, "title": "b"}])
    imports(alice, file, media)
    before = everything(alice)

    report = imports(alice, file, media)

    assert report["rows"] == [
        {"row": 1, "status": "exists", "id": A},
        {"row": 2, "status": "exists", "id": B},
    ]
    assert (report["created"], report["existing"]) == (0, 2)
    assert everything(alice) == before


def test_rows_without_ids_are_new_tasks_each_time(alice):
    for _ in range(2):
        assert statuses(imports(alice, b"title\na\nb\n", CSV)) == ["created", "created"]

    assert len(tasks_of(alice)) == 4


@in_every_format
def test_deduplicated_rows_without_ids_are_added_once(alice, bob, media):
    file = written(media, [{"title": title} for title in ("a", "b", "a")])

    first = imports(alice, file, media, "?deduplicate=true")
    again = imports(alice, file, media, "?deduplicate=true")
    of_bob = imports(bob, file, media, "?deduplicate=true")

    # What stands twice in a file is two tasks.
    assert statuses(first) == statuses(of_bob) == ["created"] * 3
    assert statuses(again) == ["exists"] * 3
    assert [row["id"] for row in again["rows"]] == [row["id"] for row in first["rows"]]
    assert len(tasks_of(alice)) == 3


def test_a_trial_of_deduplicated_rows_names_the_ids_that_they_will_have(alice):
    trial = imports(alice, b"title\na\n", CSV, "?deduplicate=true&dry_run=true")
    done = imports(alice, b"title\na\n", CSV, "?deduplicate=true")

    assert trial["rows"] == done["rows"]


def test_what_is_here_is_left_as_it_is_whatever_the_file_says(alice):
    task = alice.creates("Mine")

    report = imports(alice, [{**OLD, "id": task["id"].upper()}, OLD])

    assert statuses(report) == ["exists", "created"]
    assert report["rows"][0]["id"] == task["id"]
    assert alice.get(f"/tasks/{task['id']}").json == task


def test_what_is_in_the_trash_stays_there(alice):
    imports(alice, [OLD])
    file = export(alice, "json")
    assert alice.delete(f"/tasks/{A}").status_code == 204
    before = everything(alice)

    report = imports(alice, file)

    assert report["rows"] == [{"row": 1, "status": "in_trash", "id": A}]
    assert report["existing"] == 1
    assert everything(alice) == before


def test_what_was_deleted_for_good_comes_back(alice):
    imports(alice, [OLD])
    since = alice.get("/tasks/changes").json["next"]
    assert alice.delete(f"/tasks/{A}?permanent=true").status_code == 204

    assert statuses(imports(alice, [OLD])) == ["created"]

    assert kept(tasks_of(alice)) == [OLD]
    # A mirror that goes by the last word about each task has it, too.
    last = alice.get(f"/tasks/changes?since={since}").json["changes"][-1]
    assert last == {"op": "upsert", "task": tasks_of(alice)[0]}


@in_every_format
def test_of_two_with_the_same_id_the_first_is_taken(alice, media):
    file = written(media, [{"id": A, "title": "first"}, {"id": A.upper(), "title": "second"}])

    for query in ("?dry_run=true", ""):
        report = imports(alice, file, media, query)
        assert statuses(report) == ["created", "exists"]
        assert [row["id"] for row in report["rows"]] == [A, A]

    assert [task["title"] for task in tasks_of(alice)] == ["first"]


def test_somebody_elses_ids_are_as_good_as_any(alice, bob):
    imports(bob, [OLD, {**OLD, "id": B}])
    assert bob.delete(f"/tasks/{B}").status_code == 204
    before = everything(bob)

    report = imports(alice, [{"id": A, "title": "Of Alice"}, {"id": B, "title": "Of Alice"}])

    assert statuses(report) == ["created"] * 2
    assert {task["title"] for task in tasks_of(alice)} == {"Of Alice"}
    assert everything(bob) == before


def test_a_trial_reports_the_same_and_adds_nothing(alice):
    here, deleted = alice.creates("Here"), alice.creates("Deleted")
    assert alice.delete(f"/tasks/{deleted['id']}").status_code == 204
    file = [
        OLD,
        {"id": here["id"], "title": "a"},
        {"id": deleted["id"], "title": "a"},
        {"title": ""},
        OLD,
    ]
    before = everything(alice)

    trial = imports(alice, file, query="?dry_run=true")
    assert everything(alice) == before

    assert statuses(trial) == ["created", "exists", "in_trash", "refused", "exists"]
    assert imports(alice, file) == {**trial, "dry_run": False}
    assert len(tasks_of(alice)) == 2


def test_a_trial_names_no_ids_that_no_task_will_have(alice):
    trial = imports(alice, [{"title": "a"}, {"id": A, "title": "b"}], query="?dry_run=true")

    assert trial["rows"] == [
        {"row": 1, "status": "created"},
        {"row": 2, "status": "created", "id": A},
    ]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("?dry_run=yes", "/query/dry_run", "wrong_type"),
        ("?dry_run=1", "/query/dry_run", "wrong_type"),
        ("?format=csv", "/query/format", "unknown"),
    ],
)
def test_a_parameter_that_is_wrong_is_refused(alice, query, pointer, code):
    assert_refused_field(send(alice, [OLD], query=query), pointer, code)
    assert tasks_of(alice) == []


BAD = [
    ({}, "/title", "required"),
    ({"title": " \n"}, "/title", "blank"),
    ({"title": None}, "/title", "null"),
    ({"title": 5}, "/title", "wrong_type"),
    ({"title": "x" * 501}, "/title", "too_long"),
    ({"title": "a\0"}, "/title", "forbidden_character"),
    ({"title": "a", "description": ["b"]}, "/description", "wrong_type"),
    ({"title": "a", "description": "x" * 2001}, "/description", "too_long"),
    ({"title": "a", "completed": "true"}, "/completed", "wrong_type"),
    ({"title": "a", "completed": None}, "/completed", "null"),
    ({"title": "a", "order": "1"}, "/order", "wrong_type"),
    ({"title": "a", "order": 2**31}, "/order", "out_of_range"),
    ({"title": "a", "id": "7"}, "/id", "invalid"),
    ({"title": "a", "id": None}, "/id", "null"),
    ({"title": "a", "created_at": "yesterday"}, "/created_at", "invalid"),
    ({"title": "a", "created_at": "2026-01-01T00:00:00"}, "/created_at", "no_offset"),
    ({"title": "a", "created_at": "2026-02-30T00:00:00Z"}, "/created_at", "invalid"),
    ({"title": "a", "completed_at": 5}, "/completed_at", "invalid"),
    (
        {"title": "a", "completed": False, "completed_at": "2026-01-01T00:00:00Z"},
        "/completed_at",
        "contradiction",
    ),
    ({"title": "a", "colour": "red"}, "/colour", "unknown"),
    (None, "", "wrong_type"),
    ("Buy milk", "", "wrong_type"),
    (5, "", "wrong_type"),
    (["Buy milk"], "", "wrong_type"),
    (True, "", "wrong_type"),
]


@pytest.mark.parametrize("media", [ARRAY, LINES], ids=["array", "lines"])
def test_bad_rows_are_refused_by_number_and_stop_nothing(alice, media):
    rows = [OLD, *(row for row, _, _ in BAD), {**OLD, "id": B}]

    report = imports(alice, rows, media)

    assert {row["id"] for row in report["rows"] if row["status"] == "created"} == {A, B}
    found = refusals(report)
    assert [*found] == [*range(2, len(BAD) + 2)]
    for number, (row, pointer, code) in enumerate(BAD, 2):
        assert (pointer, code) in found[number], row
    for row in report["rows"][1:-1]:
        assert set(row) == {"row", "status", "errors"}
        assert all(error["detail"].endswith(".") for error in row["errors"])
    assert len(tasks_of(alice)) == 2


def test_everything_that_is_wrong_with_a_row_is_told(alice):
    report = imports(alice, [{"title": "", "order": "x", "colour": 1}])

    assert {*refusals(report)[1]} == {
        ("/title", "blank"),
        ("/order", "wrong_type"),
        ("/colour", "unknown"),
    }


def test_what_only_the_service_writes_is_ignored(alice, bob):
    task = {**OLD, "user_id": bob.id, "version": 99, "updated_at": "?", "deleted_at": "?"}

    assert statuses(imports(alice, [task])) == ["created"]

    assert tasks_of(alice)[0]["user_id"] == alice.id
    assert tasks_of(alice)[0]["version"] == 1


def test_lines_that_are_not_json_are_refused_by_number(alice):
    lines = [
        b'{"title": "first"}',
        b"{'title': 'a'}",
        b'{"title": NaN}',
        b'{"title": "\xff"}',
        b'{"title": "\\ud800"}',
        b'{"title": "a"',
        b'{"title": "a"} {"title": "b"}',
        b"[" * 2000,
        '{"title": "last\u2028line"}'.encode(),
    ]

    report = imports(alice, b"\n".join(lines), LINES)

    assert statuses(report) == ["created", *["refused"] * 7, "created"]
    assert all(found == [("", "malformed_json")] for found in refusals(report).values())
    assert [task["title"] for task in tasks_of(alice)] == ["first", "last\u2028line"]


@pytest.mark.parametrize("first", [b"[]", b'["Buy milk"]', b'[{"title": "a"}]'])
def test_a_line_that_is_an_array_is_a_bad_row_like_others_wherever_it_is(alice, first):
    good = b'{"title": "Buy milk"}'
    assert refusals(imports(alice, good + b"\n" + first, LINES)) == {2: [("", "wrong_type")]}

    report = imports(alice, first + b"\n" + good, LINES)

    assert refusals(report) == {1: [("", "wrong_type")]}
    assert statuses(report) == ["refused", "created"]


@pytest.mark.parametrize(
    "file",
    [
        b'{"title": "a"}\n{"title": "b"}',
        b'{"title": "a"}\n{"title": "b"}\n',
        b'{"title": "a"}\r\n{"title": "b"}\r\n',
        b'\n  \n {"title": "a"} \n\n{"title": "b"}\n\n',
    ],
    ids=["no end", "lf", "crlf", "empty lines"],
)
def test_lines_may_end_in_every_way(alice, file):
    assert statuses(imports(alice, file, LINES)) == ["created"] * 2
    assert {task["title"] for task in tasks_of(alice)} == {"a", "b"}


@pytest.mark.parametrize(
    "file",
    [b"[", b'[{"title": "a"},]', b'[{"title": "a"}', b'[{"title": "\xff"}]', b'[{"title": "a"}]]'],
)
def test_an_array_that_is_not_json_is_refused_as_a_whole(alice, file):
    response = send(alice, file)

    assert_problem(response, 400, "malformed_json")
    assert tasks_of(alice) == []


def test_what_is_no_array_is_refused_as_a_whole(alice):
    assert_refused_field(send(alice, b'{"title": "a"}'), "", "wrong_type")


def test_of_no_tasks_there_is_nothing_to_report(alice):
    before = everything(alice)

    for file, media in ((b"[]", ARRAY), (b"", LINES), (b"\n", LINES), (b"title\r\n", CSV)):
        assert imports(alice, file, media)["rows"] == []

    assert everything(alice) == before


def test_cells_say_what_json_says(alice):
    file = (
        "order,title,completed,id,completed_at,description,created_at\r\n"
        f"-4,Buy milk,true,{A},2021-03-04T05:06:07Z,Oat,2020-01-02T03:04:05Z\r\n"
        f"+5,Buy bread,FALSE,{B},,,\r\n"
        f',Call Bob,,,,"two\r\nlines, ""quoted""",\r\n'
    )

    report = imports(alice, file.encode(), CSV)

    assert statuses(report) == ["created"] * 3
    milk, bread, bob = (alice.get(f"/tasks/{row['id']}").json for row in report["rows"])
    assert (milk["id"], milk["order"], milk["completed"]) == (A, -4, True)
    assert milk["completed_at"].startswith("2021-03-04T05:06:07")
    assert milk["created_at"].startswith("2020-01-02T03:04:05")
    assert (bread["id"], bread["order"], bread["completed"]) == (B, 5, False)
    assert (bread["description"], bread["completed_at"]) == (None, None)
    assert (bob["order"], bob["description"]) == (0, 'two\r\nlines, "quoted"')


@pytest.mark.parametrize(
    "text", [*TEXTS, *(text for text in BEGINNINGS if text.strip()), "'=", "-", "@"]
)
def test_the_apostrophe_before_a_formula_is_taken_away_and_no_other(alice, bob, text):
    alice.creates("a", description=text)

    imports(bob, export(alice, "csv"), CSV)

    assert tasks_of(bob)[0]["description"] == text


@pytest.mark.parametrize("text", ["'tis", "''", "'", "a'=1"])
def test_an_apostrophe_of_somebody_elses_file_is_kept(alice, text):
    imports(alice, f"title\r\n{text}\r\n".encode(), CSV)

    assert tasks_of(alice)[0]["title"] == text


def test_a_formula_of_somebody_elses_file_is_taken_as_it_is(alice):
    imports(alice, b"title\r\n=1+1\r\n'=2+2\r\n", CSV)

    assert {task["title"] for task in tasks_of(alice)} == {"=1+1", "=2+2"}


BAD_LINES = [
    (",", "/title", "blank"),
    (" ,", "/title", "blank"),
    ("a", "", "wrong_columns"),
    ("a,b,c", "", "wrong_columns"),
    (f"{'x' * 501},", "/title", "too_long"),
    (f"a,{'x' * 2001}", "/description", "too_long"),
    ("a\0,", "/title", "forbidden_character"),
]
BAD_CELLS = [
    ("completed", "maybe", "wrong_type"),
    ("completed", "1", "wrong_type"),
    ("order", "1.5", "wrong_type"),
    ("order", "1_000", "wrong_type"),
    ("order", "٣", "wrong_type"),
    ("order", str(2**31), "out_of_range"),
    ("order", "9" * 30, "wrong_type"),
    ("id", "7", "invalid"),
    ("created_at", "01/02/2026", "invalid"),
    ("created_at", "2026-01-01", "date_alone"),
    ("completed_at", "2026-01-01 00:00:00", "invalid"),
]


def test_bad_lines_are_refused_by_number_and_stop_nothing(alice):
    lines = ["title,description", "first,", *(line for line, _, _ in BAD_LINES), "last,"]

    report = imports(alice, "\r\n".join(lines).encode(), CSV)

    found = refusals(report)
    assert [*found] == [*range(2, len(BAD_LINES) + 2)]
    for number, (line, pointer, code) in enumerate(BAD_LINES, 2):
        assert found[number] == [(pointer, code)], line
    assert {task["title"] for task in tasks_of(alice)} == {"first", "last"}


@pytest.mark.parametrize(("name", "cell", "code"), BAD_CELLS)
def test_a_bad_cell_is_refused_with_its_column(alice, name, cell, code):
    report = imports(alice, f"title,{name}\na,{cell}\nb,\n".encode(), CSV)

    assert refusals(report) == {1: [(f"/{name}", code)]}
    assert [task["title"] for task in tasks_of(alice)] == ["b"]


def test_an_open_task_with_a_time_of_completion_is_refused_in_csv_too(alice):
    file = b"title,completed,completed_at\na,false,2026-01-01T00:00:00Z\nb,,2026-01-01T00:00:00Z\n"

    report = imports(alice, file, CSV)

    assert refusals(report) == {1: [("/completed_at", "contradiction")]}
    assert [(task["title"], task["completed"]) for task in tasks_of(alice)] == [("b", True)]


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\r\n",
        b"id,description\r\n,a\r\n",
        b"title,colour\r\na,red\r\n",
        b"title,title\r\na,b\r\n",
        b"title,,order\r\na,,1\r\n",
        b"title|description\r\na|b\r\n",
    ],
    ids=["nothing", "no line", "no title", "unknown", "twice", "nameless", "bars"],
)
def test_a_file_without_the_right_columns_is_refused_as_a_whole(alice, file):
    assert_refused_field(send(alice, file, CSV), "", "wrong_columns")
    assert tasks_of(alice) == []


@pytest.mark.parametrize(
    "file",
    [
        "title\r\nGrüße\r\n".encode("latin-1"),
        "title\r\na\r\n".encode("utf-16"),
        b"title\r\ngood\r\n\xed\xa0\x80\r\n",
        b'title\r\ngood\r\n"open\r\nother\r\n',
        b'title\r\ngood\r\n"a" b\r\n',
    ],
    ids=["latin", "utf-16", "surrogate", "unclosed quote", "text behind a quote"],
)
def test_what_is_no_csv_is_refused_as_a_whole(alice, file):
    assert_refused_field(send(alice, file, CSV), "", "malformed_csv")
    assert tasks_of(alice) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["bare", "bom"])
def test_csv_may_have_a_byte_order_mark_and_any_ends_of_lines(alice, mark, end):
    file = f"{mark}title,order{end}Grüße,1{end}{end}Äpfel,2{end}".encode()

    assert statuses(imports(alice, file, CSV)) == ["created"] * 2

    assert {task["title"] for task in tasks_of(alice)} == {"Grüße", "Äpfel"}


@pytest.mark.parametrize(
    "file",
    [
        "Title,Description,COMPLETED\na,b,TRUE\n",
        "title , description, completed\na,b,true\n",
        "title,description,completed,\na,b,true,\n",
        "title,description,completed,,\na,b,true,,\n",
        "title;description;completed\na;b;true\n",
        "title;description;completed;\r\na;b;true;\r\n",
        "\ufefftitle\tdescription\tcompleted\na\tb\ttrue\n",
        '"title";"description";"completed"\n"a";"b";"true"\n',
    ],
    ids=["case", "spaces", "comma", "commas", "semicolons", "both", "tabs", "quoted"],
)
def test_csv_is_read_as_spreadsheets_write_it(alice, file):
    assert statuses(imports(alice, file.encode(), CSV)) == ["created"]

    [task] = tasks_of(alice)
    assert (task["title"], task["description"], task["completed"]) == ("a", "b", True)


PIECES = [*"'=+-@;\t\r\n ,ax\"\ufeff\u200b\u3000＝"]


@given(text=st.text(st.sampled_from(PIECES), max_size=30))
def test_what_csv_marks_an_import_takes_away_again(text):
    task = {**dict.fromkeys(csv_files.COLUMNS), "title": "a", "description": text}

    [read] = csv_files.read_csv(b"".join(csv_files.write_csv([[task]])))

    assert read["description"] == text


@pytest.mark.parametrize("media", [f"{CSV}; charset=utf-8", "Text/CSV"])
def test_the_type_may_say_more(alice, media):
    assert statuses(imports(alice, b"title\na\n", media)) == ["created"]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/xml", "application/merge-patch+json", "", None]
)
def test_another_type_is_refused(alice, media):
    response = alice.post("/tasks/import", data=b'[{"title": "a"}]', content_type=media)

    assert_problem(response, 415, "unsupported_media_type")
    assert tasks_of(alice) == []


def test_a_file_may_be_longer_than_other_bodies(alice):
    file = [{"title": str(number), "description": "x" * 2000} for number in range(40)]
    body = orjson.dumps(file)
    assert len(body) > 64 * 1024

    assert statuses(imports(alice, body)) == ["created"] * 40

    response = alice.post("/tasks", data=body, content_type=ARRAY)
    assert_problem(response, 413, "body_too_large")


def test_a_file_may_have_sixteen_mebibytes_and_no_more(alice):
    limit = 16 * 1024 * 1024
    body = b'[{"title": "a"}]'

    assert statuses(imports(alice, body + b" " * (limit - len(body)))) == ["created"]
    response = send(alice, body + b" " * (limit - len(body) + 1))

    problem = assert_problem(response, 413, "body_too_large")
    assert f"longer than {limit} bytes" in problem["detail"]
    assert len(tasks_of(alice)) == 1


def test_a_file_of_unknown_length_is_refused(alice):
    response = alice.post(
        "/tasks/import",
        headers={"Transfer-Encoding": "chunked"},
        content_type=CSV,
        input_stream=io.BytesIO(b"title\na\n"),
    )

    assert_problem(response, 411, "length_required")
    assert tasks_of(alice) == []


def test_ten_thousand_tasks_are_taken_at_once(alice):
    file = [{"title": f"Task {number}", "order": number} for number in range(10_000)]

    report = imports(alice, file, LINES)

    assert report["created"] == 10_000
    page = alice.get("/tasks?sort=order&limit=200&include=total").json
    assert page["total"] == 10_000
    assert [task["version"] for task in page["tasks"]] == [*range(1, 201)]
    last = alice.get("/tasks?sort=-updated_at&limit=1").json["tasks"][0]
    assert (last["title"], last["version"]) == ("Task 9999", 10_000)


@in_every_format
def test_more_than_ten_thousand_are_refused(alice, media):
    file = {
        ARRAY: b"[" + b"0," * 10_000 + b"0]",
        LINES: b"0\n" * 10_001,
        CSV: b"title\n" + b"a\n" * 10_001,
    }[media]

    assert_refused_field(send(alice, file, media), "", "too_many")
    assert_refused_field(send(alice, file, media, "?dry_run=true"), "", "too_many")

    assert tasks_of(alice) == []


def test_a_file_that_is_sent_again_is_imported_once(alice):
    first = send(alice, [{"title": "a"}], **{"Idempotency-Key": "k"})
    assert first.status_code == 200
    before = everything(alice)

    for _ in range(2):
        again = send(alice, [{"title": "a"}], **{"Idempotency-Key": "k"})
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.data) == (200, first.data)

    assert everything(alice) == before
    for body, media, query in (
        ([{"title": "b"}], ARRAY, ""),
        ([{"title": "a"}], LINES, ""),
        ([{"title": "a"}], ARRAY, "?dry_run=true"),
    ):
        response = send(alice, body, media, query, **{"Idempotency-Key": "k"})
        assert_problem(response, 422, "idempotency_key_reused")
    assert everything(alice) == before


def test_who_is_not_known_imports_nothing(client):
    response = client.post("/tasks/import", data=b"[]", content_type=ARRAY)

    assert_problem(response, 401, "token_missing")


@in_every_format
def test_whoever_has_no_row_here_yet_may_begin_with_a_file(known_elsewhere, media):
    ada = known_elsewhere("ada/b c")
    file = written(media, [OLD, {**OLD, "id": B}])

    assert statuses(imports(ada, file, media, "?dry_run=true")) == ["created"] * 2
    assert tasks_of(ada) == []
    assert statuses(imports(ada, file, media)) == ["created"] * 2
    assert kept(tasks_of(ada)) == [OLD, {**OLD, "id": B}]
    assert statuses(imports(ada, file, media)) == ["exists"] * 2


def at_once(*calls):
    """Call all of them at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call):
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def assert_imported_once(people):
    """Let all of them import the same file at once; they are the same user."""
    file = [{"id": str(uuid4()), "title": str(number)} for number in range(700)]

    reports = at_once(*(lambda p=person: imports(p, file, LINES) for person in people))

    assert sorted(report["created"] for report in reports) == [0, 700]
    assert sorted(report["existing"] for report in reports) == [0, 700]
    assert people[0].get("/tasks?include=total&limit=1").json["total"] == 700


def test_of_two_who_import_the_same_file_at_once_one_creates_each_task(alice):
    assert_imported_once([alice, alice])


def test_so_it_is_where_nobody_has_a_row_here_yet(known_elsewhere):
    for number in range(3):
        assert_imported_once([known_elsewhere(f"ada {number}") for _ in range(2)])
