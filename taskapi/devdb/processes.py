"""Find the processes of a server and the process that started it."""

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
    # A dependency of the wheel, and like the wheel missing in production.
    import psutil


def is_running(directory: Path) -> bool:
    """Return whether a server is running on a data directory."""
    import psutil

    try:
        pid = int((directory / "postmaster.pid").read_text().split()[0])
        return _is_server_process(directory, psutil.Process(pid))
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return False


def has_leftovers(directory: Path) -> bool:
    """Return whether processes of a server remain, with or without their postmaster."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _is_server_process(directory, process):
                return True
    return False


def _is_server_process(directory: Path, process: psutil.Process) -> bool:
    import psutil

    # A zombie keeps its pid. The working directory of PostgreSQL processes is the data directory.
    if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
        return False
    if process.uids().real != server_uid():
        return False
    try:
        return process.cwd() == str(directory)
    except psutil.AccessDenied:
        # Root without CAP_SYS_PTRACE, as in a container. The postmaster's arguments contain the
        # socket directory; a process without a postmaster may belong to this server.
        arguments = [part for part in process.cmdline() if "unix_socket_directories" in part]
        if arguments:
            return str(socket_dir(directory)) in arguments[0]
        parent = process.parent()
        return parent is None or parent.name() != "postgres"


def sibling_file(directory: Path, suffix: str) -> Path:
    """Return the path of a file next to the data directory, named after it."""
    return directory.with_name(f"{directory.name}.{suffix}")


def open_owned_file(path: Path, flags: int = os.O_RDONLY) -> TextIO:
    """Open a file of this user; raise `EmbeddedPostgresError` for a link or another user's file."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _ownership_error(path) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise _ownership_error(path)
    return os.fdopen(descriptor, "r+" if flags & os.O_RDWR else "r")


def _ownership_error(path: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{path} is a link or another user's file; remove it, and keep the data in a directory "
        "into which no other user may write (EMBEDDED_POSTGRES_DIR)."
    )


def starter_file(directory: Path) -> Path:
    """Return the path of the file with the pid of the process that started the server."""
    return sibling_file(directory, "starter-pid")


def is_starter(directory: Path) -> bool:
    """Return whether this process started the server."""
    return _read_starter_pid(directory) == os.getpid()


def has_starter(directory: Path) -> bool:
    """Return whether the process that started the server is still running."""
    import psutil

    pid = _read_starter_pid(directory)
    return pid is not None and psutil.pid_exists(pid)


def _read_starter_pid(directory: Path) -> int | None:
    try:
        with open_owned_file(starter_file(directory)) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def start_lock(directory: Path) -> Iterator[None]:
    """Hold the lock that lets one process at a time start or stop the server."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open_owned_file(sibling_file(directory, "lock"), os.O_RDWR | os.O_CREAT) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
