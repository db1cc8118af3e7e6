"""Admit statements to a database that is migrated and verified."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, cast

from sqlalchemy import Engine, QueuePool

from taskapi.exceptions import DatabaseNotReady

_POOL_STUCK_AFTER_SECONDS: Final = 0.5


class ReadinessGate:
    """Admits statements once the database is migrated and verified; each use retries until then."""

    def __init__(
        self,
        engine: Engine,
        migrate_and_verify: Callable[[Engine], None],
        timeout_seconds: float,
    ) -> None:
        self.engine = engine
        self._migrate_and_verify = migrate_and_verify
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._is_ready = False
        self.last_returned = time.monotonic()

    def ensure_ready(self) -> None:
        """Migrate and verify the database once; other threads wait up to the timeout."""
        if self._is_ready:
            return
        if not self._lock.acquire(timeout=self._timeout_seconds):
            raise DatabaseNotReady
        try:
            if not self._is_ready:
                self._migrate_and_verify(self.engine)
                self._is_ready = True
        finally:
            self._lock.release()

    def invalidate(self) -> None:
        """Admit no statement until the database has been verified again."""
        self._is_ready = False

    def is_pool_stuck(self) -> bool:
        """Return whether the pool is exhausted and no connection has been returned recently."""
        pool = cast("QueuePool", self.engine.pool)
        is_exhausted = pool.checkedout() >= pool.size()
        return is_exhausted and time.monotonic() - self.last_returned > _POOL_STUCK_AFTER_SECONDS
