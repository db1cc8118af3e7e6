"""What breaks under load, through nginx; the ledger must come out even. `make faults` takes longer.

What a client saw of it is printed: how many were written, how many refused and how, and for how
long nothing was written at all.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import psycopg2
import pytest
import requests

from tests.support.issuer import AUDIENCE, ISSUER, running_issuer
from tests.support.ledger import AT_LENGTH, SECONDS, WRITERS, under_load
from tests.support.nginx import needs_nginx
from tests.support.service import free_port

pytestmark = [pytest.mark.service, pytest.mark.faults, needs_nginx]


def test_the_database_is_killed(tmp_path):
    with under_load(tmp_path) as scene:
        scene.postgres()[0].kill()
        scene.ledger.recovers(time.monotonic() + 1)


def test_one_backend_is_killed(tmp_path):
    with under_load(tmp_path) as scene:
        [number] = scene.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'taskapi' LIMIT 1"
        )
        # It may have held what all share, so the server ends all others and starts anew.
        psutil.Process(*number).kill()
        scene.ledger.recovers(time.monotonic() + 1)


def test_one_backend_after_the_other_is_ended(tmp_path):
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
        tell(frozen, signal.SIGSTOP)
        try:
            # The limit for statements is two seconds; the server itself can say nothing.
            scene.ledger.is_refused()
            live = requests.get(f"{scene.service.url}/health/live", timeout=10)
            assert live.status_code == 200
            assert requests.get(f"{scene.service.url}/health", timeout=20).status_code == 503
        finally:
            tell(frozen, signal.SIGCONT)


def tell(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # That of a connection may have ended just now.
            process.send_signal(number)


def test_all_connections_are_busy(tmp_path):
    # Fewer than there are writers, who wait for a lock for longer than anybody for them.
    with under_load(tmp_path, THREADS="2", LOCK_TIMEOUT="3", STATEMENT_TIMEOUT="5") as scene:
        blocker = psycopg2.connect(scene.dsn)
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            scene.ledger.is_refused(WRITERS)
            live = [
                requests.get(f"{url}/health/live", timeout=10)
                for url in [scene.service.url, scene.nginx.url] * 20
            ]
        blocker.close()
        assert {answer.status_code for answer in live} == {200}
        seconds = sorted(answer.elapsed.total_seconds() for answer in live)
        print(f"/health/live: {seconds[20] * 1000:.0f} ms, {seconds[-1] * 1000:.0f} ms at most")
        busy = [one.elapsed for one in scene.ledger.refused if one.json()["code"] == "busy"]
        assert busy
        print(f"{len(busy)} found no connection and were told within {max(busy)}")


def test_nginx_is_reloaded(tmp_path):
    with under_load(tmp_path) as scene:
        for _ in range(3):
            scene.nginx.reload()
            scene.ledger.recovers(time.monotonic())
        # Whoever keeps a connection may meet its end; nobody is refused.
        assert scene.ledger.refused == []


def test_nginx_is_restarted(tmp_path):
    with under_load(tmp_path) as scene:
        for _ in range(3):
            scene.nginx.stop()
            time.sleep(0.5)
            scene.nginx.start()
            scene.ledger.recovers(time.monotonic())
        assert scene.ledger.broken > 0


@pytest.fixture
def issuer():
    with running_issuer() as issuer:
        issuer.add_key("first")
        yield issuer


def test_the_issuer_of_tokens_hangs(tmp_path, issuer):
    """Whose key is known goes on; whose is not is refused soon, and taken when it is back."""
    trust: dict[str, Any] = {
        "AUTH_MODE": "external",
        "EXTERNAL_JWKS_URL": issuer.url,
        "EXTERNAL_JWT_ISSUER": ISSUER,
        "EXTERNAL_JWT_AUDIENCE": AUDIENCE,
        "THREADS": "8",
    }

    def log_in(_url: str, name: str) -> str:
        return issuer.sign("first", name)

    def ask(_number: int = 0) -> requests.Response:
        headers = {"Authorization": f"Bearer {issuer.sign('second', 'stranger')}"}
        return requests.get(f"{scene.service.url}/tasks", headers=headers, timeout=20)

    with under_load(tmp_path, log_in, **trust) as scene:
        issuer.hangs.set()
        issuer.add_key("second")
        with ThreadPoolExecutor(40) as pool:
            strangers = list(pool.map(ask, range(80)))
        for answer in strangers:
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "issuer_unavailable"
            assert int(answer.headers["Retry-After"]) >= 1
        scene.ledger.recovers(time.monotonic())
        assert [answer.text for answer in scene.ledger.refused] == []
        slowest = max(answer.elapsed.total_seconds() for answer in strangers)
        print(f"80 with a key that is not known refused, in {slowest:.2f} s at most")

        issuer.hangs.clear()
        issuer.may_go_on.set()
        began = time.monotonic()
        # It is asked again after half a minute, by each worker when somebody comes.
        while AT_LENGTH and any(ask().status_code != 200 for _ in range(20)):
            assert time.monotonic() < began + 60
            time.sleep(0.2)
        if AT_LENGTH:
            print(f"the new key was taken {time.monotonic() - began:.1f} s after it was back")


def test_the_issuer_of_tokens_hangs_while_a_worker_is_replaced(tmp_path, issuer):
    """A new worker knows no key, and so refuses everybody until the issuer is back."""
    trust: dict[str, Any] = {
        "AUTH_MODE": "external",
        "EXTERNAL_JWKS_URL": issuer.url,
        "EXTERNAL_JWT_ISSUER": ISSUER,
        "EXTERNAL_JWT_AUDIENCE": AUDIENCE,
    }

    def log_in(_url: str, name: str) -> str:
        return issuer.sign("first", name)

    with under_load(tmp_path, log_in, **trust) as scene:
        issuer.hangs.set()
        for worker in scene.workers():
            worker.kill()
        scene.ledger.is_refused(WRITERS)
        time.sleep(SECONDS)
        assert requests.get(f"{scene.nginx.url}/health", timeout=20).status_code == 200
        issuer.hangs.clear()
        issuer.may_go_on.set()
        began = time.monotonic()
        scene.ledger.recovers(began)
        print(f"a write again {time.monotonic() - began:.1f} s after the issuer was back")


def test_redis_is_killed(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    redis = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    limits: dict[str, Any] = {
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
        scene.sql("CREATE TABLE ballast AS SELECT 1 AS n")
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1024 * 1024))
                    file.flush()
            except OSError:
                pass
        scene.ledger.is_refused()
        time.sleep(SECONDS)
        ballast.unlink()
