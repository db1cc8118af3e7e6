"""The JavaScript client in Node, against the real service: the files of tests/clients/js."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import make_url

from taskapi import devdb
from tests.support import npm
from tests.support.service import ROOT, Service, free_port, running_service

pytestmark = [pytest.mark.service, npm.needs_node]

FOLDER = ROOT / "tests" / "clients" / "js"
SECRET = "a secret that the tests sign expired tokens with"


def run_node_tests(name: str, url: str = "", **environment: str) -> None:
    finished = subprocess.run(
        ["node", "--test", "--test-timeout=60000", "--test-reporter=spec", FOLDER / name],
        cwd=ROOT,
        env={**os.environ, "BASE": url, "JWT_SECRET_KEY": SECRET, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "\nℹ pass 0" not in finished.stdout


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    # Several of the tests wait for changes at the same time, each on a seat of its own.
    with running_service(
        tmp_path_factory.mktemp("service"), JWT_SECRET_KEY=SECRET, THREADS="16"
    ) as service:
        yield service


def test_tasks_are_listed_read_and_written(service):
    run_node_tests("tasks.test.mjs", service.url)


def test_a_session_lasts_as_long_as_its_refresh_token(service):
    run_node_tests("session.test.mjs", service.url)


def test_what_was_not_answered_is_sent_again_and_done_once(service):
    run_node_tests("retries.test.mjs", service.url)


def test_a_copy_follows_the_feed(service):
    run_node_tests("changes.test.mjs", service.url)


class Operator:
    """Whoever runs a service, as the tests in Node call them."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self._directory = directory
        self._settings = {"PORT": str(free_port()), **settings}
        self._running = ExitStack()
        self.service = self._start()

    def _start(self) -> Service:
        return self._running.enter_context(running_service(self._directory, **self._settings))

    def restart(self) -> None:
        self.stop()
        self.service = self._start()

    def forget(self) -> None:
        """Leave the service no memory of what was deleted, as its purge does after 90 days."""
        url = make_url(devdb.url(self._directory / "postgres")).set(drivername="postgresql")
        connection = psycopg2.connect(url.render_as_string(hide_password=False))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM tombstones")
            cursor.execute("UPDATE users SET feed_floor = change_seq")
        connection.close()

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def operator(tmp_path) -> Iterator[tuple[Operator, str]]:
    # Low enough to be reached, and soon forgotten.
    limits = {"RATE_LIMIT_ENABLED": "yes", "RATE_LIMIT_WRITES": "20/second"}
    operator = Operator(tmp_path, **limits)

    class Counter(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            getattr(operator, self.path.strip("/"))()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield operator, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    operator.stop()


def test_what_the_operator_does_is_lived_with(operator):
    whoever, url = operator
    run_node_tests("operator.test.mjs", whoever.service.url, OPERATOR=url)


def test_the_types_allow_what_is_right_and_refuse_what_is_wrong():
    strict = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"]
    modules = ["--target", "es2022", "--module", "nodenext"]
    command = [str(npm.install() / "tsc"), "--noEmit", *strict, *modules, str(FOLDER / "types.ts")]

    compiled = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout


def test_the_types_name_what_there_is():
    npm.install()
    run_node_tests("types.test.mjs")
