"""Configure gunicorn for taskapi; all values that an operator may choose are settings."""

import atexit
import logging
import os
import select
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

_MEMORY_DIR = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _remove_metrics_dir(directory: str, master_pid: int) -> None:
    # Also after a failed start. Forked workers inherit the handler but must keep the directory.
    if os.getpid() == master_pid:
        shutil.rmtree(directory, ignore_errors=True)


if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Set before the metrics are imported. A reload keeps the directory and its counts.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="taskapi-", dir=_MEMORY_DIR)
    atexit.register(_remove_metrics_dir, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())

from taskapi.__main__ import CannotStart, prepare_database
from taskapi.auth import external, modes
from taskapi.http import memory
from taskapi.observability import metrics
from taskapi.observability.logs import make_library_handler
from taskapi.settings import Settings, SettingsError

PATH_MODE_WARNING = """
*****************************************************************************
*  AUTH_MODE=path: NOBODY IS ASKED WHO THEY ARE.                            *
*  Every client that reaches this port can read and change the tasks of any *
*  user by writing the user's id into the URL. For development, or behind a *
*  gateway that authenticates every request.                                *
*****************************************************************************

"""

try:
    settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"taskapi cannot start, these settings are wrong:\n{error}")

wsgi_app = "wsgi:app"
host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"{host}:{settings.port}"
# gthread with problem documents as error responses, and on Linux with epoll.
has_epoll = hasattr(select, "epoll")
worker_class = f"taskapi.server.{'epoll.EpollWorker' if has_epoll else 'worker.PortableWorker'}"
workers = settings.web_concurrency
threads = settings.threads

# The C parser on PyPI accepts a bare LF as a line end, which the Python parser refuses.
http_parser = "python"
# By default local clients, and therefore all clients behind nginx, could set SCRIPT_NAME.
forwarder_headers = ""
# gunicorn trusts no forwarded header, so it need not check addresses. The application reads
# TRUSTED_PROXIES entries of X-Forwarded-For.
forwarded_allow_ips = "*"
secure_scheme_headers: dict[str, str] = {}
# Longer than nginx keeps idle upstream connections, so that it never writes to a closed one.
keepalive = 75
graceful_timeout = 30
# The maximum of gunicorn and the default of nginx: a list's filters and cursor fit.
limit_request_line = 8190
# Heartbeats in memory: on a busy disk a healthy worker would time out.
worker_tmp_dir = _MEMORY_DIR

# Signals suffice for control; a control socket would enlarge the attack surface.
control_socket_disable = True

# The application logs requests; gunicorn's own lines get the same format and stream.
logger_class = "taskapi.server.worker.Logger"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {"stderr": {"()": lambda: make_library_handler(settings.log_format)}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {
            # At a terminal, `python -m taskapi` has already announced the service.
            "level": logging.INFO if settings.log_format == "json" else logging.WARNING,
            "handlers": ["stderr"],
            "propagate": False,
        }
    },
}


def on_starting(_server: Any) -> None:
    """Migrate and verify the database before the workers start; exit with the reason otherwise."""
    memory.map_large_buffers()
    if settings.auth_mode == "path":
        sys.stderr.write(PATH_MODE_WARNING)
    try:
        prepare_database(settings, to_serve=True)
    except CannotStart as error:
        sys.exit(f"taskapi cannot start: {error}")


def post_worker_init(worker: Any) -> None:
    """Renew the lease of the AUTH_MODE and prefetch the issuer's keys before the first request."""
    modes.start_renewal(worker.wsgi)
    external.prefetch_keys(worker.wsgi)


def child_exit(_server: Any, worker: Any) -> None:
    """Merge the metrics of an ended worker."""
    try:
        metrics.merge_dead_worker(worker.pid)
    except Exception:
        # An exception here would end gunicorn, and with it the service.
        logging.getLogger("gunicorn.error").exception("What a worker has counted is lost.")
