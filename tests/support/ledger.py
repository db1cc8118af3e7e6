"""Load through nginx, with a ledger of every acknowledged write that must come out even.

Each writer sends every request with an Idempotency-Key until it is answered with 201. Whatever
breaks meanwhile: nothing acknowledged is lost, nothing is doubled, and what is refused is a
problem document with 503 or 429, or a connection that broke.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import requests
from sqlalchemy import make_url

from taskapi import devdb
from tests.support.nginx import Nginx, service_behind_nginx
from tests.support.service import Service

AT_LENGTH = bool(os.environ.get("AT_LENGTH"))
SECONDS = 6.0 if AT_LENGTH else 1.0  # of load, before and after
WRITERS = 6


class Ledger:
    """Writers who keep what was acknowledged, and what was refused."""

    def __init__(self, url: str, log_in: Callable[[str, str], str]) -> None:
        self.url = url
        self.acknowledged: dict[str, str] = {}
        self.refused: list[requests.Response] = []
        self.broken = 0
        self.successes: list[float] = []
        """When something was acknowledged."""
        self._stop = threading.Event()
        self._sessions = [self._begin(log_in(url, f"writer{number}")) for number in range(WRITERS)]
        self._threads = [
            threading.Thread(target=self._write, args=pair) for pair in enumerate(self._sessions)
        ]
        for thread in self._threads:
            thread.start()

    def _begin(self, token: str) -> requests.Session:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
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
                    self.successes.append(time.monotonic())
                    return
                self.refused.append(answer)
            time.sleep(0.05)
        raise AssertionError(f"{title} was not taken within a minute")

    def recovers(self, since: float) -> None:
        """Wait for a write that was acknowledged after this moment."""
        deadline = time.monotonic() + 60
        while not self.successes or self.successes[-1] <= since:
            assert time.monotonic() < deadline, Counter(one.text for one in self.refused)
            time.sleep(0.01)

    def is_refused(self, count: int = 1) -> None:
        """Wait until so many more have been refused with 503."""
        wanted = self._unavailable() + count
        deadline = time.monotonic() + 30
        while self._unavailable() < wanted:
            assert time.monotonic() < deadline, "nobody was refused"
            time.sleep(0.05)

    def _unavailable(self) -> int:
        return sum(one.status_code == 503 for one in self.refused)

    def report(self, since: float) -> str:
        """Say what came of it; the recovery is the longest time without a single write."""
        moments = [one for one in self.successes if one > since]
        pause = max(after - before for before, after in pairwise([since, *moments]))
        refused = Counter(one.status_code for one in self.refused)
        slowest = max((one.elapsed.total_seconds() for one in self.refused), default=0)
        return (
            f"{len(self.acknowledged)} written; refused {dict(refused)}, each within "
            f"{slowest:.2f} s; {self.broken} broken off; no write at all for {pause:.2f} s"
        )

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
        return self.service.master().children()


def register(url: str, name: str) -> str:
    """Open an account; return its token."""
    body = {"email": f"{name}@example.com", "password": "correct horse battery"}
    answer = requests.post(f"{url}/auth/register", json=body, timeout=20)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


@contextmanager
def under_load(
    tmp_path: Any, log_in: Callable[[str, str], str] = register, **settings: Any
) -> Iterator[Scene]:
    values: dict[str, Any] = {
        "WEB_CONCURRENCY": "2",
        "STATEMENT_TIMEOUT": "2",
        "LOCK_TIMEOUT": "1",
        **settings,
    }
    with service_behind_nginx(tmp_path, **values) as (service, nginx):
        ledger = Ledger(nginx.url, log_in)
        try:
            ledger.recovers(time.monotonic())
            time.sleep(SECONDS)
            data = Path(values.get("EMBEDDED_POSTGRES_DIR", tmp_path / "postgres"))
            began = time.monotonic()
            yield Scene(service, nginx, ledger, devdb.url(data))
            ledger.recovers(time.monotonic())
            time.sleep(SECONDS)
            ledger.check()
        finally:
            ledger.close()
        print(ledger.report(began))
