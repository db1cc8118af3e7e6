"""`python -m taskapi`: start and stop the database, the migrations and gunicorn together."""

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
_WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound
_GUNICORN_STOP_SECONDS = 7  # Ctrl-C may take ten seconds; the database needs up to three.

log = structlog.get_logger()


class CannotStart(Exception):
    """The service cannot start; `str()` contains the reason and the fix."""


class StopSignal:
    """Records SIGINT, SIGTERM and SIGHUP: Ctrl-C, an operator, or the end of the terminal.

    Python's default raises an exception at an arbitrary point of the program. That can leave
    processes behind, and an exception that is raised in a finaliser is lost.
    """

    def __init__(self) -> None:
        self.is_received = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._receive)

    def _receive(self, *_: object) -> None:
        self.is_received = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until a stop signal; return the exit status."""
    options = _parser().parse_args(arguments)
    stop = StopSignal()
    try:
        settings = Settings.from_environment()
        if not options.migrate_only:
            _validate_port(settings)
        with _database(settings, stop):
            if options.migrate_only and not stop.is_received:
                prepare_database(settings, to_serve=False)
            return 0 if options.migrate_only or stop.is_received else _serve(settings, stop)
    except SettingsError as error:
        _print_message(f"taskapi cannot start, these settings are wrong:\n{error}")
        return 2
    except (CannotStart, devdb.EmbeddedPostgresError, OSError) as error:
        _print_message(f"taskapi cannot start: {error}")
        return 1


def _print_message(message: str) -> None:
    # The terminal may be closed already, which must not prevent an orderly stop.
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
            "  AUTH_MODE         how requests are authenticated: local, external or path\n"
            "  CORS_ORIGINS      the origins of your frontends\n"
            "  WEB_CONCURRENCY   worker processes; THREADS: threads in each\n"
        ),
    )
    parser.add_argument("--version", action="version", version=f"taskapi {VERSION}")
    parser.add_argument(
        "--migrate-only", action="store_true", help="bring the database up to date and stop"
    )
    return parser


def _validate_port(settings: Settings) -> None:
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
            hints = {
                errno.EADDRNOTAVAIL: "HOST must be an address of this machine.",
                errno.EACCES: "Choose a port above 1023: PORT=8000.",
            }
            another = f"Stop what uses it, or choose another: PORT={settings.port % 65535 + 1}."
            raise CannotStart(
                f"port {settings.port} of {settings.host} cannot be used ({error.strerror}). "
                f"{hints.get(error.errno or 0, another)}"
            ) from None


@contextmanager
def _database(settings: Settings, stop: StopSignal) -> Iterator[None]:
    directory = settings.embedded_postgres_dir
    with devdb.running(directory, lambda: not stop.is_received) if directory else nullcontext():
        yield


def prepare_database(settings: Settings, *, to_serve: bool) -> None:
    """Migrate and verify the database; with `to_serve`, claim the lease of its AUTH_MODE.

    Raises `CannotStart` if the database is not fit to serve, and without `to_serve` also if it
    cannot be reached.
    """
    app = create_app(settings)
    if to_serve:
        modes.acquire_lease_on_startup(app, may_wait=True)
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
            _print_message(
                f"The database cannot be reached yet ({reason}). Until it can, requests for "
                "data are answered with 503; then it is migrated and used."
            )
        finally:
            db.engine.dispose()


def _serve(settings: Settings, stop: StopSignal) -> int:
    # In a session of its own, so that Ctrl-C reaches this process alone, which drains gunicorn.
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", str(_GUNICORN_CONFIG)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    is_announced = False
    try:
        while not stop.is_received:
            if gunicorn.poll() is not None:
                if is_announced:  # Earlier, gunicorn has printed the reason itself.
                    _print_message(
                        f"gunicorn has ended by itself, with status {gunicorn.returncode}."
                    )
                return 1
            if settings.embedded_postgres_dir:
                devdb.ensure_running(settings.embedded_postgres_dir)
            if not is_announced and (is_announced := _is_live(settings)):
                _print_banner(settings)
            with suppress(subprocess.TimeoutExpired):
                gunicorn.wait(timeout=0.2 if is_announced else 0.05)
        return 0
    finally:
        _stop(gunicorn)


def _base_url(settings: Settings) -> str:
    # A wildcard address also listens on localhost.
    host = settings.host if settings.host not in _WILDCARD_HOSTS else "localhost"
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _is_live(settings: Settings) -> bool:
    # Without proxies of the environment, which would not reach this machine by that address.
    opener = build_opener(ProxyHandler({}))
    with suppress(OSError), opener.open(f"{_base_url(settings)}/health/live", timeout=5):
        return True
    return False


def _print_banner(settings: Settings) -> None:
    where = settings.embedded_postgres_dir or "the PostgreSQL of DATABASE_URL"
    has_page = settings.auth_mode == "local" and settings.contract == "native"
    page = f"  App     {_base_url(settings)}/app/\n" if has_page else ""
    with suppress(OSError):
        print(
            f"\ntaskapi {VERSION} is running.\n"
            f"  API     {_base_url(settings)}\n"
            f"{page}"
            f"  Docs    {_base_url(settings)}/docs\n"
            f"  Data    {where}\n"
            "Ctrl-C stops it.\n",
            flush=True,
        )


def _stop(gunicorn: subprocess.Popen[bytes]) -> None:
    if gunicorn.poll() is None:
        gunicorn.terminate()
        _print_message("\nStopping: finishing the requests in progress.")
        with suppress(subprocess.TimeoutExpired):
            gunicorn.wait(timeout=_GUNICORN_STOP_SECONDS)
    # End the remaining processes of its session, including workers of a killed master.
    with suppress(ProcessLookupError):
        os.killpg(gunicorn.pid, signal.SIGKILL)
    gunicorn.wait()


if __name__ == "__main__":
    sys.exit(main())
