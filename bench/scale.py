"""Shows what grows with the data, with the clients and with time, and what does not.

The service alone, on an embedded PostgreSQL: the cost of a request with ten tasks in the
table up to a million, of up to a hundred thousand users; then its memory over many requests,
and 256 clients at a time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.compare import measure, require_wrk
from bench.scenarios import LIST, NEW, Scenario, by_users, on_tasks
from bench.servers import Service, connected
from taskapi import devdb

SIZES = ((0, 10), (100, 1_000), (10_000, 100_000), (100_000, 1_000_000))
"""So many other users, and so many tasks of theirs."""

HEAD = f"  {'':10}{'CPU µs':>8}{'p95 ms':>8}{'pages':>7}"
ASKED = [
    Scenario("get one", on_tasks("GET"), 16),
    Scenario("list 20", by_users(1, "GET", LIST), 16),
    Scenario("complete", on_tasks("PATCH", "/complete"), 16),
]
OF_ONE = [
    Scenario("list 20", by_users(1, "GET", LIST), 16),
    Scenario("by title", by_users(1, "GET", f"{LIST}&sort=title"), 16),
    Scenario("search", by_users(1, "GET", f"{LIST}&q=task"), 16),
    Scenario("feed of 20", by_users(1, "GET", "/tasks/changes?limit=20"), 16),
]
LOAD = Scenario("list 20", by_users(1, "GET", LIST), 64)
STRESS = Scenario("create", by_users(3, "POST", "/tasks", NEW), 256)


def main() -> None:
    options = parse()
    require_wrk()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(devdb.running(scratch / "postgres"))
        service = Service(url, scratch / "taskapi.log")
        stack.callback(service.stop)
        service.start()
        service.make_users(3)
        service.tasks = service.fill(service.users[0][0], 20)
        report_sizes(service, options.seconds, scratch)
        report_large_user(service, options.seconds, scratch)
        report_memory(service, options.requests, scratch)
        figures = measure(service, STRESS, options.seconds, scratch)
        print(f"\n256 clients that create: {figures['requests']:.0f} requests, none failed")
        service.stop()
        print(f"start with all of it: {service.start():.1f} s until it answers")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument(
        "--requests", type=int, default=1_000_000, help="over which the memory is watched"
    )
    return parser.parse_args()


def report_sizes(service: Service, seconds: int, scratch: Path) -> None:
    print(f"{'users':>9}{'tasks':>11}{HEAD}")
    for users, tasks in SIZES:
        grow(service, users, tasks)
        for scenario in ASKED:
            cost = cost_of(service, scenario, seconds, scratch)
            print(f"{users + 3:9}{tasks + 20:11}{cost}", flush=True)


def report_large_user(service: Service, seconds: int, scratch: Path) -> None:
    print(f"\n{'':9}{'own tasks':>11}{HEAD}")
    for own in (20, 10_000):
        service.provide(own)
        for scenario in OF_ONE:
            cost = cost_of(service, scenario, seconds, scratch)
            print(f"{'':9}{own:11}{cost}", flush=True)


def cost_of(service: Service, scenario: Scenario, seconds: int, scratch: Path) -> str:
    """Measure what one request costs, in processor time and in pages of the database."""
    measure(service, scenario, 1, scratch)  # To have all of it in memory.
    before = pages_read(service)
    figures = measure(service, scenario, seconds, scratch)
    pages = (pages_read(service) - before) / figures["requests"]
    return f"  {scenario.name:10}{figures['cpu_us']:8.0f}{figures['p95']:8.1f}{pages:7.1f}"


def grow(service: Service, users: int, tasks: int) -> None:
    """Add other people, to so many in all, with so many tasks among them."""
    print(f"adding users to {users} and tasks to {tasks}", file=sys.stderr)
    each = tasks // max(users, 1)
    with connected(service.database_url) as cursor:
        cursor.execute("DELETE FROM users WHERE id LIKE 'other-%'")
        owner = "'other-' || n" if users else "%(first)s"
        if users:
            cursor.execute(
                "INSERT INTO users (id) SELECT 'other-' || n FROM generate_series(1, %s) AS n",
                (users,),
            )
        cursor.execute(
            "INSERT INTO tasks (user_id, id, title, description, version)"
            f" SELECT {owner}, gen_random_uuid(), 'Task', 'Something to be done',"
            # Far from the numbers that the counters reach here.
            f" (SELECT count(*) FROM tasks) + 1000000 + m"
            f" FROM generate_series(1, {max(users, 1)}) AS n, generate_series(1, {each}) AS m",
            {"first": service.users[1][0]},
        )
    with connected(service.database_url) as cursor:
        cursor.connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")


def pages_read(service: Service) -> int:
    """Return how many pages of 8 KiB PostgreSQL has looked at since its start."""
    time.sleep(2)  # Its processes tell their counts once a second.
    with connected(service.database_url) as cursor:
        cursor.execute(
            "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
        )
        [[pages]] = cursor.fetchall()
        return int(pages)


def report_memory(service: Service, wanted: int, scratch: Path) -> None:
    print(f"\n{'requests':>10}  memory of each worker, MiB (resident)")
    sent = 0
    while sent < wanted:
        figures = measure(service, LOAD, 20, scratch)
        sent += int(figures["requests"])
        sizes = ", ".join(f"{size / 2**20:.1f}" for size in worker_sizes(service))
        print(f"{sent:10}  {sizes}", flush=True)


def worker_sizes(service: Service) -> list[int]:
    leaves: list[psutil.Process] = [one for one in service.processes() if not one.children()]
    return [one.memory_info().rss for one in leaves]


if __name__ == "__main__":
    main()
