"""What an operator does by `flask …`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskapi import create_app, devdb
from taskapi.cli import backup
from taskapi.cli.backup import _libpq_environment, _remove_transaction_timeout
from tests.support.people import PASSWORD, assert_problem, bearer
from tests.support.service import (
    ROOT,
    Caller,
    free_port,
    make_settings,
    migrated_data,
    running_service,
)


@pytest.fixture
def flask(app):
    """Run a command of the application and return what it said."""

    def run(*arguments, exit_code=0, to=app, **kwargs):
        finished = to.test_cli_runner().invoke(args=list(arguments), **kwargs)
        assert exit_code in (finished.exit_code, None), finished.output
        return finished.output

    return run


def log_in(client, email, password=PASSWORD):
    return client.post("/auth/login", json={"email": email, "password": password})


def test_an_account_is_opened_with_a_password_from_a_pipe(flask, client):
    said = flask(
        *("users", "create", "Ada@Example.com", "--name", "Ada", "--password-stdin"),
        input=f"{PASSWORD}\n",
    )

    answer = log_in(client, "ada@example.com")
    assert answer.json["user"]["id"] == said.splitlines()[-1]
    assert answer.json["user"]["name"] == "Ada"


def test_the_password_is_asked_for_twice(flask, client):
    flask("users", "create", "ada@example.com", input=f"{PASSWORD}\n{PASSWORD}\n")

    assert log_in(client, "ada@example.com").status_code == 200


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("ada@example.com", "short", "/password"),
        ("nonsense", PASSWORD, "/email"),
        ("alice@example.com", PASSWORD, "exists already"),
    ],
)
def test_what_cannot_be_an_account_is_refused_with_the_reason(flask, alice, email, password, said):
    output = flask("users", "create", email, "--password-stdin", input=f"{password}\n", exit_code=1)

    assert said in output


def test_accounts_are_listed_with_their_open_sessions(flask, app, alice, bob):
    log_in(app.test_client(), "bob@example.com")
    flask("users", "disable", "alice@example.com")

    lines = [line.split("\t") for line in flask("users", "list").splitlines()]

    listed = {line[0]: line[1:3] + line[4:] for line in lines if len(line) == 6}
    assert listed[alice.id] == ["alice@example.com", "Alice", "0", "disabled"]
    assert listed[bob.id] == ["bob@example.com", "Bob", "2", ""]


def test_a_disabled_account_keeps_its_tasks_and_opens_no_session(flask, client, alice, bob):
    task = alice.creates()

    flask("users", "disable", "ALICE@example.com")

    assert_problem(alice.get("/tasks"), 401, "session_ended")
    refreshed = client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert_problem(refreshed, 401, "session_ended")
    assert_problem(log_in(client, "alice@example.com"), 403, "account_disabled")
    wrong = log_in(client, "alice@example.com", "a wrong password")
    assert_problem(wrong, 401, "credentials_invalid")
    assert bob.get("/tasks").status_code == 200

    flask("users", "enable", "alice@example.com")
    token = log_in(client, "alice@example.com").json["access_token"]
    assert client.get("/tasks", headers=bearer(token)).json["tasks"] == [task]


def test_sessions_are_listed_and_ended(flask, app, alice, bob):
    second = log_in(app.test_client(), "alice@example.com").json["access_token"]

    lines = flask("users", "sessions", "alice@example.com").splitlines()
    ids = [line.split("\t")[0] for line in lines if line.count("\t") == 4]
    assert len(ids) == 2
    assert alice.session_id in ids

    assert "1 sessions ended" in flask("tokens", "revoke", "--session", alice.session_id)
    assert_problem(alice.get("/tasks"), 401, "session_ended")
    assert app.test_client().get("/tasks", headers=bearer(second)).status_code == 200
    flask("tokens", "revoke", "--session", alice.session_id, exit_code=1)

    assert "1 sessions ended" in flask("tokens", "revoke", "alice@example.com")
    assert app.test_client().get("/tasks", headers=bearer(second)).status_code == 401
    assert bob.get("/tasks").status_code == 200
    flask("tokens", "revoke", "--all")
    assert bob.get("/tasks").status_code == 401


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "disable", "nobody@example.com"),
        ("users", "enable", "nobody@example.com"),
        ("users", "sessions", "nobody@example.com"),
        ("users", "unlock", "nobody@example.com"),
        ("tokens", "revoke", "nobody@example.com"),
    ],
)
def test_nobody_is_nobodys_account(flask, arguments):
    assert "no account with this e-mail address" in flask(*arguments, exit_code=1)


@pytest.mark.parametrize("arguments", [(), ("a@example.com", "--all")])
def test_whose_tokens_are_meant_must_be_said(flask, alice, arguments):
    assert "Say one of the three" in flask("tokens", "revoke", *arguments, exit_code=2)
    assert alice.get("/tasks").status_code == 200


def test_what_a_device_calls_itself_is_no_command_for_a_terminal(flask, app):
    client = app.test_client()
    body = {"email": "eve@example.com", "password": PASSWORD, "name": "\x1b[2Jeve\tx"}
    assert client.post("/auth/register", json=body).status_code == 201

    assert "\x1b" not in flask("users", "list")


def test_a_purge_forgets_what_ended_long_ago(flask, client, alice, sql):
    log_in(client, "alice@example.com", "a wrong password")
    sql("UPDATE login_attempts SET last_at = now() - interval '3 days'")
    old = log_in(client, "alice@example.com").json
    client.post("/auth/logout", headers=bearer(old["access_token"]))
    sql("UPDATE sessions SET revoked_at = now() - interval '31 days' WHERE revoked_at IS NOT NULL")
    kept = sql(
        "SELECT count(*) AS count FROM login_attempts WHERE last_at > now() - interval '1 d'"
    )

    assert "1 ended sessions" in flask("purge")

    assert [row["id"] for row in sql("SELECT id FROM sessions")] == [alice.session_id]
    assert sql("SELECT count(*) AS count FROM login_attempts") == kept
    assert "0 ended sessions, 0 counts" in flask("purge")
    assert alice.get("/tasks").status_code == 200


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a `pg_dump` of a version, which does something, and no other."""

    def install(version, what="exit 1"):
        program = tmp_path / "postgresql" / "1" / "bin" / "pg_dump"
        program.parent.mkdir(parents=True)
        tell = f"echo 'pg_dump (PostgreSQL) {version} (Debian)'; exit"
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ {tell}; }}\n{what}\n')
        program.chmod(0o755)
        monkeypatch.setattr(backup, "_DEBIAN_CLUSTERS", tmp_path / "postgresql")

    return install


