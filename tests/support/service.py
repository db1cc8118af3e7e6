"""The service as its operator starts it: a process of its own, reached over HTTP."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import requests

from taskapi.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def make_settings(**values: Any) -> Settings:
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 8000,
        "trusted_proxies": 0,
        "embedded_postgres_dir": None,
        "migrate_on_start": True,
        "statement_timeout": 5.0,
        "lock_timeout": 3.0,
        "pool_timeout": 1.5,
        "prepare_statements": True,
        "auth_mode": "local",
        "contract": "native",
        "external_jwt_secret": "",
        "external_jwks_url": "",
        "external_jwt_issuer": "",
        "external_jwt_audience": "",
        "jwt_secret_keys": (secrets.token_urlsafe(48),),
        "jwt_issuer": "taskapi",
        "jwt_audience": "taskapi",
        "jwt_clock_skew": 30,
        "jwt_expiry_leeway": 0,
        "access_token_lifetime": 900,
        "refresh_token_lifetime": 30 * 86400,
        "cookie_secure": True,
        "cookie_samesite": "strict",
        "cors_origins": ("http://localhost:5173",),
        "web_concurrency": 2,
        "threads": 8,
        "trash_days": 30,
        "search_timeout": 1.0,
        "user_threads_share": 1.0,
        "task_quota": 100_000,
        "changes_wait_share": 0.5,
        "rate_limit_enabled": False,
        "rate_limit_storage_url": "",
        "rate_limit_reads": "1200/minute",
        "rate_limit_writes": "600/minute",
        "rate_limit_logins": "300/minute",
        "rate_limit_refreshes": "60/minute",
        "login_failures_per_address": "100/minute",
        "server_timing": False,
        "log_format": "json",
        "log_level": "info",
    }
    return Settings(**{**defaults, **values})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A running `python -m taskapi`."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def wait_until(self, path: str, status: int, seconds: float = 30) -> float:
        """Wait for an answer of this status; return how many seconds it took."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if requests.get(self.url + path, timeout=5).status_code == status:
                    return time.monotonic() - started
            except requests.ConnectionError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"{path} did not answer {status}: {self.log.read_text()}")

    def master(self) -> psutil.Process:
        """The process of gunicorn whose children are the workers."""
        children = psutil.Process(self.process.pid).children()
        [master] = [one for one in children if "gunicorn" in " ".join(one.cmdline())]
        return master

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop it like its operator; return how many seconds it took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it did not stop: {self.log.read_text()[-3000:]}") from None
        return time.monotonic() - started


@cache
def migrated_data() -> Path:
    """Return a PostgreSQL data directory with an empty, migrated database, to be copied."""
    directory = Path(tempfile.mkdtemp(prefix="taskapi-template-"))
    atexit.register(shutil.rmtree, directory)
    finished = run_cli("--migrate-only", EMBEDDED_POSTGRES_DIR=str(directory / "postgres"))
    assert finished.returncode == 0, finished.stderr
    return directory / "postgres"


@contextmanager
def running_service(
    directory: Path,
    ready: str = "/health",
    *,
    from_nothing: bool = False,
    traced: bool = False,
    root: Path = ROOT,
    **settings: str,
) -> Iterator[Service]:
    """Run the service with its data and its log in `directory`, as a shell would start it.

    It begins with an empty database, unless the data are to be made `from_nothing`. Only
    where it is `traced` does it count for the coverage, which makes it slower. `root` is where
    its code is.
    """
    port = int(settings.pop("PORT", free_port()))
    log = directory / "service.log"
    data = directory / "postgres"
    if not from_nothing and "DATABASE_URL" not in settings and not data.exists():
        subprocess.run(["cp", "-a", migrated_data(), data], check=True)
    environment = {
        **(os.environ if traced else _without_tracing()),
        "EMBEDDED_POSTGRES_DIR": str(data),
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "RATE_LIMIT_ENABLED": "no",
        "USER_THREADS_SHARE": "1",
        **settings,
    }
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskapi"],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
        )
    service = Service(process, port, log)
    try:
        service.wait_until(ready, 200)
        yield service
    finally:
        service.stop()


def _without_tracing() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def run_cli(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m taskapi` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "taskapi", *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Caller:
    """Somebody with an account who calls a running service."""

    def __init__(self, service: Service, email: str) -> None:
        self.url = service.url
        self.session = requests.Session()
        body = {"email": email, "password": "correct horse battery"}
        answer = self.session.post(f"{self.url}/auth/register", json=body, timeout=10)
        if answer.status_code == 409:
            answer = self.session.post(f"{self.url}/auth/login", json=body, timeout=10)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=15, **kwargs)
