"""Measures the response times that contracts A, B and C promise, under two loads.

A hundred users who each make one request a second, and a hundred connections that ask as fast as
they are answered; service, PostgreSQL and load share this machine. Reported are 95th percentiles
in milliseconds. Only the first is what a hundred people do; the second is what saturates.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import requests

from bench.compare import measure, require_wrk
from bench.scenarios import MANY_USERS, Scenario, by_users, on_tasks
from bench.servers import Service
from taskapi import devdb

PERIOD = 1.0  # seconds between two requests of a user

NEW = {
    "native": {"title": "Buy milk"},
    "b": {"title": "Buy milk"},
    "c": {"text": "Buy milk"},
}
DONE = {
    "native": {"title": "Buy milk", "completed": True},
    "b": {"title": "Buy milk", "is_completed": True},
    "c": {"text": "Buy milk", "completed": True},
}


def saturating(contract: str) -> list[Scenario]:
    new, done = json.dumps(NEW[contract]), json.dumps(DONE[contract])
    return [
        Scenario("list", by_users(MANY_USERS, "GET", "/tasks"), MANY_USERS),
        Scenario("get one", on_tasks("GET"), MANY_USERS),
        Scenario("create", by_users(MANY_USERS, "POST", "/tasks", new), MANY_USERS),
        Scenario("change", on_tasks("PUT", "", done), MANY_USERS),
        Scenario("health", by_users(1, "GET", "/health"), MANY_USERS),
    ]


class Mode(Service):
    """The service as one contract has it."""

    def __init__(self, contract: str, database_url: str, log: Path) -> None:
        self.contract = contract
        self.secret = secrets.token_urlsafe(48)
        self.name = f"contract_{contract}"
        super().__init__(database_url, log)

    def environment(self) -> dict[str, str]:
        outside = {"AUTH_MODE": "external", "EXTERNAL_JWT_SECRET": self.secret}
        own = outside if self.contract == "c" else {}
        return {**super().environment(), "CONTRACT": self.contract, **own}

    def make_users(self, count: int) -> None:
        if self.contract != "c":
            super().make_users(count)
            return
        for number in range(count):
            claims = {"sub": f"user{number}", "exp": int(time.time()) + 3600}
            token = jwt.encode(claims, self.secret, "HS256")
            self.users.append((f"user{number}", f"Bearer {token}"))
            body, headers = {"text": "Buy milk"}, {"Authorization": f"Bearer {token}"}
            answer = requests.post(f"{self.url}/tasks", json=body, headers=headers, timeout=30)
            answer.raise_for_status()


def main() -> None:
    options = parse()
    require_wrk()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(devdb.running(scratch / "postgres"))
        for contract in NEW:
            service = Mode(contract, url, scratch / f"{contract}.log")
            stack.callback(service.stop)
            service.start()
            service.make_users(MANY_USERS)
            for user_id, _ in service.users[1:]:
                service.fill(user_id, 20)
            service.tasks = service.fill(service.users[0][0], 20)
            paced = ask_at_a_pace(service, options.seconds)
            print(f"\nCONTRACT={contract}\n  {'':10}{'one a second':>14}{'saturating':>12}")
            for scenario in saturating(contract):
                saturated = measure(service, scenario, options.seconds, scratch)["p95"]
                print(f"  {scenario.name:10}{paced[scenario.name]:>11.1f} ms{saturated:>9.1f} ms")
            sys.stdout.flush()
            service.stop()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement")
    return parser.parse_args()


def ask_at_a_pace(service: Mode, seconds: int) -> dict[str, float]:
    """Let a hundred users ask once a second; return the 95th percentile of each operation."""
    took: dict[str, list[float]] = defaultdict(list)
    threads = [
        threading.Thread(target=live, args=(service, number, seconds, took))
        for number in range(MANY_USERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: sorted(one)[int(len(one) * 0.95)] * 1000 for name, one in took.items()}


def live(service: Mode, number: int, seconds: int, took: dict[str, list[float]]) -> None:
    new, done = NEW[service.contract], DONE[service.contract]
    task_id = ""
    with requests.Session() as session:
        session.headers["Authorization"] = service.users[number][1]
        ends = time.monotonic() + seconds
        time.sleep(random.random() * PERIOD)
        for turn in range(seconds):
            operations: list[tuple[str, str, str, Any]] = [
                ("create", "POST", "/tasks", new),
                ("list", "GET", "/tasks", None),
                ("get one", "GET", f"/tasks/{task_id}", None),
                ("change", "PUT", f"/tasks/{task_id}", done),
                ("health", "GET", "/health", None),
            ]
            name, method, path, body = operations[turn % len(operations)]
            started = time.monotonic()
            answer = session.request(method, service.url + path, json=body, timeout=30)
            took[name].append(time.monotonic() - started)
            answer.raise_for_status()
            if name == "create":
                task_id = answer.json()["id"]
            time.sleep(max(0.0, PERIOD - (time.monotonic() - started)))
            if time.monotonic() > ends:
                return


if __name__ == "__main__":
    main()
