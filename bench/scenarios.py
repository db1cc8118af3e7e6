"""What the servers are asked, and by how many at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.servers import PASSWORD, Floor, Peer, Server, Service

# A line for wrk, its fields by tabs: method, path, the value of Authorization, the user's
# id, the client's address as a proxy would say it, and a body.
Lines = Callable[[Server], Iterator[str]]

NEW = json.dumps({"title": "Buy milk", "description": "Oat, two of them"})
LIST = "/tasks?limit=20"
MANY_USERS = 100
EVERYBODY = (Service, Peer, Floor)
NOT_THE_FLOOR = (Service, Peer)


@dataclass(frozen=True)
class Scenario:
    """`tasks` is how many the first user has; the floor has no more routes than it needs."""

    name: str
    lines: Lines
    connections: int = 64
    servers: tuple[type[Server], ...] = EVERYBODY
    tasks: int = 20
    is_quick: bool = False
    seconds: int = 0
    """Measured at least so long, where one answer takes long."""


def line(server: Server, number: int, method: str, path: str, body: str = "") -> str:
    """Ask as the user of this number."""
    user_id, authorization = server.users[number]
    return f"{method}\t{path}\t{authorization}\t{user_id}\t\t{body}\n"


def on_tasks(method: str, suffix: str = "", body: str = "") -> Lines:
    """Ask about the first user's twenty tasks in turn."""

    def lines(server: Server) -> Iterator[str]:
        for task_id in server.tasks:
            yield line(server, 0, method, f"/tasks/{task_id}{suffix}", body)

    return lines


def by_users(count: int, method: str, path: str, body: str = "") -> Lines:
    """Ask the same on behalf of the first so many users in turn."""

    def lines(server: Server) -> Iterator[str]:
        for number in range(count):
            url = path.format(user_id=server.users[number][0])
            yield line(server, number, method, url, body)

    return lines


def deleting(server: Server) -> Iterator[str]:
    """Delete tasks that were made for it, each once."""
    for task_id in server.fill(server.users[2][0], 60_000):
        yield line(server, 2, "DELETE", f"/tasks/{task_id}")


def logging_in(server: Server) -> Iterator[str]:
    """Log in, each time from an address that has not tried too often this minute."""
    for number in range(5000):
        body = json.dumps({"email": server.email(number % MANY_USERS), "password": PASSWORD})
        yield f"POST\t/auth/login\t\t\t10.0.{number // 250}.{number % 250}\t{body}\n"


SCENARIOS = [
    Scenario("get one", on_tasks("GET"), is_quick=True),
    Scenario("list 20", by_users(1, "GET", LIST), is_quick=True),
    Scenario("complete", on_tasks("PATCH", "/complete"), is_quick=True),
    Scenario("create", by_users(1, "POST", "/tasks", NEW), is_quick=True),
    Scenario("patch", on_tasks("PATCH", "", NEW), servers=NOT_THE_FLOOR),
    Scenario("delete", deleting, servers=NOT_THE_FLOOR),
    Scenario("login", logging_in, servers=NOT_THE_FLOOR),
    Scenario("create, 100 users", by_users(MANY_USERS, "POST", "/tasks", NEW)),
    Scenario("list 20, 100 users", by_users(MANY_USERS, "GET", LIST)),
    Scenario("list 200", by_users(1, "GET", "/tasks?limit=200"), tasks=200),
    *(
        Scenario(f"list 20, {connections} at once", by_users(1, "GET", LIST), connections)
        for connections in (1, 16, 256)
    ),
    Scenario("create, 1 at once", by_users(1, "POST", "/tasks", NEW), 1),
    Scenario("create, 256 at once", by_users(1, "POST", "/tasks", NEW), 256),
    Scenario(
        "all 10,000 (contract A)",
        by_users(1, "GET", "/api/{user_id}/tasks"),
        4,
        NOT_THE_FLOOR,
        tasks=10_000,
        seconds=8,
    ),
]


@dataclass(frozen=True)
class Promise:
    """What the 95th percentile of a scenario shall be below, in milliseconds."""

    scenario: Scenario
    promised: int
    aimed_at: int


def of_many(name: str, lines: Lines) -> Scenario:
    """Ask with the hundred clients of the contracts, of the service and the peer."""
    return Scenario(f"{name}, 100 at once", lines, 100, NOT_THE_FLOOR)


PROMISES = [
    Promise(of_many("get one", on_tasks("GET")), 200, 50),
    Promise(of_many("list 20 of 100 users", by_users(MANY_USERS, "GET", LIST)), 200, 50),
    Promise(of_many("create of 100 users", by_users(MANY_USERS, "POST", "/tasks", NEW)), 500, 100),
    Promise(of_many("complete", on_tasks("PATCH", "/complete")), 500, 100),
    Promise(of_many("health", by_users(1, "GET", "/health")), 100, 5),
]