@pytest.mark.parametrize("version", ["13.21", "9.6.24"])
def test_the_doctor_says_that_pg_dump_is_older_than_the_server(flask, sql, installed, version):
    [server] = sql("SHOW server_version")
    major = re.split(r"\D", str(server["server_version"]))[0]
    installed(version)

    said = flask("doctor", exit_code=1)

    assert "WRONG backup: " in said
    assert f"apt-get install postgresql-client-{major}" in said


@pytest.mark.parametrize("version", ["99.1", "99beta1"])
def test_a_newer_pg_dump_is_in_order(flask, installed, version):
    installed(version)

    assert "OK    backup: " in "".join(flask("doctor", exit_code=None))


def test_the_doctor_finds_all_in_order(flask, sql, installed):
    installed("99.1")
    # A server that the tests are given may do without safety for the sake of speed.
    [fsync] = sql("SHOW fsync")
    is_safe = fsync == {"fsync": "on"}

    lines = flask("doctor", exit_code=0 if is_safe else 1).splitlines()

    subjects = {line[6:].partition(":")[0] for line in lines if line.startswith("OK")}
    assert subjects >= {
        *("settings", "database", "migrations", "isolation", "clock", "connections", "pooler")
    }
    wrong = [line[6:].partition(":")[0] for line in lines if line.startswith("WRONG")]
    assert wrong == ([] if is_safe else ["durability"])


