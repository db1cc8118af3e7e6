"""Limit the rate of requests by user, or by address for requests without a user.

Counters are in the memory of each process, or in Redis for all processes. While Redis is
unavailable, each process counts by itself and rejects no request because of the outage.
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

_REDIS_TIMEOUT_SECONDS: Final = 0.2
_REDIS_RETRY_AFTER_SECONDS: Final = 5.0
_PORT: Final = re.compile(r"^\[?([0-9.]+|(?<=\[)[0-9a-fA-F:.]+)\]?(:[0-9]+)?$")
_ACCOUNT: Final = "taskapi.account"
"""The key of a request's account in the WSGI environ."""

UNLIMITED: Final = ("/health", "/health/live", "/metrics")

log = structlog.get_logger()

_LIMITER: Final[Extension[Limiter]] = Extension("rate_limits")


class _Account(NamedTuple):
    """The bucket of a request, and the user or address that it is charged to."""

    bucket: str
    key: str


def init_app(app: Flask, settings: Settings) -> None:
    """Count every request except health checks and CORS preflights."""
    if not settings.rate_limit_enabled:
        return
    _LIMITER.set(app, Limiter(settings))
    app.before_request(_charge_request)
    app.after_request(_add_rate_limit_headers)


def network_of(address: str) -> str:
    """Return the network that shares a counter: an IPv4 address, or the /64 of an IPv6 address.

    A port that a proxy appended is removed. An invalid address is returned unchanged.
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
    """Charge this request `cost` in addition to the one already charged. Raises `RateLimited`.

    A read that is rejected for its size is refunded entirely.
    """
    account = request.environ.get(_ACCOUNT)
    if cost <= 0 or account is None:
        return
    try:
        _limiter().take(account, cost)
    except RateLimited:
        if account.bucket == "read":
            _limiter().refund(account)
        raise


def charge_streamed(cost: int) -> None:
    """Charge for data that is already sent, up to the limit, at the expense of later requests."""
    account = request.environ.get(_ACCOUNT)
    if account:
        for _ in range(cost):
            _limiter().count(account)


class Limiter:
    """Rate limit counters, in this process or in Redis."""

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
        self._local = SlidingWindowCounterRateLimiter(SlidingWindowStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._shared_retry_at = 0.0
        if settings.rate_limit_storage_url:
            storage = storage_from_string(
                settings.rate_limit_storage_url,
                wrap_exceptions=True,
                socket_timeout=_REDIS_TIMEOUT_SECONDS,
                socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)

    def take(self, account: _Account, cost: int = 1) -> None:
        """Charge `cost`. Raises `RateLimited` above the limit, and then charges nothing."""
        if not self._call("hit", account, cost=cost):
            self.refuse(account)

    def count(self, account: _Account) -> None:
        """Charge one, up to the limit."""
        self._call("hit", account)

    def refund(self, account: _Account) -> None:
        """Refund one."""
        self._call("hit", account, cost=-1)

    def read_remaining(self, account: _Account) -> tuple[int, int]:
        """Return the remaining requests, and the seconds until the window ends."""
        stats: WindowStats = self._call("get_window_stats", account)
        return stats.remaining, max(0, math.ceil(stats.reset_time - time.time()))

    def refuse(self, account: _Account) -> None:
        """Raise `RateLimited`."""
        metrics.refusals.labels(account.bucket).inc()
        raise RateLimited(max(1, self.read_remaining(account)[1]))

    def _call(self, method: str, account: _Account, **cost: int) -> Any:
        item = self.limits[account.bucket]
        if self._shared and time.monotonic() >= self._shared_retry_at:
            try:
                return getattr(self._shared, method)(item, *account, **cost)
            except StorageError as error:
                self._shared_retry_at = time.monotonic() + _REDIS_RETRY_AFTER_SECONDS
                log.warning("rate_limit_storage_away", error=type(error.storage_error).__name__)
        return getattr(self._local, method)(item, *account, **cost)


def _charge_request() -> None:
    environ = request.environ
    method = environ["REQUEST_METHOD"]
    if method == "OPTIONS" or environ["PATH_INFO"] in UNLIMITED:
        return
    bucket = endpoint_of(current_app.view_functions.get(request.endpoint or "")).bucket
    bucket = bucket or ("read" if method in ("GET", "HEAD") else "write")
    actor: Actor | None = g.get("actor")
    key = (
        f"user {actor.user_id}"
        if actor
        else f"address {network_of(environ.get('REMOTE_ADDR', ''))}"
    )
    environ[_ACCOUNT] = account = _Account(bucket, key)
    # The cost follows from the announced size, before reading; at most the whole limit.
    cost = max(1, math.ceil((request.content_length or 0) / BODY_LIMIT))
    _limiter().take(account, min(cost, _limiter().limits[bucket].amount))


def _add_rate_limit_headers(response: Response) -> Response:
    account: _Account | None = request.environ.get(_ACCOUNT)
    if account is None:
        return response
    limiter = _limiter()
    if account.bucket == "read" and response.status_code == HTTPStatus.NOT_MODIFIED:
        limiter.refund(account)
    remaining, seconds = limiter.read_remaining(account)
    response.headers.add("RateLimit-Policy", limiter.policies[account.bucket])
    response.headers.add("RateLimit", f'"{account.bucket}";r={remaining};t={seconds}')
    return response


def _limiter() -> Limiter:
    return _LIMITER.get()
