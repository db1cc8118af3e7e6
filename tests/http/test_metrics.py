"""What Prometheus may know."""

import fcntl
import fnmatch
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from prometheus_client import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from taskapi import create_app
from taskapi.observability.metrics import MULTIPROC_DIR_VARIABLE, collect, merge_dead_worker
from tests.support.people import register
from tests.support.service import ROOT, Caller, make_settings, running_service


def read(text):
    """Return the samples by name and labels."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def requests_of(samples, route, status="200", method="GET"):
    labels = f'{{method="{method}",route="{route}",status="{status}"}}'
    return samples.get(f"taskapi_request_duration_seconds_count{labels}", 0)


def growth(client, act):
    before = read(client.get("/metrics").text)
    act()
    after = read(client.get("/metrics").text)
    return {name: value - before.get(name, 0) for name, value in after.items()}


def test_requests_are_counted_by_route_and_status(alice, client):
    task = alice.creates()

    def act():
        alice.get(f"/tasks/{task['id']}")
        alice.get(f"/tasks/{task['id']}")
        alice.get("/tasks/nonsense")
        client.get("/tasks")

    grown = growth(client, act)

    assert requests_of(grown, "/tasks/{task_id}") == 2
    assert requests_of(grown, "/tasks/{task_id}", "404") == 1
    assert requests_of(grown, "/tasks", "401") == 1


def test_what_a_client_makes_up_makes_no_series(client):
    def act():
        for number in range(5):
            client.get(f"/made/up/{number}")
            client.open("/tasks", method=f"MADEUP{number}")

    grown = growth(client, act)

    assert requests_of(grown, "none", "404") == 5
    assert (
        requests_of(grown, "none", "405", "other") + requests_of(grown, "/tasks", "405", "other")
        == 5
    )
    assert not [name for name in grown if "MADEUP" in name or "/made" in name]


def test_logins_are_counted_by_what_came_of_them(app, client, alice):
    def act():
        for password in ("correct horse battery", "wrong", "wrong"):
            body = {"email": "alice@example.com", "password": password}
            client.post("/auth/login", json=body)

    grown = growth(client, act)

    assert grown['taskapi_logins_total{outcome="succeeded"}'] == 1
    assert grown['taskapi_logins_total{outcome="failed"}'] == 2


def test_refusals_and_faults_of_the_database_are_counted(app, variant, client):
    limited = variant(rate_limit_enabled=True, rate_limit_reads="1/minute")
    away = create_app(make_settings(database_url="postgresql+psycopg2://127.0.0.1:9/none"))
    alice = register(limited, "alice@example.com")

    def act():
        alice.get("/tasks")
        alice.get("/tasks")
        away.test_client().get("/health")

    grown = growth(client, act)

    assert grown['taskapi_rate_limited_total{bucket="read"}'] == 1
    assert grown['taskapi_database_errors_total{sqlstate="none"}'] >= 1
    assert requests_of(grown, "/health", "503") == 1


def test_the_pool_and_the_build_are_shown(alice, client):
    grown = growth(client, lambda: alice.get("/tasks"))

    assert grown["taskapi_database_pool_wait_seconds_count"] == 1
    samples = read(client.get("/metrics").text)
    assert samples["taskapi_database_connections_in_use"] == 0
    assert samples["taskapi_requests_in_flight"] == 1
    assert [name for name in samples if name.startswith("taskapi_build_info{")]


def test_times_are_told_where_that_is_wanted(variant, alice):
    told = register(variant(server_timing=True), "told@example.com").get("/tasks")

    assert re.fullmatch(r"db;dur=\d+\.\d\d, total;dur=\d+\.\d\d", told.headers["Server-Timing"])
    assert "Server-Timing" not in alice.get("/tasks").headers


@pytest.mark.service
def test_all_processes_are_counted_together_over_reloads(tmp_path):
    directory = tmp_path / "metrics"
    directory.mkdir()
    settings: dict[str, Any] = {"WEB_CONCURRENCY": "2", MULTIPROC_DIR_VARIABLE: str(directory)}
    with running_service(tmp_path, **settings) as service:
        alice = Caller(service, "alice@example.com")
        token = {"Authorization": alice.session.headers["Authorization"]}

        def ask(count):
            for _ in range(count):
                # A new connection each time, so that both processes are asked.
                requests.get(f"{service.url}/tasks", headers=token, timeout=10)

        def counted():
            return requests_of(samples_of(service), "/tasks")

        ask(20)
        assert counted() == 20

        for number in range(3):
            reload(service, directory)
            ask(10)
            assert counted() == 20 + 10 * (number + 1)
        names = sorted(path.name for path in directory.iterdir())
        assert (
            sum(name.startswith("histogram_") for name in names) <= 2 + 3
        )  # workers; gunicorn, whoever started it, all that ended
        assert samples_of(service)["taskapi_requests_in_flight"] == 1


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of two processes, 1 that counts and those that have ended, in this order."""
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    names: list[Path] = [tmp_path / "counter_1.db", tmp_path / "counter_ended.db"]
    monkeypatch.setattr("glob.glob", lambda pattern: fnmatch.filter(map(str, names), pattern))
    for name, count in zip(names, (3, 10), strict=True):
        write_count(name, count)
    return names


