"""How gunicorn serves taskapi; whatever an operator may choose comes from the settings."""

import atexit
import logging
import os
import select
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _leave_no_files(directory: str, of: int) -> None:
    # However it ends, also where it could not start; but not with a worker.
    if os.getpid() == of:
        shutil.rmtree(directory, ignore_errors=True)


if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Before anything is imported that counts. A reload comes here again, and counts on.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="taskapi-", dir=_MEMORY)
    atexit.register(_leave_no_files, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())

from taskapi.__main__ import CannotStart, prepare_database
from taskapi.auth import external, modes
from taskapi.http import memory
from taskapi.observability import metrics
from taskapi.observability.logs import make_library_handler
from taskapi.settings import Settings, SettingsError

PATH_MODE_WARNING = """
*****************************************************************************
*  AUTH_MODE=path: NOBODY IS ASKED WHO THEY ARE.                            *
*  Whoever reaches this port reads and changes the tasks of any user by     *
*  writing their id into the URL. For development, or behind a gateway that *
*  has authenticated every request.                                         *
*****************************************************************************

"""

try:
    settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"taskapi cannot start, these settings are wrong:\n{error}")

wsgi_app = "wsgi:app"
host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"{host}:{settings.port}"
# gthread, with our own error answers, and where there is epoll with less to do.
has_epoll = hasattr(select, "epoll")
worker_class = f"taskapi.server.{'epoll.EpollWorker' if has_epoll else 'worker.PortableWorker'}"
workers = settings.web_concurrency
threads = settings.threads

# The C parser on the index is behind the Python one: it accepts a bare LF as a line's end.
http_parser = "python"
# By default a client on this machine, and so everybody behind nginx, could set SCRIPT_NAME.
forwarder_headers = ""
# Nobody is believed here, so nobody's address has to be looked at: what a proxy says of its
# clients is for the application to read, TRUSTED_PROXIES entries of it.
forwarded_allow_ips = "*"
secure_scheme_headers: dict[str, str] = {}
# Longer than nginx keeps its connections to us, so that it never writes into a closed one.
keepalive = 75
graceful_timeout = 30
# A list's filters and cursor fit into the longest line that gunicorn takes, and nginx by default.
limit_request_line = 8190
# Heartbeats in memory: on a busy disk a healthy worker would look dead.
worker_tmp_dir = _MEMORY

# Signals are enough to steer it; a socket in the file system would be one more door.
control_socket_disable = True

# The application logs the requests; gunicorn's own words go where ours go.
logger_class = "taskapi.server.worker.Logger"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {"stderr": {"()": lambda: make_library_handler(settings.log_format)}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {
            # Somebody at a terminal has been told already that the service is running.
            "level": logging.INFO if settings.log_format == "json" else logging.WARNING,
            "handlers": ["stderr"],
            "propagate": False,
        }
    },
}


def on_starting(_server: Any) -> None:
    """Bring the database up to date before the workers start, or say why that cannot be."""
    memory.map_large_buffers()
    if settings.auth_mode == "path":
        sys.stderr.write(PATH_MODE_WARNING)
    try:
        prepare_database(settings, to_serve=True)
    except CannotStart as error:
        sys.exit(f"taskapi cannot start: {error}")


def post_worker_init(worker: Any) -> None:
    """Let a new worker take its first request only when it knows whom to believe."""
    modes.keep(worker.wsgi)
    external.learn_keys(worker.wsgi)


def child_exit(_server: Any, worker: Any) -> None:
    """Keep what the worker has counted."""
    try:
        metrics.merge_dead_worker(worker.pid)
    except Exception:
        # gunicorn would end, and the service with it, for a few numbers.
        logging.getLogger("gunicorn.error").exception("What a worker has counted is lost.")
