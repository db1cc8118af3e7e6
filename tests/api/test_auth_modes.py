"""One AUTH_MODE at a time serves a database, and the start tells of users of another."""

import json
import threading
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace

import psycopg2
import pytest
import requests
from sqlalchemy import make_url

from taskapi.auth import modes
from taskapi.db.base import db
from tests.support.people import Caller as PathCaller
from tests.support.people import register
from tests.support.service import Caller, free_port, run_cli, running_service

SECRET = "s" * 32
EXTERNAL = {"AUTH_MODE": "external", "EXTERNAL_JWT_SECRET": SECRET}


@pytest.fixture
def lease(app, sql):
    """The lease's row: how long ago it was renewed can be set, and who has it."""
    sql("DELETE FROM auth_mode_lease")

    class Row:
        def renewed(self, seconds_ago):
            sql(
                "UPDATE auth_mode_lease SET renewed_at = clock_timestamp() - :s * interval '1 s'",
                s=seconds_ago,
            )

        def holder(self):
            return sql("SELECT auth_mode FROM auth_mode_lease")[0]["auth_mode"]

    return Row()


@pytest.fixture
def claim(app):
    def claim(mode, *, may_wait=False):
        with app.app_context():
            modes.acquire_lease(db.engine, auth_mode=mode, may_wait=may_wait)

    return claim


def test_instances_of_one_mode_share_a_database(claim, lease):
    for _ in range(3):
        claim("local")

    assert lease.holder() == "local"


@pytest.mark.parametrize(("first", "second"), [("local", "path"), ("path", "external")])
def test_another_mode_is_refused_while_one_serves(claim, lease, first, second):
    claim(first)

    with pytest.raises(PermissionError) as refusal:
        claim(second)

    assert f"AUTH_MODE={first} currently serves this database" in str(refusal.value)
    assert "Stop every instance" in str(refusal.value)
    assert lease.holder() == first


def test_another_mode_may_serve_when_the_lease_has_run_out(claim, lease):
    claim("local")
    lease.renewed(seconds_ago=21)

    claim("path")

    assert lease.holder() == "path"


def test_a_lease_of_a_clock_that_ran_ahead_keeps_nobody_out(claim, lease):
    claim("local")
    lease.renewed(seconds_ago=-3600)

    claim("path")

    assert lease.holder() == "path"


def test_who_may_wait_begins_when_the_lease_runs_out(claim, lease):
    claim("local")
    lease.renewed(seconds_ago=19)

    claim("path", may_wait=True)

    assert lease.holder() == "path"


def test_who_may_wait_is_refused_when_the_lease_is_renewed(claim, lease, monkeypatch):
    claim("local")
    # The other instance renews its lease while this one waits; other threads sleep as ever.
    monkeypatch.setattr(modes, "time", SimpleNamespace(sleep=lambda _seconds: claim("local")))

    with pytest.raises(PermissionError):
        claim("path", may_wait=True)

    assert lease.holder() == "local"


