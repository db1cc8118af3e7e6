"""A database that has gone back in time counts on where no counter has been."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.people import Caller, assert_problem, assert_refused_field, json_of, register

TABLES = ("users", "sessions", "tasks", "trash", "tombstones")


@pytest.fixture
def history(app, sql):
    """Go back to how the database was, as a recovery to a point in time does."""

    class History:
        def remember(self):
            for table in TABLES:
                sql(f"CREATE TABLE saved.{table} AS SELECT * FROM {table}")

        def go_back(self):
            sql("DELETE FROM users")
            for table in TABLES:
                names = sql(
                    "SELECT string_agg(quote_ident(attname), ', ') AS all FROM pg_attribute"
                    " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0"
                    " AND NOT attisdropped AND attgenerated = ''",
                    table=table,
                )[0]["all"]
                sql(f"INSERT INTO {table} ({names}) SELECT {names} FROM saved.{table}")
            # As the operator is told to.
            renewed = app.test_cli_runner().invoke(args=["renew-incarnation"])
            assert renewed.exit_code == 0, renewed.output
            return renewed.output

    sql("CREATE SCHEMA saved")
    yield History()
    sql("DROP SCHEMA saved CASCADE")
    sql("DELETE FROM incarnations WHERE first_change > 0")
    sql("UPDATE incarnations SET server = taskapi_server()")


def etag_of(person, task):
    return person.get(f"/tasks/{task['id']}").headers["ETag"]


def test_the_tag_of_a_change_that_was_lost_matches_no_other_change(alice, history):
    task = alice.creates()
    path = f"/tasks/{task['id']}"
    history.remember()
    lost = alice.patch(path, {"title": "lost"}).headers["ETag"]
    history.go_back()
    now = json_of(alice.patch(path, {"title": "other"}))

    refused = alice.patch(path, {"title": "mine"}, headers={"If-Match": lost})

    assert assert_problem(refused, 412, "precondition_failed")["current"] == now
    assert alice.get(path, headers={"If-None-Match": lost}).status_code == 200


def test_a_batch_goes_by_the_version_of_a_change_that_was_lost_no_more(alice, history):
    task = alice.creates()
    history.remember()
    lost = json_of(alice.patch(f"/tasks/{task['id']}", {"title": "lost"}))["version"]
    history.go_back()
    alice.patch(f"/tasks/{task['id']}", {"title": "other"})

    operation = {"op": "update", "id": task["id"], "if_match": lost, "data": {"title": "mine"}}
    results = json_of(alice.post("/tasks/batch", {"operations": [operation]}))["results"]

    assert results[0]["status"] == 412


def test_a_cursor_of_the_feed_is_refused_also_when_its_number_is_reached_again(alice, history):
    task = alice.creates()
    history.remember()
    alice.creates("lost")
    since = json_of(alice.get("/tasks/changes"))["next"]
    history.go_back()

    assert_problem(alice.get(f"/tasks/changes?since={since}"), 410, "sync_reset")
    for number in range(5):
        alice.patch(f"/tasks/{task['id']}", {"order": number})
    assert_problem(alice.get(f"/tasks/changes?since={since}"), 410, "sync_reset")


def test_a_cursor_from_before_what_was_lost_is_refused_as_well(alice, history):
    alice.creates()
    since = json_of(alice.get("/tasks/changes"))["next"]
    history.remember()
    # A device that had begun here may have seen what is lost by another cursor.
    alice.creates("lost")
    history.go_back()

    assert_problem(alice.get(f"/tasks/changes?since={since}"), 410, "sync_reset")


def test_a_device_that_begins_anew_follows_what_is_there(alice, history):
    task = alice.creates()
    history.remember()
    alice.creates("lost")
    history.go_back()

    first = json_of(alice.get("/tasks/changes"))
    renamed = json_of(alice.patch(f"/tasks/{task['id']}", {"title": "b"}))
    second = json_of(alice.get(f"/tasks/changes?since={first['next']}"))

    assert [change["task"] for change in first["changes"]] == [task]
    assert [change["task"] for change in second["changes"]] == [renamed]


def test_the_tag_of_a_list_that_was_lost_names_no_other_list(alice, history):
    task = alice.creates()
    history.remember()
    alice.patch(f"/tasks/{task['id']}", {"title": "lost"})
    lost = {path: alice.get(path).headers["ETag"] for path in ("/tasks", "/tasks?limit=5")}
    history.go_back()
    now = json_of(alice.patch(f"/tasks/{task['id']}", {"title": "other"}))

    for path, tag in lost.items():
        answer = alice.get(path, headers={"If-None-Match": tag})
        assert answer.status_code == 200
        assert json_of(answer)["tasks"] == [now]


@pytest.mark.parametrize("sort", ["-created_at", "-updated_at", "title", "completed_at"])
def test_a_list_that_was_begun_before_is_not_gone_on_with(alice, history, sort):
    for title in "abc":
        alice.creates(title)
    history.remember()
    page = json_of(alice.get(f"/tasks?limit=1&sort={sort}"))
    history.go_back()

    refused = alice.get(f"/tasks?limit=1&sort={sort}&cursor={page['next_cursor']}")

    assert_refused_field(refused, "/query/cursor", "outdated")


def test_neither_is_the_trash(alice, history):
    for title in "abc":
        alice.delete(f"/tasks/{alice.creates(title)['id']}")
    history.remember()
    page = json_of(alice.get("/trash?limit=1"))
    history.go_back()

    refused = alice.get(f"/trash?limit=1&cursor={page['next_cursor']}")

    assert_refused_field(refused, "/query/cursor", "outdated")


def test_lists_that_were_begun_after_it_go_on(alice, history):
    tasks = [alice.creates(title) for title in "abc"]
    history.remember()
    history.go_back()

    page = json_of(alice.get("/tasks?limit=2"))
    rest = json_of(alice.get(f"/tasks?limit=2&cursor={page['next_cursor']}"))

    assert [task["id"] for task in page["tasks"] + rest["tasks"]] == [
        task["id"] for task in reversed(tasks)
    ]


def test_the_tag_of_what_was_kept_is_good_for_it(alice, history):
    task = alice.creates()
    tag = etag_of(alice, task)
    history.remember()
    history.go_back()

    written = alice.patch(f"/tasks/{task['id']}", {"title": "b"}, headers={"If-Match": tag})

    assert written.status_code == 200


def test_who_was_lost_with_all_begins_where_no_counter_has_been(variant, history, sql):
    app = variant(auth_mode="path")
    ada = Caller(app.test_client(), "ada", None)
    history.remember()
    lost = ada.creates_by_path("lost")
    history.go_back()

    again = ada.creates_by_path("again")

    [incarnation] = sql("SELECT max(first_change) AS first FROM incarnations")
    assert again["version"] == incarnation["first"] + 1
    assert again["version"] != lost["version"]
    assert sql("SELECT feed_floor FROM users") == [{"feed_floor": incarnation["first"]}]


def test_a_new_account_begins_there_too(app, history, sql):
    history.remember()
    history.go_back()

    bob = register(app, "bob@example.com")

    [incarnation] = sql("SELECT max(first_change) AS first FROM incarnations")
    assert bob.creates()["version"] == incarnation["first"] + 1
    assert json_of(bob.get("/tasks/changes"))["has_more"] is False


def test_each_incarnation_is_beyond_the_one_before_whatever_the_clock_says(alice, history, sql):
    history.remember()
    ahead = 2**52
    sql("UPDATE users SET change_seq = :ahead", ahead=ahead)

    first = json_number(history.go_back())
    sql("INSERT INTO incarnations (first_change) VALUES (:ahead)", ahead=ahead)
    second = json_number(history.go_back())
    sql("UPDATE users SET change_seq = change_seq + 10")
    third = json_number(history.go_back())

    assert first < ahead < second < third


def json_number(said):
    return int(said.split()[-1].removesuffix("."))


def test_a_version_is_exact_in_javascript(alice, history):
    history.remember()
    history.go_back()

    assert 2**50 < alice.creates()["version"] < 2**53 - 1


def test_writes_go_on_while_it_is_renewed(app, alice, history):
    task = alice.creates()
    path = f"/tasks/{task['id']}"

    def write(number):
        return json_of(alice.patch(path, {"order": number}))["version"]

    history.remember()
    with ThreadPoolExecutor(5) as pool:
        writing = [pool.submit(write, number) for number in range(60)]
        for _ in range(5):
            renewed = app.test_cli_runner().invoke(args=["renew-incarnation"])
            assert renewed.exit_code == 0, renewed.output
        versions = [one.result() for one in writing]

    assert len(set(versions)) == 60


def test_the_doctor_notices_a_server_that_was_promoted_or_replaced(app, alice, history, sql):
    history.remember()
    history.go_back()
    sql("UPDATE incarnations SET server = 'another/00000001'")

    examined = app.test_cli_runner().invoke(args=["doctor"])
    assert "WRONG incarnation: " in examined.output
    assert "flask renew-incarnation" in examined.output

    app.test_cli_runner().invoke(args=["renew-incarnation"])
    examined = app.test_cli_runner().invoke(args=["doctor"])
    assert "OK    incarnation: " in examined.output


def test_the_doctor_says_where_a_server_does_not_tell(app, history, sql):
    sql("INSERT INTO incarnations (first_change, server) VALUES (1, NULL)")

    examined = app.test_cli_runner().invoke(args=["doctor"])

    assert "NOTE  incarnation: " in examined.output


def test_users_read_which_incarnation_it_is_and_write_none(app, sql):
    privileges = sql(
        "SELECT privilege_type AS name FROM information_schema.role_table_grants"
        " WHERE grantee = 'taskapi_user' AND table_name = 'incarnations'"
    )

    assert [row["name"] for row in privileges] == ["SELECT"]
