"""How much one may ask: by user, or where there is none by address.

Counted in the memory of each process, or in Redis for all of them together. While Redis is
away they count for themselves, and nobody is refused for that.
"""

from __future__ import annotations

import math
import re
import time
from http import HTTPStatus
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, Final, NamedTuple

import structlog
from flask import Flask, Response, current_app, g, request
from limits import RateLimitItem, WindowStats, parse
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from taskapi.db.execute import Actor
from taskapi.extension import Extension
from taskapi.http.endpoint import endpoint_of
from taskapi.http.exceptions import RateLimited
from taskapi.http.sliding_windows import SlidingWindowStorage
from taskapi.observability import metrics
from taskapi.settings import BODY_LIMIT, Settings

_REDIS_PATIENCE: Final = 0.2  # seconds
_REDIS_PAUSE: Final = 5.0  # seconds until it is asked again
_PORT: Final = re.compile(r"^\[?([0-9.]+|(?<=\[)[0-9a-fA-F:.]+)\]?(:[0-9]+)?$")
_ACCOUNT: Final = "taskapi.account"  # Where it stands in the WSGI environ, which is at hand.
UNLIMITED: Final = ("/health", "/health/live", "/metrics")

log = structlog.get_logger()

_LIMITER: Final[Extension[Limiter]] = Extension("rate_limits")


class _Account(NamedTuple):
    """What a request counts as, and whose it is."""

    bucket: str
    whose: str


def init_app(app: Flask, settings: Settings) -> None:
    """Count every request, but for health checks and preflights."""
    if not settings.rate_limit_enabled:
        return
    _LIMITER.set(app, Limiter(settings))
    app.before_request(_admit)
    app.after_request(_give_back_and_tell)


def network_of(address: str) -> str:
    """Return what is counted as one address: who has one of IPv6 has all of its /64.

    Some proxies write a port behind it, and what a client has made up is counted as it is.
    """
    bare = _PORT.sub(r"\1", address)
    try:
        ip = ip_address(bare)
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip, 64), strict=False))


def charge(cost: int) -> None:
    """Count this request as so many more than the one that it is. Raises `RateLimited`.

    A read that is refused for its size counts as nothing.
    """
    account = request.environ.get(_ACCOUNT)
    if cost <= 0 or account is None:
        return
    try:
        _limiter().take(account, cost)
    except RateLimited:
        if account.bucket == "read":
            _limiter().give_back(account)
        raise


def charge_sent(cost: int) -> None:
    """Count what has been sent already, up to the limit: requests after this one pay for it."""
    account = request.environ.get(_ACCOUNT)
    if account:
        for _ in range(cost):
            _limiter().count(account)


class Limiter:
    """Counts, here or in Redis."""

    def __init__(self, settings: Settings) -> None:
        self.limits: dict[str, RateLimitItem] = {
            "read": parse(settings.rate_limit_reads),
            "write": parse(settings.rate_limit_writes),
            "login": parse(settings.rate_limit_logins),
            "refresh": parse(settings.rate_limit_refreshes),
        }
        self.policies = {
            bucket: f'"{bucket}";q={item.amount};w={item.get_expiry()}'
            for bucket, item in self.limits.items()
        }
        self._here = SlidingWindowCounterRateLimiter(SlidingWindowStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._away_until = 0.0
        if settings.rate_limit_storage_url:
            storage = storage_from_string(
                settings.rate_limit_storage_url,
                wrap_exceptions=True,
                socket_timeout=_REDIS_PATIENCE,
                socket_connect_timeout=_REDIS_PATIENCE,
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)

    def take(self, account: _Account, cost: int = 1) -> None:
        """Count. Raises `RateLimited` where it is too much, and then counts nothing."""
        if not self._ask("hit", account, cost=cost):
            self.refuse(account)

    def count(self, account: _Account) -> None:
        """Count one, up to the limit."""
        self._ask("hit", account)

    def give_back(self, account: _Account) -> None:
        """Count one less."""
        self._ask("hit", account, cost=-1)

    def left(self, account: _Account) -> tuple[int, int]:
        """Return how much is left, and for how many seconds it is counted on."""
        stats: WindowStats = self._ask("get_window_stats", account)
        return stats.remaining, max(0, math.ceil(stats.reset_time - time.time()))

    def refuse(self, account: _Account) -> None:
        """Raise `RateLimited`."""
        metrics.refusals.labels(account.bucket).inc()
        raise RateLimited(max(1, self.left(account)[1]))

    def _ask(self, question: str, account: _Account, **cost: int) -> Any:
        item = self.limits[account.bucket]
        if self._shared and time.monotonic() >= self._away_until:
            try:
                return getattr(self._shared, question)(item, *account, **cost)
            except StorageError as error:
                self._away_until = time.monotonic() + _REDIS_PAUSE
                log.warning("rate_limit_storage_away", error=type(error.storage_error).__name__)
        return getattr(self._here, question)(item, *account, **cost)


def _admit() -> None:
    environ = request.environ
    method = environ["REQUEST_METHOD"]
    if method == "OPTIONS" or environ["PATH_INFO"] in UNLIMITED:
        return
    bucket = endpoint_of(current_app.view_functions.get(request.endpoint or "")).bucket
    bucket = bucket or ("read" if method in ("GET", "HEAD") else "write")
    actor: Actor | None = g.get("actor")
    whose = (
        f"user {actor.user_id}"
        if actor
        else f"address {network_of(environ.get('REMOTE_ADDR', ''))}"
    )
    environ[_ACCOUNT] = account = _Account(bucket, whose)
    # By size, before any of it is read. The largest file may cost the whole limit, and no more.
    cost = max(1, math.ceil((request.content_length or 0) / BODY_LIMIT))
    _limiter().take(account, min(cost, _limiter().limits[bucket].amount))


def _give_back_and_tell(response: Response) -> Response:
    account: _Account | None = request.environ.get(_ACCOUNT)
    if account is None:
        return response
    limiter = _limiter()
    if account.bucket == "read" and response.status_code == HTTPStatus.NOT_MODIFIED:
        limiter.give_back(account)
    left, seconds = limiter.left(account)
    response.headers.add("RateLimit-Policy", limiter.policies[account.bucket])
    response.headers.add("RateLimit", f'"{account.bucket}";r={left};t={seconds}')
    return response


def _limiter() -> Limiter:
    return _LIMITER.get()
