"""`python -m taskapi`: database, migrations, gunicorn; and all of it stopped together."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import structlog

from taskapi import create_app, devdb
from taskapi.auth import modes
from taskapi.db.base import db
from taskapi.db.connections import describe_error
from taskapi.db.execute import ensure_ready
from taskapi.exceptions import DatabaseNotReady, DatabaseUnavailable
from taskapi.settings import VERSION, Settings, SettingsError

_GUNICORN_CONFIG = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- to tell, not to bind
_PATIENCE_SECONDS = 7  # Of the ten that Ctrl-C may take, the database needs up to three.

log = structlog.get_logger()


class CannotStart(Exception):
    """`str()` says why, and what to do."""


class StopSignal:
    """Remembers that somebody said stop: Ctrl-C, an operator, or the end of the terminal.

    The way of Python, to raise an exception wherever the program is, can leave processes
    behind, and an exception that is raised in a finaliser is lost.
    """

    def __init__(self) -> None:
        self.heard = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hear)

    def _hear(self, *_: object) -> None:
        self.heard = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until it is told to stop; return the exit status."""
    options = _parser().parse_args(arguments)
    stop = StopSignal()
    try:
        settings = Settings.from_environment()
        if not options.migrate_only:
            _require_free_port(settings)
        with _database(settings, stop):
            if options.migrate_only and not stop.heard:
                prepare_database(settings, to_serve=False)
            return 0 if options.migrate_only or stop.heard else _serve(settings, stop)
    except SettingsError as error:
        _tell(f"taskapi cannot start, these settings are wrong:\n{error}")
        return 2
    except (CannotStart, devdb.EmbeddedPostgresError, OSError) as error:
        _tell(f"taskapi cannot start: {error}")
        return 1


def _tell(message: str) -> None:
    # The terminal may be gone already, which must not keep us from stopping in order.
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m taskapi",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Start taskapi: PostgreSQL (the embedded one, unless DATABASE_URL names\n"
            "another), the migrations, and gunicorn. Ctrl-C stops all of it."
        ),
        epilog=(
            "Settings come from the environment and from the file .env; .env.example\n"
            "explains each. The ones for a start:\n"
            "  HOST, PORT        where to listen (127.0.0.1, 8000)\n"
            "  DATABASE_URL      postgresql://user:password@host:5432/database\n"
            "  JWT_SECRET_KEY    32 bytes or more; required with DATABASE_URL\n"
            "  AUTH_MODE         who says who is asking: local, external or path\n"
            "  CORS_ORIGINS      the origins of your frontends\n"
            "  WEB_CONCURRENCY   worker processes; THREADS: threads in each\n"
        ),
    )
    parser.add_argument("--version", action="version", version=f"taskapi {VERSION}")
    parser.add_argument(
        "--migrate-only", action="store_true", help="bring the database up to date and stop"
    )
    return parser


def _require_free_port(settings: Settings) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise CannotStart(f"HOST {settings.host} is unknown here ({error.strerror}).") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            mends = {
                errno.EADDRNOTAVAIL: "HOST must be an address of this machine.",
                errno.EACCES: "Choose a port above 1023: PORT=8000.",
            }
            another = f"Stop what uses it, or choose another: PORT={settings.port % 65535 + 1}."
            raise CannotStart(
                f"port {settings.port} of {settings.host} cannot be used ({error.strerror}). "
                f"{mends.get(error.errno or 0, another)}"
            ) from None


@contextmanager
def _database(settings: Settings, stop: StopSignal) -> Iterator[None]:
    directory = settings.embedded_postgres_dir
    with devdb.running(directory, lambda: not stop.heard) if directory else nullcontext():
        yield


def prepare_database(settings: Settings, *, to_serve: bool) -> None:
    """Migrate and verify, and `to_serve` take the database for the mode of the settings.

    Raises `CannotStart`, though not for an outage where it is to serve afterwards.
    """
    app = create_app(settings)
    if to_serve:
        modes.claim_before_serving(app, may_wait=True)
    with app.app_context():
        try:
            ensure_ready()
            if to_serve:
                for detail in modes.describe_other_users(settings.auth_mode):
                    log.warning("users_of_another_auth_mode", detail=detail)
        except DatabaseNotReady as error:
            raise CannotStart(describe_error(error.__cause__ or error)) from error
        except DatabaseUnavailable as error:
            reason = describe_error(error.__cause__ or error)
            if not to_serve:
                raise CannotStart(reason) from error
            _tell(
                f"The database cannot be reached yet ({reason}). Until it can, requests for "
                "data are answered with 503; then it is migrated and used."
            )
        finally:
            db.engine.dispose()


def _serve(settings: Settings, stop: StopSignal) -> int:
    # In a session of its own: a terminal's Ctrl-C is for us, who stop it gracefully.
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", str(_GUNICORN_CONFIG)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    is_announced = False
    try:
        while not stop.heard:
            if gunicorn.poll() is not None:
                if is_announced:  # Before that, it has said itself why it cannot start.
                    _tell(f"gunicorn has ended by itself, with status {gunicorn.returncode}.")
                return 1
            if settings.embedded_postgres_dir:
                devdb.ensure_running(settings.embedded_postgres_dir)
            if not is_announced and (is_announced := _answers(settings)):
                _announce(settings)
            with suppress(subprocess.TimeoutExpired):
                gunicorn.wait(timeout=0.2 if is_announced else 0.05)
        return 0
    finally:
        _stop(gunicorn)


def _url(settings: Settings) -> str:
    # Who listens everywhere is found here as well.
    host = settings.host if settings.host not in _EVERYWHERE else "localhost"
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _answers(settings: Settings) -> bool:
    # Directly: a proxy of the environment would not find the way back here.
    opener = build_opener(ProxyHandler({}))
    with suppress(OSError), opener.open(f"{_url(settings)}/health/live", timeout=5):
        return True
    return False


def _announce(settings: Settings) -> None:
    where = settings.embedded_postgres_dir or "the PostgreSQL of DATABASE_URL"
    has_page = settings.auth_mode == "local" and settings.contract == "native"
    page = f"  App     {_url(settings)}/app/\n" if has_page else ""
    with suppress(OSError):
        print(
            f"\ntaskapi {VERSION} is running.\n"
            f"  API     {_url(settings)}\n"
            f"{page}"
            f"  Docs    {_url(settings)}/docs\n"
            f"  Data    {where}\n"
            "Ctrl-C stops it.\n",
            flush=True,
        )


def _stop(gunicorn: subprocess.Popen[bytes]) -> None:
    if gunicorn.poll() is None:
        gunicorn.terminate()
        _tell("\nStopping: finishing what is in flight.")
        with suppress(subprocess.TimeoutExpired):
            gunicorn.wait(timeout=_PATIENCE_SECONDS)
    # What is left of its session, workers of a killed master included.
    with suppress(ProcessLookupError):
        os.killpg(gunicorn.pid, signal.SIGKILL)
    gunicorn.wait()


if __name__ == "__main__":
    sys.exit(main())
