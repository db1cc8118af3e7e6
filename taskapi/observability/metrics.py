"""What Prometheus may know, over all worker processes together.

Under gunicorn each process keeps its numbers in files of its own, which whoever is asked for
/metrics adds up. Where there is no directory for them (a command, a test) they are the
process's own.
"""

from __future__ import annotations

import fcntl
import os
import platform
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.mmap_dict import MmapedDict

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which the processes know where their files are."""


@cache
def _process_id() -> int:
    return os.getpid()


if DIRECTORY in os.environ:
    # prometheus_client would ask the system who we are at each number that it counts.
    os.register_at_fork(after_in_child=_process_id.cache_clear)
    values.ValueClass = values.MultiProcessValue(_process_id)  # type: ignore[no-untyped-call]

_PATIENCE: Final = 2.0  # seconds, until counts that never come to rest are told as they are
_PAUSE: Final = 0.01  # seconds

_METHODS: Final = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_requests: Final = Histogram(
    "taskapi_request_duration_seconds",
    "How long requests took, by route and status.",
    ["method", "route", "status"],
    buckets=_BUCKETS,
)
in_flight: Final = Gauge(
    "taskapi_requests_in_flight", "Requests that are being answered.", multiprocess_mode="livesum"
)
connections_in_use: Final = Gauge(
    "taskapi_database_connections_in_use",
    "Connections to the database that are in use.",
    multiprocess_mode="livesum",
)
pool_waits: Final = Histogram(
    "taskapi_database_pool_wait_seconds",
    "How long it took until a connection was free.",
    buckets=_BUCKETS[:-2],
)
database_errors: Final = Counter(
    "taskapi_database_errors", "Statements that failed, by SQLSTATE.", ["sqlstate"]
)
logins: Final = Counter("taskapi_logins", "Attempts to log in, by what came of them.", ["outcome"])
refusals: Final = Counter("taskapi_rate_limited", "Requests that a rate limit refused.", ["bucket"])
waiters: Final = Gauge(
    "taskapi_change_feed_waiters", "Requests that wait for a change.", multiprocess_mode="livesum"
)
_build: Final = Gauge(
    "taskapi_build_info", "Always 1.", ["version", "python"], multiprocess_mode="max"
)


def describe_build(version: str) -> None:
    """Say which release runs, on which Python."""
    _build.labels(version, platform.python_version()).set(1)


def bury(pid: int) -> None:
    """Keep what a process has counted, after its end, in one file for all that have ended."""
    with _locked(fcntl.LOCK_EX):
        _move_counts(pid, Path(os.environ[DIRECTORY]))


@contextmanager
def _locked(operation: int) -> Iterator[None]:
    """Lock the directory while counts are moved; the system unlocks it where a process dies."""
    descriptor = os.open(os.environ[DIRECTORY], os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _refuse_moving() -> None:
    """Raise BlockingIOError while counts are being moved from one file to another."""
    # Not held while they are read, since gunicorn's master would wait for a frozen reader.
    with _locked(fcntl.LOCK_SH | fcntl.LOCK_NB):
        pass


def _move_counts(pid: int, directory: Path) -> None:
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        own = directory / f"{kind}_{pid}.db"
        if not own.exists():
            continue
        sums = MmapedDict(str(directory / f"{kind}_ended.db"))  # type: ignore[no-untyped-call]
        with suppress(struct.error):  # Of one that was killed while it made its file.
            for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(own)):  # type: ignore[no-untyped-call]
                sums.write_value(key, sums.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
        sums.close()  # type: ignore[no-untyped-call]
        own.unlink()
    (directory / f"gauge_max_{pid}.db").unlink(missing_ok=True)


def collect() -> bytes:
    """Return all numbers of all processes in Prometheus' text format."""
    if DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        before = _files()
        # A process may end or begin meanwhile: its file is gone, or has nothing in it yet.
        with suppress(FileNotFoundError, struct.error, BlockingIOError):
            _refuse_moving()
            text = generate_latest(registry)
            # Counts on their way from one file to the other are read twice or not at all, and
            # Prometheus would take the next, right ones for those after a restart.
            _refuse_moving()
            if before == _files():
                return text
        time.sleep(_PAUSE)
    return generate_latest(registry)


def _files() -> set[str]:
    return {file.name for file in Path(os.environ[DIRECTORY]).iterdir()}


@lru_cache(maxsize=4096)
def request_duration(method: str, route: str | None, status: int) -> Any:
    """Return the histogram of a route; neither a made-up method nor path has one of its own."""
    method = method if method in _METHODS else "other"
    return _requests.labels(method, route or "none", status)