def test_the_doctor_says_what_to_do(flask, variant, sql):
    sql("ALTER TABLE trash DISABLE ROW LEVEL SECURITY")
    try:
        said = flask("doctor", exit_code=1)
        # Whoever has not seen it in order yet does not begin to serve.
        at_first = flask("doctor", to=variant(), exit_code=1)
    finally:
        sql("ALTER TABLE trash ENABLE ROW LEVEL SECURITY")

    assert "WRONG isolation: row-level security is not in force on trash" in said
    assert "WRONG database: The database does not keep users apart" in at_first


def test_the_doctor_looks_at_what_is_around_the_database(flask, variant):
    sick = variant(
        rate_limit_storage_url=f"redis://127.0.0.1:{free_port()}/0",
        auth_mode="external",
        external_jwks_url=f"http://127.0.0.1:{free_port()}/jwks",
        external_jwt_issuer="i",
        external_jwt_audience="a",
        web_concurrency=200,
        threads=100,
    )

    said = flask("doctor", to=sick, exit_code=1)

    assert "WRONG redis: it does not answer" in said
    assert "WRONG issuer: EXTERNAL_JWKS_URL does not answer" in said
    assert "WRONG connections: WEB_CONCURRENCY × THREADS = 20000" in said
    assert "OK    isolation" in said


def test_the_doctor_says_that_the_database_is_away(flask):
    away = create_app(make_settings(database_url="postgresql+psycopg2://127.0.0.1:9/none"))

    assert "WRONG database:" in flask("doctor", to=away, exit_code=1)


@pytest.mark.parametrize(
    "command",
    [
        *(("doctor",), ("backup",), ("restore",), ("purge",), ("tasks", "purge"), ("db",)),
        ("renew-incarnation",),
        *(("users",), ("users", "create"), ("users", "list"), ("users", "disable")),
        *(("users", "sessions"), ("users", "import"), ("users", "unlock"), ("tokens", "revoke")),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(flask, command):
    said = flask(*command, "--help")

    assert said.startswith("Usage: ")
    assert len(said.splitlines()) > 4


def test_a_command_says_in_a_line_each_which_settings_are_wrong():
    finished = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "doctor"],
        cwd=ROOT,
        env={**os.environ, "JWT_SECRET_KEY": "short", "RATE_LIMIT_READS": "5"},
        capture_output=True,
        text=True,
        check=False,
    )

    first, *lines = finished.stderr.splitlines()
    assert (finished.returncode, first) == (1, "Error: these settings are wrong:")
    assert [line.partition(":")[0] for line in lines] == ["JWT_SECRET_KEY", "RATE_LIMIT_READS"]


def test_a_backup_that_cannot_be_written_says_so(flask, tmp_path):
    said = flask("backup", str(tmp_path / "nowhere" / "all.dump"), exit_code=1)

    assert said.startswith("Error: ")
    assert "cannot be written (No such file or directory)" in said


@pytest.fixture
def laid(tmp_path):
    """Another user's file, which a backup must not be written into."""
    other = tmp_path / "others"
    other.write_text("theirs")
    other.chmod(0o666)
    yield other
    assert other.read_text() == "theirs"
    assert other.stat().st_mode & 0o777 == 0o666


@pytest.mark.service
@pytest.mark.parametrize("lay", [Path.symlink_to, Path.hardlink_to])
def test_a_backup_goes_through_no_file_that_another_user_has_laid(
    tmp_path, in_directory, laid, lay
):
    lay(tmp_path / ".all.dump.part", laid)

    in_directory("backup", str(tmp_path / "all.dump"))

    assert (tmp_path / "all.dump").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob(".all.dump*")) == [".all.dump.part"]


@pytest.mark.service
def test_a_backup_replaces_a_link_and_not_what_it_leads_to(tmp_path, in_directory, laid):
    (tmp_path / "all.dump").symlink_to(laid)

    assert "is there already" in in_directory("backup", str(tmp_path / "all.dump"), exit_code=1)
    in_directory("backup", "--force", str(tmp_path / "all.dump"))

    assert not (tmp_path / "all.dump").is_symlink()


