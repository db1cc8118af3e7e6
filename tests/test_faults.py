"""What breaks under load, through nginx: a ledger of every acknowledged write must come out even.

Each writer sends every request with an Idempotency-Key until it is answered with 201. Whatever
breaks meanwhile: nothing acknowledged is lost, nothing is doubled, and what is refused is a
problem document with 503 or 429, or a connection that broke. `make faults` takes longer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg2
import pytest
import requests
from sqlalchemy import make_url

from taskapi import embedded
from tests.nginx import Nginx, needs_nginx, nginx_before
from tests.service import Service, free_port, running_service

pytestmark = [pytest.mark.service, pytest.mark.faults, needs_nginx]

SECONDS = 6.0 if os.environ.get("AT_LENGTH") else 1.0  # of load, before and after
WRITERS = 6


class Ledger:
    """Writers who keep what was acknowledged, and what was refused."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged: dict[str, str] = {}
        self.refused: list[requests.Response] = []
        self.broken = 0
        self.last_success = 0.0
        self._stop = threading.Event()
        self._sessions = [self._register(number) for number in range(WRITERS)]
        self._threads = [
            threading.Thread(target=self._write, args=pair) for pair in enumerate(self._sessions)
        ]
        for thread in self._threads:
            thread.start()

    def _register(self, number: int) -> requests.Session:
        session = requests.Session()
        body = {"email": f"writer{number}@example.com", "password": "correct horse battery"}
        answer = session.post(f"{self.url}/auth/register", json=body, timeout=20)
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return session

    def _write(self, writer: int, session: requests.Session) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            title = f"{writer}-{number}"
            self._insist(session, title)

    def _insist(self, session: requests.Session, title: str) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = session.post(
                    f"{self.url}/tasks",
                    json={"title": title},
                    headers={"Idempotency-Key": title},
                    timeout=30,
                )
            except requests.RequestException:
                self.broken += 1
            else:
                if answer.status_code == 201:
                    self.acknowledged[title] = answer.json()["id"]
                    self.last_success = time.monotonic()
                    return
                self.refused.append(answer)
            time.sleep(0.05)
        raise AssertionError(f"{title} was not taken within a minute")

    def recovers(self, since: float) -> float:
        """Wait for a write that began and ended after this moment; return the seconds."""
        deadline = time.monotonic() + 60
        while self.last_success <= since:
            assert time.monotonic() < deadline, Counter(one.text for one in self.refused)
            time.sleep(0.01)
        return self.last_success - since

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()

    def check(self) -> None:
        """See that it comes out even."""
        self.close()
        assert len(self.acknowledged) > WRITERS
        found: dict[str, str] = {}
        for session in self._sessions:
            cursor = ""
            while cursor is not None:
                query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
                page = session.get(f"{self.url}/tasks", params=query, timeout=20).json()
                for task in page["tasks"]:
                    assert task["title"] not in found, "a task was doubled"
                    found[task["title"]] = task["id"]
                cursor = page["next_cursor"]
        assert self.acknowledged.items() <= found.items(), "an acknowledged write was lost"
        for answer in self.refused:
            # 409: the first try is still on its way, and its answer comes to the next one.
            assert answer.status_code in (409, 429, 503), answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            if answer.status_code != 409:
                assert int(answer.headers["Retry-After"]) >= 1


class Scene:
    """The service behind nginx, under load, and its database."""

    def __init__(self, service: Service, nginx: Nginx, ledger: Ledger, url: str) -> None:
        self.service = service
        self.nginx = nginx
        self.ledger = ledger
        self.dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    def sql(self, statement: str) -> list[Any]:
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def postgres(self) -> list[psutil.Process]:
        parent = psutil.Process(self.service.process.pid)
        [number] = self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        postmaster = psutil.Process(number[0]).parent()
        assert postmaster is not None
        assert parent.is_running()
        return [postmaster, *postmaster.children()]

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.service.process.pid).children()
        [master] = [one for one in children if "gunicorn" in " ".join(one.cmdline())]
        return master.children()


