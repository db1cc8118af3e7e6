"""One account that does its worst, and a neighbour that must not notice.

The service runs behind nginx with its default settings. The abuser has thirty connections; the
neighbour works at another address, as a person with a page does. At length (`make abuse`) an abuse
lasts a minute and the neighbour's response times and the workers' memory are held to their
limits; otherwise each connection makes a few requests, and only counts are.
"""

from __future__ import annotations

import http.client
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
import psycopg2
from sqlalchemy import make_url

from taskapi import devdb
from tests.support.nginx import Answer, Nginx, service_behind_nginx
from tests.support.service import Service

AT_LENGTH = bool(os.environ.get("AT_LENGTH"))
CONNECTIONS = 30
SECONDS = 60.0
PATIENCE = 60.0
"""How long a connection waits for an answer, in seconds; nginx waits no longer."""

P99_LIMIT = 1.0  # seconds
MEMORY_GROWTH_LIMIT = 0.2
MEMORY_PATIENCE = 30.0  # seconds
PAUSE = 0.1  # seconds between two requests of the neighbour
PASSWORD = "correct horse battery"
ABUSER_ADDRESS, NEIGHBOUR_ADDRESS = "127.0.3.1", "127.0.4.1"


@dataclass(frozen=True)
class Request:
    """What is sent, by the account's token unless the headers have their own."""

    method: str
    path: str
    body: bytes = b""
    media: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Connection:
    """A keep-alive connection from an address of this machine, renewed where it is closed."""

    def __init__(self, nginx: Nginx, address: str, token: str = "") -> None:
        self._nginx = nginx
        self._address = address
        self._token = token
        self._connection = self._open()

    def send(self, request: Request) -> Answer:
        """Send a request; return the whole answer. Raises where the connection breaks."""
        headers = {**request.headers}
        if self._token:
            headers = {"Authorization": f"Bearer {self._token}", **headers}
        if request.body:
            headers["Content-Type"] = request.media
        try:
            self._connection.request(request.method, request.path, request.body, headers)
            response = self._connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            self._connection = self._open()
            raise

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", self._nginx.port, timeout=PATIENCE, source_address=(self._address, 0)
        )


class Neighbour:
    """Somebody who creates, reads, changes and deletes tasks, and keeps what came of it."""

    def __init__(self, nginx: Nginx, token: str) -> None:
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.unexpected: list[str] = []
        self.rounds = 0
        self._connection = Connection(nginx, NEIGHBOUR_ADDRESS, token)

    def work(self) -> None:
        """Do one round of what a page does with a task."""
        answer = self._ask(Request("POST", "/tasks", b'{"title": "Buy milk"}'), 201)
        if answer is not None and answer.status == 201:
            task = f"/tasks/{answer.json()['id']}"
            self._ask(Request("GET", task), 200)
            self._ask(Request("PATCH", task, b'{"title": "Buy oat milk"}'), 200)
            self._ask(Request("PATCH", f"{task}/complete"), 200)
            self._ask(Request("GET", "/tasks?limit=20&q=oat"), 200)
            self._ask(Request("GET", "/tasks?limit=20&sort=title"), 200)
            self._ask(Request("DELETE", task), 204)
        self._ask(Request("GET", "/health/live"), 200)
        self.rounds += 1

    def close(self) -> None:
        self._connection.close()

    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)]

    def _ask(self, request: Request, expected: int) -> Answer | None:
        started = time.monotonic()
        answer = None
        try:
            answer = self._connection.send(request)
            status = answer.status
            if status != expected:
                self.unexpected.append(f"{request.method} {request.path}: {answer.body[:300]!r}")
        except (OSError, http.client.HTTPException) as error:
            status = 0
            self.unexpected.append(f"{request.method} {request.path}: {error!r}")
        self.times.append(time.monotonic() - started)
        self.statuses[status] += 1
        time.sleep(PAUSE)
        return answer


