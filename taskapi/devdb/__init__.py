"""The PostgreSQL that comes as a wheel, for a trial, for development and for the tests.

Only the programs in the wheel are used. Its own start-up code gives every user of the
machine read access to the folders above the data when it runs as root, gives up on a
server that needs more than ten seconds to recover, and trusts a stale pid file.
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
    beside,
    has_leftovers,
    has_starter,
    is_running,
    is_starter,
    open_own,
    start_lock,
    starter_file,
)
from taskapi.devdb.programs import (
    EmbeddedPostgresError,
    give_to_server,
    program_dir,
    provide_socket_dir,
    run,
    server_uid,
    socket_dir,
)

__all__ = [
    "EmbeddedPostgresError",
    "ensure_running",
    "is_running",
    "program_dir",
    "refuse_foreign",
    "running",
    "signing_key",
    "stop",
    "url",
]

_SUPERUSER = "taskapi"
_SHORTEST_KEY = 32  # bytes
_RECOVERY_SECONDS = 60


def url(directory: Path) -> str:
    """Where the server of this data directory listens, running or not."""
    return f"postgresql+psycopg2://{_SUPERUSER}@/postgres?host={quote(str(socket_dir(directory)))}"


def signing_key(directory: Path) -> str:
    """Return the key that signs tokens here: made once, readable by its owner alone."""
    refuse_foreign(directory)
    path = beside(directory, "jwt-secret-key")
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".jwt-") as draft:
            draft.write(secrets.token_urlsafe(48))
            draft.flush()
            os.fsync(draft.fileno())
            # A link appears whole or not at all, and the first of several processes wins.
            with suppress(FileExistsError):
                os.link(draft.name, path)
    with open_own(path) as file:
        key = file.read().strip()
    if len(key) < _SHORTEST_KEY:
        raise EmbeddedPostgresError(
            f"{path} has been cut short; remove it. Who is logged in will have to log in again."
        )
    return key


@contextmanager
def running(directory: Path, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """Keep a server running on `directory` and yield its URL.

    One that runs already is used and left running, unless its starter was killed: then it
    belongs to nobody, and is stopped at the end like one started here. A long recovery is
    not waited for once `is_wanted` says no.
    """
    program_dir()
    try:
        ensure_running(directory, is_wanted)
        yield url(directory)
    finally:
        # Under the lock: whoever starts it anew at this moment must not be taken for us.
        with start_lock(directory):
            if is_starter(directory):
                stop(directory)


def ensure_running(directory: Path, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Start the server if it has not been started, or has crashed.

    Makes its data directory if there is none, waits for the recovery after a crash, and for
    the last processes of the crashed server to let go of its memory.
    """
    if is_running(directory) and has_starter(directory):
        return
    refuse_foreign(directory)
    with start_lock(directory):
        if not is_running(directory) or not has_starter(directory):
            with open_own(starter_file(directory), os.O_RDWR | os.O_CREAT) as file:
                file.truncate()
                file.write(str(os.getpid()))
            if not (directory / "PG_VERSION").exists():
                _initialise(directory)
            _start(directory, is_wanted)


def stop(directory: Path) -> None:
    """Stop the server: open transactions are rolled back, all that was committed stays."""
    for mode in ("fast", "immediate"):
        if is_running(directory):
            run("pg_ctl", "-m", mode, "-w", "-t", "5", "stop", data=directory)
    starter_file(directory).unlink(missing_ok=True)


def _start(directory: Path, is_wanted: Callable[[], bool]) -> None:
    sockets = socket_dir(directory)
    if sockets != directory:
        provide_socket_dir(sockets)
    options = (
        f"-c listen_addresses='' -c unix_socket_directories='{sockets}'"
        " -c unix_socket_permissions=0700 -c max_connections=200"
    )
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while is_wanted() and run("pg_isready", "-q", "-h", str(sockets)).returncode != 0:
        if not is_running(directory) and not has_leftovers(directory):
            # The file of a crashed server keeps PostgreSQL from starting if its number is
            # another program's by now. Only without leftovers is it safe to remove.
            (directory / "postmaster.pid").unlink(missing_ok=True)
            log = ("-l", "server.log")
            run("pg_ctl", "-w", "-t", "2", "-o", options, *log, "start", data=directory)
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL does not start; the end of "
                f"{directory / 'server.log'} says why."
            )
        time.sleep(0.05)


def _initialise(directory: Path) -> None:
    if directory.exists():
        # Made by the operator, perhaps as the mount of a volume: filled where it is.
        give_to_server(directory)
        _initdb(directory)
        return
    # Made beside its place and renamed, so that a killed initdb leaves no half a directory.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".initdb-") as scratch:
        draft = Path(scratch) / "data"
        draft.mkdir(mode=0o700)
        give_to_server(draft)
        _initdb(draft)
        draft.rename(directory)


def _initdb(directory: Path) -> None:
    finished = run(
        "initdb",
        *("--username", _SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        data=directory,
    )
    if finished.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed: {finished.stdout.strip()}")


def refuse_foreign(directory: Path) -> None:
    """Refuse what is not ours before anything in it, or beside it, is touched."""
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
