"""Start threads, even if the system may refuse to start another one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()


def start_thread(target: Callable[..., None], *args: Any, name: str) -> bool:
    """Start a daemon thread; return False if the system refuses (RLIMIT_NPROC, memory)."""
    try:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()
    except RuntimeError:
        log.warning("thread_not_started", name=name)
        return False
    return True