class Outcome:
    """What an abuse was answered, and how the neighbour fared meanwhile."""

    neighbour: Neighbour
    workers: set[int]
    seconds: float

    def __init__(self) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        """How often the abuser got each status, with the code of a problem; 0 is no answer."""

    def statuses(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (status, _), count in self.answers.items():
            found[status] += count
        return found


class Scene:
    """The service behind nginx, its database, and two accounts."""

    def __init__(self, service: Service, nginx: Nginx, database_url: str) -> None:
        self.service = service
        self.nginx = nginx
        self._dsn = make_url(database_url).set(drivername="postgresql")
        self._abusers = 0
        self.neighbour = self.register("neighbour", NEIGHBOUR_ADDRESS)
        self._warm_up()
        self.memory_before = self.memory()

    def register(self, name: str, address: str) -> dict[str, Any]:
        """Open an account; return its tokens."""
        body = {"email": f"{name}@example.com", "password": PASSWORD}
        answer = self.nginx.ask("POST", "/auth/register", body, address=address)
        assert answer.status == 201, answer.body
        tokens: dict[str, Any] = answer.json()
        return tokens

    def new_abuser(self) -> dict[str, Any]:
        """Open an account whose limits nobody has used yet; return its tokens."""
        self._abusers += 1
        return self.register(f"abuser-{self._abusers}", ABUSER_ADDRESS)

    def sql(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a statement past the service."""
        connection = psycopg2.connect(self._dsn.render_as_string(hide_password=False))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def fill(self, user_id: str, count: int) -> None:
        """Give a user so many more tasks."""
        self.sql(
            "WITH counter AS (UPDATE users SET change_seq = change_seq + %(count)s"
            " WHERE id = %(user_id)s RETURNING change_seq - %(count)s AS seq)"
            " INSERT INTO tasks (user_id, id, title, title_words, description, description_words,"
            " version) SELECT %(user_id)s, gen_random_uuid(), 'Buy milk ' || n, 'buy milk ' || n,"
            " repeat('oat ', 50), repeat('oat ', 50), seq + n"
            " FROM counter, generate_series(1, %(count)s) AS n",
            user_id=user_id,
            count=count,
        )

    def workers(self) -> list[psutil.Process]:
        return self.service.master().children()

    def memory(self) -> dict[int, int]:
        """Return the resident bytes of each worker, those that it shares with others included."""
        return {one.pid: one.memory_info().rss for one in self.workers()}

    def abuse(self, token: str, requests: Callable[[int], Iterator[Request]]) -> Outcome:
        """Let thirty connections send what `requests` yields for each, while the neighbour works.

        At length it is asked again until the time is over.
        """
        outcome = Outcome()
        began = time.monotonic()
        ends = time.monotonic() + SECONDS if AT_LENGTH else None
        neighbour = Neighbour(self.nginx, self.neighbour["access_token"])
        with closing(neighbour), ThreadPoolExecutor(CONNECTIONS) as pool:
            attacks = [
                pool.submit(self._attack, requests, number, token, ends)
                for number in range(CONNECTIONS)
            ]
            neighbour.work()
            while not all(attack.done() for attack in attacks):
                neighbour.work()
        for attack in attacks:
            outcome.answers.update(attack.result())
        outcome.neighbour = neighbour
        outcome.seconds = time.monotonic() - began
        outcome.workers = {one.pid for one in self.workers()}
        return outcome

    def _attack(
        self,
        requests: Callable[[int], Iterator[Request]],
        number: int,
        token: str,
        ends: float | None,
    ) -> Counter[tuple[int, str]]:
        answers: Counter[tuple[int, str]] = Counter()
        with closing(Connection(self.nginx, ABUSER_ADDRESS, token)) as connection:
            while True:
                for request in requests(number):
                    try:
                        answer = connection.send(request)
                        answers[answer.status, _problem_code(answer)] += 1
                    except (OSError, http.client.HTTPException):
                        answers[0, "broken"] += 1
                    if ends and time.monotonic() > ends:
                        return answers
                if ends is None:
                    return answers

    def check(self, outcome: Outcome) -> None:
        """Hold the service to its promise: the neighbour has noticed nothing."""
        neighbour = outcome.neighbour
        answered = sorted(outcome.answers.items())
        print(
            f"abuser {' '.join(f'{one} {code}: {n};' for (one, code), n in answered)} neighbour "
            f"{sum(neighbour.statuses.values())} requests, p99 {neighbour.p99():.3f} s, "
            f"longest {max(neighbour.times):.3f} s"
        )
        assert outcome.workers == set(self.memory_before), "a worker has ended"
        assert 500 not in outcome.statuses()
        assert not neighbour.unexpected, neighbour.unexpected[:5]
        if AT_LENGTH:
            assert neighbour.p99() < P99_LIMIT
            self.check_memory()

    def check_memory(self) -> None:
        """Wait until each worker has given back what it took."""
        deadline = time.monotonic() + MEMORY_PATIENCE
        while True:
            growth = {
                pid: used / self.memory_before[pid] - 1 for pid, used in self.memory().items()
            }
            if max(growth.values()) <= MEMORY_GROWTH_LIMIT:
                break
            assert time.monotonic() < deadline, f"memory of the workers grew: {growth}"
            time.sleep(0.5)
        before = sum(self.memory_before.values()) / len(growth) / 2**20
        print(
            f"memory of the workers: {before:.0f} MiB", *(f"{one:+.0%}" for one in growth.values())
        )

    def _warm_up(self) -> None:
        """Let every worker do once whatever it keeps something of."""
        file = orjson.dumps([{"title": "Buy milk"}] * 10_000)
        trial = Request("POST", "/tasks/import?dry_run=true", file)
        token = self.register("warm-up", NEIGHBOUR_ADDRESS)["access_token"]
        with closing(Neighbour(self.nginx, token)) as someone:
            someone.work()

        def import_once(_: int) -> None:
            with closing(Connection(self.nginx, NEIGHBOUR_ADDRESS, token)) as connection:
                connection.send(trial)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(import_once, range(32)))


def _problem_code(answer: Answer) -> str:
    if answer.status < 400:
        return ""
    assert answer.headers.get_content_type() == "application/problem+json", answer.body[:300]
    return str(answer.json()["code"])


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Run the service with default settings behind nginx."""
    settings: dict[str, Any] = {
        "RATE_LIMIT_ENABLED": "yes",
        "USER_THREADS_SHARE": "0.75",
        "WEB_CONCURRENCY": str(max(2, os.cpu_count() or 1)),
    }
    with service_behind_nginx(directory, **settings) as (service, nginx):
        yield Scene(service, nginx, devdb.url(directory / "postgres"))
