"""Compares the service with the stack that its contracts were written for, side by side.

Three servers on one PostgreSQL, each with two worker processes: the service with everything
switched on; the peer (FastAPI, SQLModel, asyncpg); and the floor (Flask and psycopg2 with
nothing on top). wrk asks them in turn, round by round, so that a noisy minute hits all of
them. Reported are the medians of the rounds, and as ratios to the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.servers import PEER_PYTHON, Floor, Peer, Server, Service
from taskapi import embedded

HERE = Path(__file__).resolve().parent


# A line for wrk: method, path, Authorization, the user's id, and a body, by tabs.
Lines = Callable[[Server], Iterator[str]]

NEW = json.dumps({"title": "Buy milk", "description": "Oat, two of them"})
MANY_USERS = 100


@dataclass(frozen=True)
class Scenario:
    name: str
    lines: Lines
    connections: int = 64
    on_floor: bool = True
    quick: bool = False


def on_tasks(method: str, suffix: str = "", body: str = "") -> Lines:
    """Ask about the first user's twenty tasks in turn."""

    def lines(server: Server) -> Iterator[str]:
        user_id, authorization = server.users[0]
        for task_id in server.tasks:
            yield f"{method}\t/tasks/{task_id}{suffix}\t{authorization}\t{user_id}\t{body}\n"

    return lines


def by_users(count: int, method: str, path: str, body: str = "") -> Lines:
    """Ask the same on behalf of the first so many users in turn."""

    def lines(server: Server) -> Iterator[str]:
        for user_id, authorization in server.users[:count]:
            url = path.format(user_id=user_id)
            yield f"{method}\t{url}\t{authorization}\t{user_id}\t{body}\n"

    return lines


def deleting(server: Server) -> Iterator[str]:
    """Delete tasks that were made for it, each once."""
    user_id, authorization = server.users[2]
    for task_id in server.fill(user_id, 60_000):
        yield f"DELETE\t/tasks/{task_id}\t{authorization}\t{user_id}\t\n"


LIST = "/tasks?limit=20"
SCENARIOS = [
    Scenario("get one", on_tasks("GET"), quick=True),
    Scenario("list 20", by_users(1, "GET", LIST), quick=True),
    Scenario("complete", on_tasks("PATCH", "/complete"), quick=True),
    Scenario("create", by_users(1, "POST", "/tasks", NEW), quick=True),
    Scenario("patch", on_tasks("PATCH", "", NEW), on_floor=False),
    Scenario("delete", deleting, on_floor=False),
    Scenario("create, 100 users", by_users(MANY_USERS, "POST", "/tasks", NEW)),
    Scenario("list 20, 100 users", by_users(MANY_USERS, "GET", LIST)),
    Scenario("list 200", by_users(1, "GET", "/tasks?limit=200")),
    Scenario("list 20, 1 connection", by_users(1, "GET", LIST), 2),
    Scenario("list 20, 16 connections", by_users(1, "GET", LIST), 16),
    Scenario("list 20, 100 connections", by_users(1, "GET", LIST), 100),
    Scenario("list 20, 256 connections", by_users(1, "GET", LIST), 256),
    Scenario("all 10,000", by_users(1, "GET", "/api/{user_id}/tasks"), 4, on_floor=False),
]


def main() -> None:
    options = parse()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian and Ubuntu: apt-get install wrk")
    if not PEER_PYTHON.exists():
        raise SystemExit("The peer is not installed; `make bench-quick` does that.")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(embedded.running(scratch / "postgres"))
        servers = start(stack, url, scratch)
        scenarios = [one for one in SCENARIOS if one.quick or not options.quick]
        results = compare(servers, scenarios, options.rounds, options.seconds, scratch)
    report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the four that matter most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def start(stack: ExitStack, url: str, scratch: Path) -> list[Server]:
    servers: list[Server] = []
    for kind in (Service, Peer, Floor):
        server = kind(url, scratch / f"{kind.name}.log")
        stack.callback(server.stop)
        seconds = server.start()
        server.make_users(MANY_USERS)
        for user_id, _ in server.users[1:]:
            server.fill(user_id, 20)
        server.tasks = server.fill(server.users[0][0], 20)
        check(server)
        print(f"{server.name} answered {seconds:.1f} s after its start", file=sys.stderr)
        servers.append(server)
    return servers


def check(server: Server) -> None:
    """See that it answers what it is measured by."""
    user_id, authorization = server.users[0]
    headers = {"Authorization": authorization, "X-User": user_id}
    task = requests.get(f"{server.url}/tasks/{server.tasks[0]}", headers=headers, timeout=10)
    page = requests.get(f"{server.url}/tasks?limit=20", headers=headers, timeout=10)
    assert task.json()["title"] == "Task 0 🥛", task.text
    assert [one["id"] for one in page.json()["tasks"]] == server.tasks[::-1], page.text


def compare(
    servers: list[Server], scenarios: list[Scenario], rounds: int, seconds: int, scratch: Path
) -> dict[str, dict[str, list[dict[str, float]]]]:
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for scenario in scenarios:
        of_scenario = results.setdefault(scenario.name, {})
        if "10,000" in scenario.name:
            for server in servers:
                server.fill(server.users[0][0], 10_000)
        asked = [one for one in servers if scenario.on_floor or not isinstance(one, Floor)]
        for number in range(rounds):
            for server in random.sample(asked, len(asked)):
                measured = measure(server, scenario, seconds, scratch)
                of_scenario.setdefault(server.name, []).append(measured)
            print(f"{scenario.name}: round {number + 1} of {rounds}", file=sys.stderr)
    return results


def measure(server: Server, scenario: Scenario, seconds: int, scratch: Path) -> dict[str, float]:
    lines = scratch / "requests"
    lines.write_text("".join(scenario.lines(server)))
    before = server.cpu_seconds()
    finished = subprocess.run(
        [
            *("wrk", "--threads", "2", "--connections", str(scenario.connections)),
            *("--duration", f"{seconds}s", "--latency", "--timeout", "10s"),
            *("--script", str(HERE / "wrk.lua"), server.url),
        ],
        env={**os.environ, "REQUESTS": str(lines)},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    if figures["bad"]:
        raise SystemExit(f"{server.name}, {scenario.name}: {figures['bad']} requests failed.")
    figures["rate"] = figures["requests"] / figures["seconds"]
    figures["cpu_us"] = (server.cpu_seconds() - before) / figures["requests"] * 1e6
    return figures


def report(results: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    print(
        f"{'':26}{'':9}{'req/s':>8}{'spread':>8}{'ratio':>7}{'CPU µs':>8}{'ratio':>7}{'p95 ms':>8}"
    )
    for scenario, of_scenario in results.items():
        medians = {
            server: {
                figure: statistics.median(one[figure] for one in rounds)
                for figure in ("rate", "cpu_us", "p95")
            }
            for server, rounds in of_scenario.items()
        }
        peer = medians["peer"]
        for server in sorted(medians, key=["taskapi", "peer", "floor"].index):
            one = medians[server]
            rates = [measured["rate"] for measured in of_scenario[server]]
            print(
                f"{scenario:26}{server:9}{one['rate']:8.0f}"
                f"{(max(rates) - min(rates)) / one['rate']:8.0%}{one['rate'] / peer['rate']:7.2f}"
                f"{one['cpu_us']:8.0f}{peer['cpu_us'] / one['cpu_us']:7.2f}{one['p95']:8.1f}"
            )


if __name__ == "__main__":
    main()
