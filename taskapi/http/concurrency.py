"""Limit the threads of a process that one user occupies at a time.

Twelve concurrent searches delayed every other request by a second: each keeps a core of the
database busy, so searches get a third of the share. Long polls count, and streams until they end.
The limit is a share of the threads, which leaves some for other users and for error responses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from flask import Flask, Response, current_app, g, request
from werkzeug.wsgi import ClosingIterator

from taskapi.db.execute import Actor
from taskapi.extension import Extension
from taskapi.http.endpoint import endpoint_of
from taskapi.http.exceptions import TooManyConcurrentRequests
from taskapi.observability import metrics
from taskapi.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ENTERED: Final = "taskapi.concurrency.entered"
_TOO_MANY_SEARCHES: Final = (
    "Too many of your searches are running at this moment; send fewer at a time, and this one "
    "again after `Retry-After`."
)

_LIMITS: Final[Extension[_Limits]] = Extension("concurrency")


def init_app(app: Flask, settings: Settings) -> None:
    """Count the requests of each user in progress, unless `USER_THREADS_SHARE` is 1."""
    if settings.user_threads_share >= 1:
        return
    limit = max(1, int(settings.threads * settings.user_threads_share))
    _LIMITS.set(app, _Limits(ConcurrentRequests(limit), ConcurrentRequests(max(1, limit // 3))))
    app.before_request(_enter)
    app.after_request(_leave_unless_streamed)
    app.wsgi_app = _leave_after_streams(app.wsgi_app)  # type: ignore[assignment, method-assign]


class ConcurrentRequests:
    """The number of requests in progress, by user."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}

    def enter(self, user_id: str) -> bool:
        """Count a request of the user; return False at the limit."""
        with self._lock:
            running = self._running.get(user_id, 0)
            if running >= self._limit:
                return False
            self._running[user_id] = running + 1
        return True

    def leave(self, user_id: str) -> None:
        """Remove a request of the user from the count."""
        with self._lock:
            running = self._running.pop(user_id) - 1
            if running:
                self._running[user_id] = running


class _Limits(NamedTuple):
    requests: ConcurrentRequests
    searches: ConcurrentRequests


_Entered = tuple[ConcurrentRequests, str]
"""The counter that counts a request, and the user id it is counted for."""


def _enter() -> None:
    actor: Actor | None = g.get("actor")
    if actor is None:
        return
    limits = _LIMITS.get()
    entered = request.environ.setdefault(_ENTERED, [])
    _take(limits.requests, actor.user_id, entered, None)
    search = endpoint_of(current_app.view_functions.get(request.endpoint or "")).search_parameter
    if search and search in request.args:
        _take(limits.searches, actor.user_id, entered, _TOO_MANY_SEARCHES)


def _take(
    running: ConcurrentRequests, user_id: str, entered: list[_Entered], message: str | None
) -> None:
    if not running.enter(user_id):
        metrics.refusals.labels("concurrent").inc()
        raise TooManyConcurrentRequests(message)
    entered.append((running, user_id))


def _leave_unless_streamed(response: Response) -> Response:
    if not response.is_streamed:
        _leave(request.environ)
    return response


def _leave(environ: WSGIEnvironment) -> None:
    for running, user_id in environ.pop(_ENTERED, ()):
        running.leave(user_id)


def _leave_after_streams(app: WSGIApplication) -> WSGIApplication:
    """Wrap an application so that a streamed request counts until its response ends or closes."""

    def read(body: Iterable[bytes], environ: WSGIEnvironment) -> Iterator[bytes]:
        yield from body
        _leave(environ)

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            body = app(environ, start_response)
        except BaseException:
            _leave(environ)
            raise
        if not environ.get(_ENTERED):
            return body
        closing = [getattr(body, "close", lambda: None), partial(_leave, environ)]
        return ClosingIterator(read(body, environ), closing)

    return call