def test_of_two_modes_that_begin_at_once_one_gets_the_database(claim, lease):
    outcomes = []

    def begin(mode):
        try:
            claim(mode)
            outcomes.append(mode)
        except PermissionError:
            pass

    threads = [threading.Thread(target=begin, args=(mode,)) for mode in ("local", "path") * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [lease.holder()] * 6


def test_accounts_are_told_of_where_no_one_logs_in(app, variant):
    register(app, "alice@example.com")

    assert sentences(app) == []
    [told] = sentences(variant(auth_mode="path"))
    assert "accounts of AUTH_MODE=local" in told
    assert "path" in told
    [told] = sentences(variant(auth_mode="external", external_jwt_secret=SECRET))
    assert "accounts of AUTH_MODE=local" in told


def test_users_without_an_account_are_told_of_where_people_log_in(app, variant, lease):
    by_path = variant(auth_mode="path")
    PathCaller(by_path.test_client(), "ada", None).creates_by_path()

    assert sentences(by_path) == []
    [told] = sentences(app)
    assert "users of AUTH_MODE=external or path" in told


def test_users_of_an_issuer_are_told_of_where_the_path_is_believed(variant, claim, lease):
    by_path = variant(auth_mode="path")
    PathCaller(by_path.test_client(), "ada", None).creates_by_path()
    claim("external")
    lease.renewed(seconds_ago=60)

    claim("path")

    [told] = sentences(by_path)
    assert "AUTH_MODE=external served this database before" in told


def sentences(app):
    with app.app_context():
        return list(modes.describe_other_users(app.config["AUTH_MODE"]))


@pytest.mark.parametrize(
    ("seconds_ago", "word", "said"), [(1, "WRONG", "currently serves"), (60, "OK", "all users")]
)
def test_the_doctor_looks_at_the_mode(app, claim, lease, seconds_ago, word, said):
    claim("path")
    lease.renewed(seconds_ago)

    run = app.test_cli_runner().invoke(args=["doctor"])

    [line] = [one for one in run.output.splitlines() if "auth mode: " in one and word in one]
    assert said in line


def test_the_doctor_notes_users_of_another_mode(app, variant):
    register(app, "alice@example.com")

    run = variant(auth_mode="path").test_cli_runner().invoke(args=["doctor"])

    assert "NOTE  auth mode: This database has accounts of AUTH_MODE=local" in run.output


def test_the_role_of_users_does_not_reach_the_lease(app, alice, sql):
    for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        ask = "SELECT has_table_privilege('taskapi_user', 'auth_mode_lease', :p) AS it"
        assert sql(ask, p=privilege) == [{"it": False}]


@pytest.mark.service
def test_a_service_of_another_mode_does_not_start_beside_one_that_runs(tmp_path):
    with running_service(tmp_path) as service:
        ada = Caller(service, "ada@example.com")
        data = str(tmp_path / "postgres")

        for settings in ({"AUTH_MODE": "path"}, EXTERNAL):
            run = run_cli(PORT=str(free_port()), EMBEDDED_POSTGRES_DIR=data, **settings)
            assert run.returncode == 1
            mode = settings["AUTH_MODE"]
            assert (
                "taskapi cannot start: AUTH_MODE=local currently serves this database, so "
                f"AUTH_MODE={mode} cannot" in run.stderr
            )

        assert ada.call("GET", "/tasks").status_code == 200
        # What only migrates serves nobody.
        migrated = run_cli("--migrate-only", EMBEDDED_POSTGRES_DIR=data, AUTH_MODE="path")
        assert migrated.returncode == 0, migrated.stderr
        with running_service(tmp_path) as second:  # A second of the same mode.
            assert Caller(second, "bob@example.com").call("GET", "/tasks").status_code == 200


@pytest.mark.service
def test_after_a_crash_another_mode_starts_and_tells_whose_users_there_are(tmp_path):
    with running_service(tmp_path, LOG_FORMAT="json") as service:
        Caller(service, "ada@example.com")
        master = service.master()
        service.process.kill()
        for process in [*master.children(), master]:
            process.kill()
        service.process.wait()

    with running_service(tmp_path, AUTH_MODE="path", LOG_FORMAT="json") as service:
        assert requests.get(f"{service.url}/api/eve/tasks", timeout=10).json() == []
        told = events(service, "users_of_another_auth_mode")

    assert [line["level"] for line in told] == ["warning"]
    assert "This database has accounts of AUTH_MODE=local" in told[0]["detail"]


@pytest.mark.service
def test_a_service_whose_place_another_mode_has_taken_refuses_until_that_has_ended(
    tmp_path, new_database
):
    """It was frozen for longer than its lease, and another service began meanwhile."""
    url = make_url(new_database("place")).set(drivername="postgresql")
    dsn = url.render_as_string(hide_password=False)
    settings = {"DATABASE_URL": dsn, "JWT_SECRET_KEY": SECRET, "LOG_FORMAT": "json"}
    take = "UPDATE auth_mode_lease SET auth_mode = 'path', renewed_at = clock_timestamp() - %s"
    with (
        running_service(tmp_path, **settings) as service,  # type: ignore[arg-type]
        closing(psycopg2.connect(dsn)) as other,
    ):
        ada = Caller(service, "ada@example.com")
        other.autocommit = True
        other.cursor().execute(take, (timedelta(0),))

        service.wait_until("/health", 503)
        assert ada.call("GET", "/tasks").json()["code"] == "database_not_ready"
        assert "AUTH_MODE=path currently serves" in events(service, "database_not_fit")[0]["reason"]

        other.cursor().execute(take, (timedelta(minutes=1),))
        service.wait_until("/health", 200)
        assert ada.call("GET", "/tasks").status_code == 200


@pytest.mark.service
def test_a_service_that_starts_without_its_database_claims_it_later(tmp_path, new_database):
    url = make_url(new_database("later")).set(drivername="postgresql")
    dsn = url.render_as_string(hide_password=False)
    settings = {"DATABASE_URL": dsn, "JWT_SECRET_KEY": SECRET}
    with closing(psycopg2.connect(url.set(database="postgres").render_as_string())) as admin:
        admin.autocommit = True
        allow = f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS "
        admin.cursor().execute(allow + "false")
        with running_service(tmp_path, "/health/live", **settings) as service:  # type: ignore[arg-type]
            service.wait_until("/health", 503)
            admin.cursor().execute(allow + "true")
            service.wait_until("/health", 200)

            run = run_cli(PORT=str(free_port()), AUTH_MODE="path", **settings)

    assert run.returncode == 1
    assert "AUTH_MODE=local currently serves this database" in run.stderr


def events(service, name):
    lines = [line for line in service.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line.get("event") == name]
