"""Reloads and restarts under load fail no request; `make faults` does twenty of each."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import requests

from taskapi import devdb
from taskapi.settings import VERSION
from tests.server.test_worker import needs_epoll
from tests.support.issuer import AUDIENCE, ISSUER, running_issuer
from tests.support.nginx import needs_nginx, nginx_before, service_behind_nginx
from tests.support.service import ROOT, Service, free_port, running_service

pytestmark = [pytest.mark.service, pytest.mark.faults]

TIMES = 20 if os.environ.get("AT_LENGTH") else 2
CLIENTS = 6


class Clients:
    """Clients of one account who write and read without a pause, and what they were answered."""

    def __init__(self, url: str, user_id: str, token: str, *, keep: bool) -> None:
        self.address = url.removeprefix("http://")
        self.user_id = user_id
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.keep = keep
        """Whether they keep their connections."""
        self.statuses: list[int] = []
        self.failures: list[Exception] = []
        self._stopped = threading.Event()

    def ask(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        body = orjson.dumps({"title": "Buy milk"})
        number = 0
        while not self._stopped.is_set():
            number += 1
            try:
                if number % 2:
                    connection.request("POST", "/tasks", body, self.headers)
                else:
                    connection.request("GET", "/tasks?limit=5", headers=self.headers)
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                connection.close()
            if not self.keep:
                connection.close()
        connection.close()

    def check(self) -> None:
        """See that every request was answered well, and every write is there."""
        counts = Counter(self.statuses)
        print(f"{len(self.statuses)} answered, {len(self.failures)} failed: {dict(counts)}")
        assert self.failures == []
        assert set(counts) == {200, 201}
        url = f"http://{self.address}/api/{self.user_id}/tasks"
        listed = requests.get(url, headers=self.headers, timeout=60).json()
        assert len(listed) == counts[201]


def register(url: str) -> tuple[str, str]:
    """Open an account; return its id and a token."""
    body = {"email": f"{time.monotonic_ns()}@example.com", "password": "correct horse battery"}
    answer = requests.post(f"{url}/auth/register", json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()["user"]["id"], answer.json()["access_token"]


@contextmanager
def clients_at(
    url: str, who: tuple[str, str] | None = None, *, keep: bool = True
) -> Iterator[Clients]:
    clients = Clients(url, *(who or register(url)), keep=keep)
    threads = [threading.Thread(target=clients.ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients._stopped.set()
        for thread in threads:
            thread.join(60)
    clients.check()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reload(master: psutil.Process) -> None:
    """Let gunicorn replace its workers; return when those of before are gone."""
    before = set(master.children())
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & set(master.children()))


@pytest.mark.parametrize(
    "worker", [pytest.param("epoll.EpollWorker", marks=needs_epoll), "worker.PortableWorker"]
)
def test_reloads_of_the_service_fail_no_request(tmp_path, worker):
    arguments = f"--worker-class taskapi.server.{worker}"
    with (
        running_service(
            tmp_path, THREADS="4", WEB_CONCURRENCY="2", GUNICORN_CMD_ARGS=arguments
        ) as service,
        clients_at(service.url),
    ):
        for _ in range(TIMES):
            reload(service.master())


def test_a_new_worker_knows_the_keys_of_the_issuer_before_anybody_asks(tmp_path):
    with running_issuer() as issuer:
        issuer.add_key("one")
        trust: dict[str, Any] = {
            "AUTH_MODE": "external",
            "EXTERNAL_JWKS_URL": issuer.url,
            "EXTERNAL_JWT_ISSUER": ISSUER,
            "EXTERNAL_JWT_AUDIENCE": AUDIENCE,
        }
        ada = ("ada", issuer.sign("one", "ada"))
        with running_service(tmp_path, **trust) as service, clients_at(service.url, ada):
            for _ in range(TIMES):
                reload(service.master())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("deployed")
    with service_behind_nginx(directory, THREADS="4", WEB_CONCURRENCY="2") as both:
        yield both


@needs_nginx
def test_reloads_of_the_service_behind_nginx_fail_no_request(deployed):
    service, nginx = deployed
    with clients_at(nginx.url):
        for _ in range(TIMES):
            reload(service.master())


@needs_nginx
def test_reloads_of_nginx_fail_no_request(deployed):
    _, nginx = deployed
    # By new connections: a kept one may be closed at the moment at which it is used again, and
    # whether to send again only its client can know.
    with clients_at(nginx.url, keep=False):
        for _ in range(TIMES):
            nginx.reload()
            time.sleep(0.2)


def test_a_reload_takes_no_new_code_and_a_restart_does(tmp_path):
    """As the operator's page has it: gunicorn's configuration has loaded the code already."""
    root = tmp_path / "code"
    shutil.copytree(ROOT / "taskapi", root / "taskapi")
    shutil.copytree(ROOT / "migrations", root / "migrations")
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, root / name)

    def version(service: Service) -> str:
        return str(requests.get(f"{service.url}/health", timeout=10).json()["version"])

    with running_service(tmp_path, root=root) as service:
        settings = root / "taskapi" / "settings" / "__init__.py"
        settings.write_text(settings.read_text().replace(f'"{VERSION}"', '"9.9.9"'))
        reload(service.master())
        assert version(service) == VERSION
    with running_service(tmp_path, root=root) as service:
        assert version(service) == "9.9.9"


LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def restartable(path: Path, **settings: str) -> Iterator[Callable[[], int]]:
    """Hold a socket as systemd does; what comes starts gunicorn on it, in another's place."""
    processes: list[subprocess.Popen[bytes]] = []
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        listener.bind(str(path))
        listener.listen(2048)
        notified.bind(f"{path}.notify")
        notified.settimeout(30)
        number = str(listener.fileno())
        gunicorn = str(Path(sys.executable).parent / "gunicorn")
        environment = {"LISTEN_FDS": "1", "NOTIFY_SOCKET": f"{path}.notify", **settings}

        def stop() -> None:
            process = processes.pop()
            process.terminate()
            assert process.wait(timeout=40) == 0

        def restart() -> int:
            if processes:
                stop()
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, number, gunicorn],
                cwd=ROOT,
                env={**os.environ, **environment},
                pass_fds=(listener.fileno(),),
                stderr=subprocess.DEVNULL,
            )
            processes.append(process)
            while b"READY=1" not in notified.recv(1024):
                pass
            return process.pid

        try:
            yield restart
        finally:
            if processes:
                stop()


@needs_nginx
@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_restarts_behind_the_socket_of_systemd_fail_no_request(tmp_path, deployed):
    """How a release is taken: what comes while nobody serves waits in the socket."""
    database = devdb.url(deployed[0].log.parent / "postgres").replace("+psycopg2", "")
    settings = {
        "DATABASE_URL": database,
        "JWT_SECRET_KEY": "k" * 32,
        "TRUSTED_PROXIES": "1",
        "THREADS": "4",
        "WEB_CONCURRENCY": "2",
        "RATE_LIMIT_ENABLED": "no",
        "USER_THREADS_SHARE": "1",
        "PORT": str(free_port()),
    }
    with restartable(tmp_path / "taskapi.sock", **settings) as restart:
        first = restart()
        with nginx_before(tmp_path / "taskapi.sock", tmp_path) as nginx, clients_at(nginx.url):
            for _ in range(TIMES):
                assert restart() != first
                time.sleep(0.5)