def test_a_link_that_leads_nowhere_is_there_already(flask, tmp_path):
    (tmp_path / "all.dump").symlink_to(tmp_path / "nowhere")

    assert "is there already" in flask("backup", str(tmp_path / "all.dump"), exit_code=1)


def test_a_backup_that_fails_leaves_nothing_behind(flask, tmp_path, installed):
    installed(
        "99.1", 'for file; do :; done; echo half > "${file#--file=}"; echo too bad >&2; exit 1'
    )
    directory = tmp_path / "backups"
    directory.mkdir()

    said = flask("backup", str(directory / "all.dump"), exit_code=1)

    assert said == "Error: too bad\n"
    assert not list(directory.iterdir())


def test_a_backup_waits_ten_seconds_for_a_lock_and_not_for_ever(flask, tmp_path, installed):
    # It sets lock_timeout to nothing by itself.
    installed("99.1", 'echo "$@" >&2; exit 1')

    said = flask("backup", str(tmp_path / "all.dump"), exit_code=1)

    assert "--lock-wait-timeout=10s" in said.split()


def test_a_backup_takes_the_same_way_to_the_database():
    options = "sslmode=verify-full&sslcert=/c&sslkey=/k&options=-cx%3Dy&connect_timeout=7"
    url = f"postgresql+psycopg2://a:b@h:6543/d?{options}"
    with create_app(make_settings(database_url=url)).app_context():
        said = _libpq_environment()

    assert (said["PGHOST"], said["PGPORT"], said["PGDATABASE"]) == ("h", "6543", "d")
    assert (said["PGUSER"], said["PGPASSWORD"]) == ("a", "b")
    assert (said["PGSSLMODE"], said["PGSSLCERT"], said["PGSSLKEY"]) == ("verify-full", "/c", "/k")
    assert said["PGOPTIONS"] == "-cx=y -c lock_timeout=10s"
    assert said["PGCONNECT_TIMEOUT"] == "7"


def test_a_backup_knows_all_hosts_of_the_database():
    url = "postgresql+psycopg2:///d?host=h1:5432&host=h2:5433&target_session_attrs=read-write"
    with create_app(make_settings(database_url=url)).app_context():
        said = _libpq_environment()

    assert (said["PGHOST"], said["PGPORT"]) == ("h1,h2", "5432,5433")
    assert said["PGTARGETSESSIONATTRS"] == "read-write"


@pytest.fixture
def in_directory(tmp_path):
    """Run a command on the embedded database of a directory."""
    data = tmp_path / "postgres"
    subprocess.run(["cp", "-a", "--no-target-directory", migrated_data(), data], check=True)

    def run(*arguments: str, exit_code: int = 0) -> str:
        finished = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            cwd=ROOT,
            env={**os.environ, "EMBEDDED_POSTGRES_DIR": str(data)},
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == exit_code, finished.stderr
        return finished.stdout + finished.stderr

    return run


@pytest.mark.service
def test_every_row_is_there_again_after_a_restore(tmp_path, in_directory):
    file = tmp_path / "all.dump"
    with running_service(tmp_path) as service:
        alice = Caller(service, "alice@example.com")
        for number in range(20):
            title = {"title": f"Grüße 🥛 {number}"}
            key = {"Idempotency-Key": str(number)}
            task = alice.call("POST", "/tasks", json=title, headers=key).json()
            if number % 4 == 0:
                alice.call("DELETE", f"/tasks/{task['id']}")
        before = everything(tmp_path)

        said = in_directory("backup", str(file))
        assert str(file) in said
        assert file.stat().st_mode & 0o777 == 0o600
        assert "is there already" in in_directory("backup", str(file), exit_code=1)

        alice.call("DELETE", "/trash")
        for number in range(5):
            alice.call("POST", "/tasks", json={"title": f"Later {number}"})
        Caller(service, "bob@example.com")
        since = alice.call("GET", "/tasks/changes").json()["next"]
        listed = alice.call("GET", "/tasks").headers["ETag"]
        lost = alice.call("PATCH", f"/tasks/{task['id']}", json={"title": "lost"}).headers["ETag"]
        assert everything(tmp_path) != before

        assert "Done: 1 users." in in_directory("restore", "--yes", str(file))

        assert everything(tmp_path) == before
        # Of the workers' connections some have something prepared on the tables of before.
        answers = [alice.call("GET", "/tasks?limit=200") for _ in range(10)]
        assert len(answers[-1].json()["tasks"]) == 15
        # Whoever has seen what is gone again begins anew, also where the numbers are reached again.
        for number in range(10):
            alice.call("PATCH", f"/tasks/{task['id']}", json={"title": f"Again {number}"})
        assert alice.call("GET", f"/tasks/changes?since={since}").status_code == 410
        tag = {"If-Match": lost}
        written = alice.call("PATCH", f"/tasks/{task['id']}", json={"title": "x"}, headers=tag)
        assert written.status_code == 412
        tag = {"If-None-Match": listed}
        assert alice.call("GET", "/tasks", headers=tag).status_code == 200


