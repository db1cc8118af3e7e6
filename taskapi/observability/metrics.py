"""Define the metrics for Prometheus and sum them over all worker processes.

Under gunicorn each process writes its samples to files of its own. The process that answers
/metrics adds them up. Without a directory for the files (a command, a test) the metrics cover the
process alone.
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

MULTIPROC_DIR_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the directory of the processes' files."""


@cache
def _process_id() -> int:
    return os.getpid()


if MULTIPROC_DIR_VARIABLE in os.environ:
    # prometheus_client would make a system call for the process id at each sample.
    os.register_at_fork(after_in_child=_process_id.cache_clear)
    values.ValueClass = values.MultiProcessValue(_process_id)  # type: ignore[no-untyped-call]

# After this time counts that are still being merged are reported as they are.
_COLLECT_TIMEOUT_SECONDS: Final = 2.0
_COLLECT_RETRY_SECONDS: Final = 0.01

_METHODS: Final = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_requests: Final = Histogram(
    "taskapi_request_duration_seconds",
    "Duration of requests, by route and status.",
    ["method", "route", "status"],
    buckets=_BUCKETS,
)
in_flight: Final = Gauge(
    "taskapi_requests_in_flight", "Requests that are being answered.", multiprocess_mode="livesum"
)
connections_in_use: Final = Gauge(
    "taskapi_database_connections_in_use",
    "Database connections in use.",
    multiprocess_mode="livesum",
)
pool_waits: Final = Histogram(
    "taskapi_database_pool_wait_seconds",
    "Time until a connection of the pool was free.",
    buckets=_BUCKETS[:-2],
)
database_errors: Final = Counter(
    "taskapi_database_errors", "Statements that failed, by SQLSTATE.", ["sqlstate"]
)
logins: Final = Counter("taskapi_logins", "Login attempts, by outcome.", ["outcome"])
refusals: Final = Counter("taskapi_rate_limited", "Requests refused by a rate limit.", ["bucket"])
waiters: Final = Gauge(
    "taskapi_change_feed_waiters", "Long polls that wait for a change.", multiprocess_mode="livesum"
)
_build: Final = Gauge(
    "taskapi_build_info", "Always 1.", ["version", "python"], multiprocess_mode="max"
)


def describe_build(version: str) -> None:
    """Set the build metric to the release and the Python version."""
    _build.labels(version, platform.python_version()).set(1)


def merge_dead_worker(pid: int) -> None:
    """Add the counts of an ended process to the file that all ended processes share."""
    with _locked(fcntl.LOCK_EX):
        _merge_counts(pid, Path(os.environ[MULTIPROC_DIR_VARIABLE]))


@contextmanager
def _locked(operation: int) -> Iterator[None]:
    """Hold a file lock on the directory; the kernel releases it if the process dies."""
    descriptor = os.open(os.environ[MULTIPROC_DIR_VARIABLE], os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _raise_if_merging() -> None:
    """Raise `BlockingIOError` while counts are moved from one file to another."""
    # The lock is not held while counts are read: gunicorn's master would wait for a frozen reader.
    with _locked(fcntl.LOCK_SH | fcntl.LOCK_NB):
        pass


def _merge_counts(pid: int, directory: Path) -> None:
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        own = directory / f"{kind}_{pid}.db"
        if not own.exists():
            continue
        sums = MmapedDict(str(directory / f"{kind}_ended.db"))  # type: ignore[no-untyped-call]
        with suppress(struct.error):  # A process was killed while it created its file.
            for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(own)):  # type: ignore[no-untyped-call]
                sums.write_value(key, sums.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
        sums.close()  # type: ignore[no-untyped-call]
        own.unlink()
    (directory / f"gauge_max_{pid}.db").unlink(missing_ok=True)


def collect() -> bytes:
    """Return the metrics of all processes in Prometheus' text format."""
    if MULTIPROC_DIR_VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + _COLLECT_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        before = _list_files()
        # A process may end or start meanwhile: its file is missing, or still empty.
        with suppress(FileNotFoundError, struct.error, BlockingIOError):
            _raise_if_merging()
            text = generate_latest(registry)
            # Counts that are being moved are read twice or not at all. Prometheus would take the
            # next, correct values for a counter reset.
            _raise_if_merging()
            if before == _list_files():
                return text
        time.sleep(_COLLECT_RETRY_SECONDS)
    return generate_latest(registry)


def _list_files() -> set[str]:
    return {file.name for file in Path(os.environ[MULTIPROC_DIR_VARIABLE]).iterdir()}


@lru_cache(maxsize=4096)
def request_duration(method: str, route: str | None, status: int) -> Any:
    """Return the duration histogram of a route; unknown methods and paths share their labels."""
    method = method if method in _METHODS else "other"
    return _requests.labels(method, route or "none", status)
