"""Start and stop the embedded PostgreSQL of the wheel: for trials, development and tests.

Only the wheel's programs are used. Its own start-up code, run as root, gives all users of the
machine read access to the directories above the data. It also fails if recovery takes longer than
ten seconds, and trusts a stale pid file.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from taskapi.devdb.processes import (
    has_leftovers,
    has_starter,
    is_running,
    is_starter,
    open_owned_file,
    sibling_file,
    start_lock,
    starter_file,
)
from taskapi.devdb.programs import (
    EmbeddedPostgresError,
    chown_to_server,
    create_socket_dir,
    program_dir,
    run_program,
    server_uid,
    socket_dir,
)

__all__ = [
    "EmbeddedPostgresError",
    "ensure_running",
    "is_running",
    "load_signing_key",
    "program_dir",
    "running",
    "stop",
    "url",
    "validate_directory",
]

_SUPERUSER = "taskapi"
_MIN_KEY_BYTES = 32
_RECOVERY_TIMEOUT_SECONDS = 60


def url(directory: Path) -> str:
    """Return the URL of the server of a data directory, whether it is running or not."""
    return f"postgresql+psycopg2://{_SUPERUSER}@/postgres?host={quote(str(socket_dir(directory)))}"


def load_signing_key(directory: Path) -> str:
    """Return the key that signs tokens; create it on first use, readable by its owner alone.

    Raises `EmbeddedPostgresError` if the file is truncated, a link or another user's.
    """
    validate_directory(directory)
    path = sibling_file(directory, "jwt-secret-key")
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".jwt-") as draft:
            draft.write(secrets.token_urlsafe(48))
            draft.flush()
            os.fsync(draft.fileno())
            # link(2) is atomic, and the first of several processes wins.
            with suppress(FileExistsError):
                os.link(draft.name, path)
    with open_owned_file(path) as file:
        key = file.read().strip()
    if len(key) < _MIN_KEY_BYTES:
        raise EmbeddedPostgresError(
            f"{path} has been cut short; remove it. All users must then log in again."
        )
    return key


@contextmanager
def running(directory: Path, should_continue: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """Keep a server running on `directory` and yield its URL.

    A running server is used and left running, unless the process that started it was killed. In
    that case this process takes it over and stops it at the end. The wait for a long recovery ends
    when `should_continue` returns False.
    """
    program_dir()
    try:
        ensure_running(directory, should_continue)
        yield url(directory)
    finally:
        # Under the lock, so that a server which another process starts now is not stopped.
        with start_lock(directory):
            if is_starter(directory):
                stop(directory)


def ensure_running(directory: Path, should_continue: Callable[[], bool] = lambda: True) -> None:
    """Start the server unless it is running.

    Creates the data directory if there is none. After a crash, waits for the recovery and for the
    last processes of the crashed server to release its shared memory.
    """
    if is_running(directory) and has_starter(directory):
        return
    validate_directory(directory)
    with start_lock(directory):
        if not is_running(directory) or not has_starter(directory):
            with open_owned_file(starter_file(directory), os.O_RDWR | os.O_CREAT) as file:
                file.truncate()
                file.write(str(os.getpid()))
            if not (directory / "PG_VERSION").exists():
                _initialise(directory)
            _start(directory, should_continue)


def stop(directory: Path) -> None:
    """Stop the server and roll back open transactions; committed data are kept."""
    for mode in ("fast", "immediate"):
        if is_running(directory):
            run_program("pg_ctl", "-m", mode, "-w", "-t", "5", "stop", data=directory)
    starter_file(directory).unlink(missing_ok=True)


def _start(directory: Path, should_continue: Callable[[], bool]) -> None:
    sockets = socket_dir(directory)
    if sockets != directory:
        create_socket_dir(sockets)
    options = (
        f"-c listen_addresses='' -c unix_socket_directories='{sockets}'"
        " -c unix_socket_permissions=0700 -c max_connections=200"
    )
    deadline = time.monotonic() + _RECOVERY_TIMEOUT_SECONDS
    while should_continue() and run_program("pg_isready", "-q", "-h", str(sockets)).returncode != 0:
        if not is_running(directory) and not has_leftovers(directory):
            # PostgreSQL does not start if the pid in the file of a crashed server now belongs to
            # another program. Removing the file is safe only without leftover processes.
            (directory / "postmaster.pid").unlink(missing_ok=True)
            log = ("-l", "server.log")
            run_program("pg_ctl", "-w", "-t", "2", "-o", options, *log, "start", data=directory)
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL does not start; the reason is at the end of "
                f"{directory / 'server.log'}."
            )
        time.sleep(0.05)


def _initialise(directory: Path) -> None:
    if directory.exists():
        # The operator made the directory, perhaps as the mount point of a volume: keep it.
        chown_to_server(directory)
        _initdb(directory)
        return
    # Created in a sibling directory and renamed, so that a killed initdb leaves no partial one.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".initdb-") as scratch:
        draft = Path(scratch) / "data"
        draft.mkdir(mode=0o700)
        chown_to_server(draft)
        _initdb(draft)
        draft.rename(directory)


def _initdb(directory: Path) -> None:
    finished = run_program(
        "initdb",
        *("--username", _SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        data=directory,
    )
    if finished.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed: {finished.stdout.strip()}")


def validate_directory(directory: Path) -> None:
    """Raise `EmbeddedPostgresError` for another user's or another program's directory.

    Called before any file in the directory, or next to it, is changed.
    """
    if not directory.exists():
        return
    if (directory / "PG_VERSION").exists():
        if directory.stat().st_uid != server_uid():
            raise EmbeddedPostgresError(
                f"{directory} belongs to another user; run as that user (with or without "
                "sudo, as the first time), or set EMBEDDED_POSTGRES_DIR to another directory."
            )
    elif not directory.is_dir() or any(directory.iterdir()):
        raise EmbeddedPostgresError(
            f"{directory} is no PostgreSQL data directory, and not empty; set "
            "EMBEDDED_POSTGRES_DIR to another one."
        )
