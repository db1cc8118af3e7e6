"""Contract A, by the client that was written for it: a frontend with fetch."""

import os
import shutil
import subprocess

import pytest
import requests

from taskapi.database import SYSTEM, execute
from tests.service import ROOT, Caller, Service, running_service

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
]


def run_client(service: Service, user_id: str, token: str = "") -> None:
    finished = subprocess.run(
        ["node", ROOT / "tests" / "contract_a.mjs"],
        env={**os.environ, "BASE": service.url, "USER_ID": user_id, "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.stdout == "contract A holds\n", finished.stderr


def test_the_unmodified_frontend_where_the_path_is_believed(tmp_path):
    with running_service(tmp_path, AUTH_MODE="path") as service:
        for user_id in ("user-1", "a/b|c d@100%", "用户 👩‍💻"):
            run_client(service, user_id)


def test_the_frontend_with_an_account_of_ours(tmp_path):
    with running_service(tmp_path) as service:
        ada = Caller(service, "ada@example.com")
        user_id = ada.call("GET", "/auth/me").json()["id"]
        token = str(ada.session.headers["Authorization"]).removeprefix("Bearer ")

        run_client(service, user_id, token)

        answer = ada.call("GET", "/api/somebody%20else/tasks")
        assert (answer.status_code, answer.json()["code"]) == (403, "user_mismatch")


def test_ten_thousand_tasks_come_as_one_array_and_are_there_after_a_restart(tmp_path):
    with running_service(tmp_path, AUTH_MODE="path") as service:
        url = f"{service.url}/api/ada/tasks"
        requests.post(url, json={"title": "the first"}, timeout=10).raise_for_status()
        fill(tmp_path, "ada", 9_999)
        before = requests.get(url, timeout=60).json()
    with running_service(tmp_path, AUTH_MODE="path") as service:
        after = requests.get(f"{service.url}/api/ada/tasks", timeout=60).json()

    assert len(before) == 10_000
    assert len({task["id"] for task in before}) == 10_000
    newest = [(task["created_at"], task["id"]) for task in before]
    assert newest == sorted(newest, reverse=True)
    assert after == before


def test_a_list_that_breaks_off_is_not_taken_for_whole(tmp_path):
    with running_service(tmp_path, AUTH_MODE="path") as service:
        url = f"{service.url}/api/ada/tasks"
        requests.post(url, json={"title": "the first"}, timeout=10).raise_for_status()
        fill(tmp_path, "ada", 20_000)
        with requests.get(url, stream=True, timeout=30) as answer:
            chunks = answer.iter_content(1024)
            assert next(chunks).startswith(b'[{"id"')
            sql(tmp_path, "ALTER TABLE tasks RENAME TO elsewhere")
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                b"".join(chunks)


def fill(directory, user_id: str, count: int) -> None:
    sql(
        directory,
        f"""
        INSERT INTO tasks (user_id, id, title, description, version)
        SELECT '{user_id}', gen_random_uuid(), 'Task ' || n, repeat('text ', 20), 1000 + n
          FROM generate_series(1, {count}) AS n
        """,
    )


def sql(directory, statement: str) -> None:
    """Run a statement on the database of the service that runs in this directory."""
    from sqlalchemy import text

    from taskapi import create_app, embedded
    from taskapi.extensions import db
    from tests.service import make_settings

    app = create_app(make_settings(database_url=embedded.url(directory / "postgres")))
    with app.app_context():
        execute(text(statement), acting_as=SYSTEM)
        db.engine.dispose()