def write_count(file, count):
    values = MmapedDict(str(file))
    values.write_value(mmap_key("taskapi_x", "taskapi_x_total", [], [], "x"), count, 0)
    values.close()


def test_what_a_process_counted_that_ends_meanwhile_is_counted_once(files, monkeypatch):
    own, ended = files
    read_file = MmapedDict.read_all_values_from_file

    def read_and_end(path):
        values = list(read_file(path))
        if own in files:
            files.remove(own)
            merge_dead_worker(1)
        return values

    monkeypatch.setattr(MmapedDict, "read_all_values_from_file", staticmethod(read_and_end))

    assert read(collect().decode())["taskapi_x_total"] == 13
    assert list(own.parent.iterdir()) == [ended]


def lock_counts(directory):
    """Do as a process that moves counts; return the descriptor that holds the lock."""
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.fixture
def readings(monkeypatch):
    """How often the counts were read."""
    made = []

    def read_counts(registry):
        made.append(registry)
        return generate_latest(registry)

    monkeypatch.setattr("taskapi.observability.metrics.generate_latest", read_counts)
    return made


def test_a_process_that_was_killed_while_it_moved_counts_stops_nobody(files, readings):
    # As the release before left it.
    files[0].with_name("burial").touch()
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, files[0].parent], check=False)
    assert killed.returncode == -signal.SIGKILL

    assert read(collect().decode())["taskapi_x_total"] == 13
    assert len(readings) == 1


def test_counts_that_never_come_to_rest_are_told_without_spinning(files, readings, monkeypatch):
    monkeypatch.setattr("taskapi.observability.metrics._COLLECT_TIMEOUT_SECONDS", 0.2)
    descriptor = lock_counts(files[0].parent)

    assert read(collect().decode())["taskapi_x_total"] == 13

    os.close(descriptor)
    assert len(readings) == 1


def test_nothing_is_told_while_counts_are_moved(files):
    own, ended = files
    descriptor = lock_counts(own.parent)
    write_count(ended, 13)

    def finish():
        files.remove(own)
        os.close(descriptor)

    threading.Timer(0.2, finish).start()

    assert read(collect().decode())["taskapi_x_total"] == 13


def test_a_file_that_is_being_made_stops_nobody(files):
    unborn = files[0].with_name("counter_2.db")
    unborn.touch()
    files.append(unborn)
    threading.Timer(0.2, files.remove, (unborn,)).start()

    assert read(collect().decode())["taskapi_x_total"] == 13


def test_one_that_was_killed_while_it_made_its_file_is_buried_as_well(files):
    unborn = files[0].with_name("counter_2.db")
    unborn.touch()
    files.append(unborn)

    merge_dead_worker(2)
    files.remove(unborn)

    assert not unborn.exists()
    assert read(collect().decode())["taskapi_x_total"] == 13


STARTED = """
import os, runpy, sys
runpy.run_path("gunicorn.conf.py")
if not os.fork():
    sys.exit()  # A worker.
os.wait()
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
print(directory, os.path.isdir(directory))
"""


def test_a_start_that_comes_to_nothing_leaves_no_files():
    environment = {
        name: value for name, value in os.environ.items() if name != MULTIPROC_DIR_VARIABLE
    }
    started = subprocess.run(
        [sys.executable, "-c", STARTED],
        cwd=ROOT,
        env={**environment, "JWT_SECRET_KEY": "k" * 32, "DATABASE_URL": "postgresql://x/y"},
        capture_output=True,
        text=True,
        check=True,
    )

    directory, was_there = started.stdout.split()
    assert was_there == "True"
    assert not Path(directory).exists()


def samples_of(service):
    return read(requests.get(f"{service.url}/metrics", timeout=10).text)


def reload(service, directory):
    """Let gunicorn replace its workers, and wait until the old ones are buried."""
    children = psutil.Process(service.process.pid).children()
    [master] = [one for one in children if "gunicorn" in " ".join(one.cmdline())]
    old = [directory / f"histogram_{worker.pid}.db" for worker in master.children()]
    master.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while any(path.exists() for path in old):
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.05)
