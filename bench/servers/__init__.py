"""The servers that are compared: how each is started, and what it is asked."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import psutil
import psycopg2
import requests
from psycopg2.extras import execute_values
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from uuid_utils.compat import uuid7

ROOT = Path(__file__).resolve().parent.parent.parent
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PASSWORD = "correct horse battery"
WORKERS = 2
THREADS = 8
ARGON2 = Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1)
ROWS = "user_id, id, title, description, version, completed_at"


class Server:
    """One of the servers: a process with children, on a port of its own."""

    name: str
    table: str

    def __init__(self, database_url: str, log: Path) -> None:
        # A database of its own: the service looks at every table that it can see.
        self.database_url = database_url.replace("@/postgres", f"@/{self.name}")
        with connected(database_url) as cursor:
            cursor.connection.autocommit = True
            cursor.execute(f"CREATE DATABASE {self.name}")
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self.users: list[tuple[str, str]] = []
        """Ids and the value of Authorization."""
        self.tasks: list[str] = []
        """The ids of twenty tasks of the first user."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and return the seconds until it answers."""
        started = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                env={**os.environ, **self.environment()},
                stdout=output,
                stderr=output,
            )
        while self._process.poll() is None and time.monotonic() - started < 60:
            try:
                requests.get(f"{self.url}/health/live", timeout=5)
            except requests.ConnectionError:
                time.sleep(0.05)
            else:
                return time.monotonic() - started
        raise SystemExit(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    def make_users(self, count: int) -> None:
        raise NotImplementedError

    def email(self, number: int) -> str:
        """Return the address of the user of this number."""
        return f"user{number}@example.com"

    def fill(self, user_id: str, count: int) -> list[str]:
        """Give a user so many tasks and return their ids."""
        ids = [str(uuid7()) for _ in range(count)]
        first = self.count_changes(user_id, count)
        rows = [
            (user_id, task_id, f"Task {number} 🥛", "Something to be done", first + number, None)
            for number, task_id in enumerate(ids)
        ]
        with connected(self.database_url) as cursor:
            execute_values(cursor, self.insert(), rows, page_size=5000)
        return ids

    def count_changes(self, _user_id: str, _count: int) -> int:
        """Take so many numbers of the user's changes; return the first of them."""
        return 1

    def provide(self, count: int) -> None:
        """See that the first user has at least so many tasks."""
        user_id, _ = self.users[0]
        with connected(self.database_url) as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.table} WHERE user_id = %s", (user_id,))
            [[there]] = cursor.fetchall()
        if there < count:
            self.fill(user_id, count - there)

    def insert(self) -> str:
        return f"INSERT INTO {self.table} ({ROWS}) VALUES %s"

    def processes(self) -> list[psutil.Process]:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(one.user + one.system for one in times))

    def memory(self) -> int:
        """Bytes that its processes have for themselves, and their share of the rest."""
        return sum(process.memory_full_info().pss for process in self.processes())


class Service(Server):
    name = "taskapi"
    table = "tasks"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "taskapi"]

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(WORKERS),
            "THREADS": str(THREADS),
            "LOG_FORMAT": "json",
            "TRUSTED_PROXIES": "1",
            # Counted, but never refused.
            "RATE_LIMIT_READS": "100000000/minute",
            "RATE_LIMIT_WRITES": "100000000/minute",
            "RATE_LIMIT_LOGINS": "100000000/minute",
        }

    def count_changes(self, user_id: str, count: int) -> int:
        with connected(self.database_url) as cursor:
            cursor.execute(
                "UPDATE users SET change_seq = change_seq + %s WHERE id = %s RETURNING change_seq",
                (count, user_id),
            )
            [[last]] = cursor.fetchall()
        return int(last) - count + 1

    def make_users(self, count: int) -> None:
        for number in range(count):
            body = {"email": self.email(number), "password": PASSWORD}
            answer = requests.post(f"{self.url}/auth/register", json=body, timeout=30)
            answer.raise_for_status()
            pair: dict[str, Any] = answer.json()
            self.users.append((pair["user"]["id"], f"Bearer {pair['access_token']}"))


class Peer(Server):
    name = "peer"
    table = "peer_tasks"
    secret = secrets.token_urlsafe(48)

    def command(self) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(WORKERS)]
        app = ["--app-dir", str(Path(__file__).parent), "peer:app"]
        return [str(PEER_PYTHON), "-m", "uvicorn", "--no-access-log", *options, *app]

    def environment(self) -> dict[str, str]:
        return {
            "PEER_DATABASE_URL": self.database_url.replace("+psycopg2", "+asyncpg"),
            "POOL_SIZE": str(THREADS),
            "SECRET": self.secret,
        }

    def start(self) -> float:
        with connected(self.database_url) as cursor:
            cursor.execute("""
                CREATE TABLE peer_tasks (
                  id uuid PRIMARY KEY, user_id varchar(255) NOT NULL, title varchar(500) NOT NULL,
                  description varchar(2000), completed_at timestamptz,
                  "order" integer NOT NULL DEFAULT 0,
                  created_at timestamptz NOT NULL DEFAULT now(),
                  updated_at timestamptz NOT NULL DEFAULT now(), version integer NOT NULL
                );
                CREATE INDEX ix_peer_tasks_user_id_id ON peer_tasks (user_id, id);
                CREATE TABLE peer_users (
                  id varchar(255) PRIMARY KEY, email varchar(254) UNIQUE, password_hash text
                )
            """)
        return super().start()

    def make_users(self, count: int) -> None:
        password_hash = PasswordHash((ARGON2,)).hash(PASSWORD)
        with connected(self.database_url) as cursor:
            rows = [(f"user{number}", self.email(number), password_hash) for number in range(count)]
            execute_values(cursor, "INSERT INTO peer_users VALUES %s", rows)
        for number in range(count):
            user_id = f"user{number}"
            claims = {"sub": user_id, "exp": int(time.time()) + 86400}
            self.users.append((user_id, f"Bearer {jwt.encode(claims, self.secret, 'HS256')}"))


class Floor(Server):
    name = "floor"
    table = "floor_tasks"

    def command(self) -> list[str]:
        options = ["--bind", f"127.0.0.1:{self.port}", "--workers", str(WORKERS)]
        options += ["--threads", str(THREADS), "--keep-alive", "75", "--config", "/dev/null"]
        app = ["--chdir", str(Path(__file__).parent), "floor:app"]
        return [sys.executable, "-m", "gunicorn", *options, *app]

    def environment(self) -> dict[str, str]:
        return {"FLOOR_DATABASE_URL": self.database_url.replace("+psycopg2", "")}

    def start(self) -> float:
        with connected(self.database_url) as cursor:
            cursor.execute("""
                CREATE TABLE floor_tasks (
                  user_id varchar(255) NOT NULL, id uuid NOT NULL, title varchar(500) NOT NULL,
                  description varchar(2000), completed_at timestamptz,
                  "order" integer NOT NULL DEFAULT 0,
                  created_at timestamptz NOT NULL DEFAULT now(),
                  updated_at timestamptz NOT NULL DEFAULT now(), version bigint NOT NULL,
                  PRIMARY KEY (user_id, id)
                )
            """)
        return super().start()

    def make_users(self, count: int) -> None:
        self.users = [(f"user{number}", "") for number in range(count)]


class connected:  # noqa: N801 -- reads as a word of the language
    """A cursor on a database, which commits at the end."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url.replace("+psycopg2", ""))

    def __enter__(self) -> Any:
        return self._connection.cursor()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._connection.commit()
        self._connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
