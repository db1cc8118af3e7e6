"""The processes of a server: which they are, and who started them."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from taskapi.devdb.programs import EmbeddedPostgresError, server_uid, socket_dir

if TYPE_CHECKING:
    # Comes with the wheel, so a production machine has neither.
    import psutil


def is_running(directory: Path) -> bool:
    """Whether a server works on this data directory."""
    import psutil

    try:
        pid = int((directory / "postmaster.pid").read_text().split()[0])
        return _works_in(directory, psutil.Process(pid))
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return False


def has_leftovers(directory: Path) -> bool:
    """Whether processes of a server remain, which may have lost their first one."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _works_in(directory, process):
                return True
    return False


def _works_in(directory: Path, process: psutil.Process) -> bool:
    import psutil

    # A zombie keeps its number, and every PostgreSQL process works in its data directory.
    if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
        return False
    if process.uids().real != server_uid():
        return False
    try:
        return process.cwd() == str(directory)
    except psutil.AccessDenied:
        # Root without the right to look, as in a container: the first process says where it
        # listens, and one that has lost its first process may be ours.
        where = [part for part in process.cmdline() if "unix_socket_directories" in part]
        if where:
            return str(socket_dir(directory)) in where[0]
        parent = process.parent()
        return parent is None or parent.name() != "postgres"


def beside(directory: Path, suffix: str) -> Path:
    """Return a file of ours that belongs to this data directory."""
    return directory.with_name(f"{directory.name}.{suffix}")


def open_own(path: Path, flags: int = os.O_RDONLY) -> TextIO:
    """Open a file of ours; raise `EmbeddedPostgresError` for a link or another user's file."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _foreign(path) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise _foreign(path)
    return os.fdopen(descriptor, "r+" if flags & os.O_RDWR else "r")


def _foreign(path: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{path} is a link or another user's file; remove it, and keep the data in a directory "
        "into which no other user may write (EMBEDDED_POSTGRES_DIR)."
    )


def starter_file(directory: Path) -> Path:
    """Return the file that names the process which started the server and will stop it."""
    return beside(directory, "starter-pid")


def is_starter(directory: Path) -> bool:
    """Whether this process started the server."""
    return _starter(directory) == os.getpid()


def has_starter(directory: Path) -> bool:
    """Whether the process that started the server is there to stop it."""
    import psutil

    pid = _starter(directory)
    return pid is not None and psutil.pid_exists(pid)


def _starter(directory: Path) -> int | None:
    try:
        with open_own(starter_file(directory)) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def start_lock(directory: Path) -> Iterator[None]:
    """Let one process at a time start the server of this directory."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open_own(beside(directory, "lock"), os.O_RDWR | os.O_CREAT) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
