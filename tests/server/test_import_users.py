"""`flask users import FILE`: accounts brought from elsewhere."""

import json
import subprocess
import sys
import threading

import bcrypt
import pytest
from argon2 import PasswordHasher, Type

from tests.support.people import PASSWORD, bearer
from tests.support.service import ROOT, Caller, running_service

BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
ARGON2 = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=2).hash(PASSWORD)
ARGON2_I = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1, type=Type.I).hash(PASSWORD)


@pytest.fixture
def bring(app, tmp_path):
    """Import these lines; dicts become JSON."""

    def bring(*lines):
        file = tmp_path / "users.jsonl"
        file.write_bytes(
            b"".join(
                (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
                for line in lines
            )
        )
        return app.test_cli_runner().invoke(args=["users", "import", str(file)])

    return bring


def account(email, password_hash=BCRYPT, **more):
    return {"email": email, "password_hash": password_hash, **more}


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$", "argon2"])
def test_who_was_brought_logs_in_with_their_old_password_and_has_a_new_hash(
    client, bring, sql, kind
):
    password_hash = ARGON2 if kind == "argon2" else BCRYPT.replace("$2b$", kind)
    run = bring(account("Ada@Example.com", password_hash, name="Ada"))

    assert run.exit_code == 0
    assert run.stdout == "1 imported, 0 there already, 0 refused.\n"
    login = client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    assert login.status_code == 200
    assert (login.json["user"]["email"], login.json["user"]["name"]) == ("Ada@Example.com", "Ada")
    [row] = sql("SELECT password_hash FROM users")
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    headers = bearer(login.json["access_token"])
    assert client.post("/tasks", json={"title": "a"}, headers=headers).status_code == 201
    again = client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    assert again.status_code == 200


def test_an_older_kind_of_argon2_is_verified_too(client, bring):
    assert bring(account("ada@example.com", ARGON2_I)).exit_code == 0

    login = client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    assert login.status_code == 200


def test_logging_in_for_the_first_time_twice_at_once_works_twice(app, bring):
    bring(account("ada@example.com", bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(8)).decode()))
    body = {"email": "ada@example.com", "password": PASSWORD}
    statuses = []

    def log_in():
        statuses.append(app.test_client().post("/auth/login", json=body).status_code)

    threads = [threading.Thread(target=log_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 4


def test_a_wrong_password_is_wrong_here_as_well(client, bring):
    bring(account("ada@example.com"))

    login = client.post("/auth/login", json={"email": "ada@example.com", "password": "another one"})
    assert login.status_code == 401


def test_a_second_time_changes_nothing(client, bring, sql):
    lines = [account("ada@example.com"), account("grace@example.com", ARGON2)]
    bring(*lines)
    client.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    before = sql("SELECT * FROM users ORDER BY id")

    run = bring(*lines)

    assert run.stdout == "0 imported, 2 there already, 0 refused.\n"
    assert run.exit_code == 0
    assert sql("SELECT * FROM users ORDER BY id") == before


def test_who_has_an_account_here_keeps_it(client, alice, bring, sql):
    before = sql("SELECT * FROM users")

    run = bring(account("ALICE@example.com", name="Impostor"))

    assert run.stdout == "0 imported, 1 there already, 0 refused.\n"
    assert sql("SELECT * FROM users") == before


def test_a_bad_line_is_reported_with_its_number_and_stops_nothing(bring, sql):
    run = bring(
        account("one@example.com"),
        b"{not json}",
        account("nowhere"),
        b"",
        {"email": "two@example.com"},
        account("three@example.com", "md5$plain"),
        account("four@example.com", role="admin"),
        b"[]",
        b"\xff\xfe",
        account("five@example.com", BCRYPT.replace("$04$", "$31$")),
        account("bad-salt@example.com", "$2b$12$" + "a" * 53),
        account("no-ascii@example.com", "$argon2id$v=19$m=8,t=1,p=1$éééééééé$éééééééé"),
        account("six@example.com", "$argon2id$v=19$m=4194304,t=10,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"),
        account("seven@example.com"),
    )

    assert run.exit_code == 1
    assert run.stdout == "2 imported, 0 there already, 11 refused.\n"
    reported = [line for line in run.stderr.splitlines() if line.startswith("line ")]
    assert [line.partition(":")[0] for line in reported] == [
        f"line {number}" for number in (2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    ]
    assert "/email: This is not an e-mail address; write it as" in reported[1]
    assert "/password_hash: This field is required." in reported[2]
    emails = {row["email"] for row in sql("SELECT email FROM users")}
    assert emails == {"one@example.com", "seven@example.com"}
    for line in reported:
        assert "$2b$" not in line and "argon2id" not in line


def test_the_same_address_twice_in_a_file_is_one_account(bring, sql):
    run = bring(account("ada@example.com", name="first"), account("ADA@example.com", name="second"))

    assert run.stdout == "1 imported, 1 there already, 0 refused.\n"
    assert [row["name"] for row in sql("SELECT name FROM users")] == ["first"]


def test_an_empty_file_is_no_mistake(bring):
    run = bring()

    assert (run.exit_code, run.stdout) == (0, "0 imported, 0 there already, 0 refused.\n")


def test_a_missing_file_is(app):
    run = app.test_cli_runner().invoke(args=["users", "import", "/nowhere.jsonl"])

    assert run.exit_code == 2
    assert "No such file" in run.output


def test_ten_thousand_are_a_matter_of_batches(bring, sql):
    run = bring(*(account(f"user{number}@example.com") for number in range(10_000)))

    assert run.stdout == "10000 imported, 0 there already, 0 refused.\n"
    assert sql("SELECT count(*) AS count FROM users") == [{"count": 10_000}]


@pytest.mark.service
def test_an_operator_imports_with_the_service_running_or_not(tmp_path):
    import os

    def flask(*arguments, text):
        return subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            cwd=ROOT,
            env={**os.environ, "EMBEDDED_POSTGRES_DIR": str(tmp_path / "postgres")},
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    before = flask("users", "import", "-", text=json.dumps(account("ada@example.com")))
    assert (before.returncode, before.stdout[:10]) == (0, "1 imported"), before.stderr
    with running_service(tmp_path) as service:
        during = flask("users", "import", "-", text=json.dumps(account("grace@example.com")))
        assert during.returncode == 0, during.stderr
        ada, grace = (Caller(service, f"{name}@example.com") for name in ("ada", "grace"))
        for caller in (ada, grace):
            assert caller.call("POST", "/tasks", json={"title": "a"}).status_code == 201
    assert "JSON object on each" in flask("users", "import", "--help", text="").stdout