@contextmanager
def under_load(tmp_path: Any, **settings: Any) -> Iterator[Scene]:
    binds = f"--bind 127.0.0.1:{(port := free_port())} --bind unix:{tmp_path}/taskapi.sock"
    values: dict[str, Any] = {
        "PORT": str(port),
        "GUNICORN_CMD_ARGS": binds,
        "WEB_CONCURRENCY": "2",
        "TRUSTED_PROXIES": "1",
        "STATEMENT_TIMEOUT": "2",
        "LOCK_TIMEOUT": "1",
        **settings,
    }
    (tmp_path / "nginx").mkdir()
    with (
        running_service(tmp_path, **values) as service,
        nginx_before(tmp_path / "taskapi.sock", tmp_path / "nginx") as nginx,
    ):
        ledger = Ledger(nginx.url)
        try:
            ledger.recovers(time.monotonic())
            time.sleep(SECONDS)
            url = values.get("DATABASE_URL") or embedded.url(tmp_path / "postgres")
            yield Scene(service, nginx, ledger, url)
            seconds = ledger.recovers(time.monotonic())
            time.sleep(SECONDS)
            ledger.check()
        finally:
            ledger.close()
        refused = Counter(one.status_code for one in ledger.refused)
        print(f"{len(ledger.acknowledged)} written, {dict(refused)} refused, {seconds:.2f} s")


def test_the_database_is_killed(tmp_path):
    with under_load(tmp_path) as scene:
        scene.postgres()[0].kill()
        scene.ledger.recovers(time.monotonic() + 1)


def test_one_backend_after_the_other_is_killed(tmp_path):
    with under_load(tmp_path) as scene:
        for _ in range(10):
            scene.sql("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'taskapi' LIMIT 1
            """)
            time.sleep(0.1)


def test_workers_are_killed(tmp_path):
    with under_load(tmp_path) as scene:
        for _ in range(3):
            scene.workers()[0].kill()
            scene.ledger.recovers(time.monotonic() + 0.5)


def test_the_database_is_frozen(tmp_path):
    with under_load(tmp_path) as scene:
        frozen = scene.postgres()
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            # The limit for statements is two seconds; the server itself can say nothing.
            deadline = time.monotonic() + 30
            while not any(one.status_code == 503 for one in scene.ledger.refused):
                assert time.monotonic() < deadline, "whoever waits for a frozen server waits on"
                time.sleep(0.05)
            live = requests.get(f"{scene.service.url}/health/live", timeout=10)
            assert live.status_code == 200
            assert requests.get(f"{scene.service.url}/health", timeout=20).status_code == 503
        finally:
            for process in frozen:
                process.send_signal(signal.SIGCONT)


def test_all_connections_are_busy(tmp_path):
    with under_load(tmp_path, POOL_TIMEOUT="0.5", THREADS="4") as scene:
        blocker = psycopg2.connect(scene.dsn)
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            before = len(scene.ledger.refused)
            deadline = time.monotonic() + 20
            while len(scene.ledger.refused) < before + WRITERS:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert requests.get(f"{scene.service.url}/health/live", timeout=10).status_code == 200
        blocker.close()


def test_nginx_is_restarted(tmp_path):
    with under_load(tmp_path) as scene:
        scene.nginx.reload()
        scene.ledger.recovers(time.monotonic())


def test_redis_is_killed(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    redis = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    limits = {
        "RATE_LIMIT_ENABLED": "yes",
        "RATE_LIMIT_STORAGE_URL": f"redis://127.0.0.1:{port}/0",
        "RATE_LIMIT_WRITES": "100000/minute",
    }
    try:
        with under_load(tmp_path, **limits) as scene:
            redis.kill()
            scene.ledger.recovers(time.monotonic() + 0.5)
            assert not [one for one in scene.ledger.refused if one.status_code >= 500]
    finally:
        redis.kill()
        redis.wait()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, too small for long."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a file system can only be mounted by root with the capability for it")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_the_disk_of_the_database_is_full(tmp_path, small_disk):
    with under_load(tmp_path, EMBEDDED_POSTGRES_DIR=str(small_disk / "postgres")) as scene:
        scene.dsn = (
            make_url(embedded.url(small_disk / "postgres"))
            .set(drivername="postgresql")
            .render_as_string(hide_password=False)
        )
        scene.sql("CREATE TABLE ballast AS SELECT 1 AS n")
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1024 * 1024))
                    file.flush()
            except OSError:
                pass
        deadline = time.monotonic() + 30
        while not any(one.status_code == 503 for one in scene.ledger.refused):
            assert time.monotonic() < deadline, "the disk did not get full"
            time.sleep(0.05)
        time.sleep(SECONDS)
        ballast.unlink()
