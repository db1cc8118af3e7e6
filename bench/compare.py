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
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import requests
from uuid_utils import uuid7

from bench.report import Figures, Results, chart, table
from bench.scenarios import EVERYBODY, MANY_USERS, PROMISES, SCENARIOS, Scenario
from bench.servers import PEER_PYTHON, Server
from taskapi import create_app, devdb
from taskapi.auth import tokens
from taskapi.settings import Settings

HERE = Path(__file__).resolve().parent


def main() -> None:
    options = parse()
    require_wrk()
    if not PEER_PYTHON.exists():
        raise SystemExit("The peer is not installed; `make bench-quick` does that.")
    scenarios = [one for one in SCENARIOS if one.is_quick or not options.quick]
    if not options.quick:
        scenarios += [promise.scenario for promise in PROMISES]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(devdb.running(scratch / "postgres"))
        servers = start(stack, url, scratch)
        results = compare(servers, scenarios, options.rounds, options.seconds, scratch)
        results.memory = {server.name: server.memory() for server in servers}
    results.token_check = time_token_checks()
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    if options.chart:
        options.chart.write_text(chart(results))


def require_wrk() -> None:
    """Stop with what to do where there is no wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian and Ubuntu: apt-get install wrk")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the four that matter most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--chart", type=Path, help="draw the ratios into this file, as SVG")
    return parser.parse_args()


def start(stack: ExitStack, url: str, scratch: Path) -> list[Server]:
    servers: list[Server] = []
    for kind in EVERYBODY:
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
) -> Results:
    results = Results()
    for scenario in scenarios:
        asked = [one for one in servers if isinstance(one, scenario.servers)]
        for server in asked:
            server.provide(scenario.tasks)
        for number in range(rounds):
            for server in random.sample(asked, len(asked)):
                results.add(scenario.name, server.name, measure(server, scenario, seconds, scratch))
            print(f"{scenario.name}: round {number + 1} of {rounds}", file=sys.stderr)
    return results


def measure(server: Server, scenario: Scenario, seconds: int, scratch: Path) -> Figures:
    lines = scratch / "requests"
    lines.write_text("".join(scenario.lines(server)))
    before = server.cpu_seconds()
    finished = subprocess.run(
        [
            *("wrk", "--threads", str(min(2, scenario.connections))),
            *("--connections", str(scenario.connections)),
            *("--duration", f"{max(seconds, scenario.seconds)}s"),
            *("--latency", "--timeout", "10s", "--script", str(HERE / "wrk.lua"), server.url),
        ],
        env={**os.environ, "REQUESTS": str(lines)},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: Figures = json.loads(finished.stdout.splitlines()[-1])
    if figures["bad"]:
        raise SystemExit(f"{server.name}, {scenario.name}: {figures['bad']} requests failed.")
    figures["rate"] = figures["requests"] / figures["seconds"]
    figures["cpu_us"] = (server.cpu_seconds() - before) / figures["requests"] * 1e6
    return figures


def time_token_checks(count: int = 2000) -> tuple[float, float]:
    """Return the milliseconds that a token is verified in when it is new, and when it is known."""
    os.environ |= {
        "DATABASE_URL": "postgresql://nowhere",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
    }
    with create_app(Settings.from_environment(env_file=os.devnull)).app_context():
        user = {"id": str(uuid7())}
        granted = [tokens.make_grant(user, str(uuid7()), str(uuid7())) for _ in range(count)]
        signed = [tokens.sign_pair(one)["access_token"] for one in granted]
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            for token in signed:
                tokens.verify_token(token, "access")
            seconds.append(time.perf_counter() - started)
    first, again = (one / count * 1000 for one in seconds)
    return first, again


if __name__ == "__main__":
    main()