@pytest.mark.service
def test_a_file_of_an_older_release_is_migrated(tmp_path, in_directory, monkeypatch):
    file = tmp_path / "old.dump"
    monkeypatch.setenv("MIGRATE_ON_START", "no")
    with devdb.running(tmp_path / "postgres"):
        in_directory("db", "downgrade", "0005")
        in_directory("backup", str(file))
    monkeypatch.delenv("MIGRATE_ON_START")

    assert "Done: 0 users." in in_directory("restore", "--yes", str(file))

    said = in_directory("doctor")
    assert "OK    migrations: up to date" in said
    assert "OK    incarnation: " in said
    with devdb.running(tmp_path / "postgres"):
        [incarnations] = everything(tmp_path, "incarnations").values()
    assert len(incarnations) == 2


@pytest.mark.service
def test_a_file_that_breaks_off_changes_nothing(tmp_path, in_directory):
    file, half = tmp_path / "all.dump", tmp_path / "half.dump"
    in_directory("users", "create", "ada@example.com", "--password-stdin")
    in_directory("backup", str(file))
    half.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])

    in_directory("restore", "--yes", str(half), exit_code=1)

    assert "ada@example.com" in in_directory("users", "list")


@pytest.mark.service
def test_a_file_that_is_no_backup_changes_nothing(tmp_path, in_directory):
    file = tmp_path / "no.dump"
    file.write_text("nothing of the kind")

    assert "pg_restore: error" in in_directory("restore", "--yes", str(file), exit_code=1)
    assert "OK    migrations" in in_directory("doctor")


@pytest.mark.service
def test_a_script_of_a_newer_pg_restore_fits_an_older_server(tmp_path, in_directory):
    file, script = tmp_path / "all.dump", tmp_path / "all.sql"
    in_directory("backup", str(file))
    restore = devdb.program_dir() / "pg_restore"
    subprocess.run([restore, f"--file={script}", file], check=True)
    # The newest there are; what 17 has brought, 16 would refuse.
    before = script.read_text()
    assert "\nSET transaction_timeout = 0;\n" in before

    _remove_transaction_timeout(script)

    assert script.read_text() == before.replace("SET transaction", "--- transaction")


def everything(directory, *names):
    """Read all rows of all tables, or of some; but for what a restore begins anew."""
    from sqlalchemy import text

    from taskapi.db.base import db
    from taskapi.db.execute import SYSTEM, execute

    app = create_app(make_settings(database_url=devdb.url(directory / "postgres")))
    with app.app_context():
        tables = execute(
            text(
                "SELECT relname AS name FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'public'::regnamespace AND relname <> 'auth_mode_lease'"
            ),
            acting_as=SYSTEM,
        )
        rows = {
            table["name"]: sorted(
                str(row["row"])
                for row in execute(
                    text(
                        "SELECT to_jsonb(one) - ARRAY['change_seq', 'feed_floor'] AS row"
                        f" FROM {table['name']} AS one"
                    ),
                    acting_as=SYSTEM,
                )
            )
            for table in tables
            if table["name"] in names or (not names and table["name"] != "incarnations")
        }
        db.engine.dispose()
    assert len(rows) >= (len(names) or 8)
    return rows
