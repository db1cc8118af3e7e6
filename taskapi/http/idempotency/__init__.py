"""The header Idempotency-Key: what is sent again is not done again.

After the IETF's draft (draft-ietf-httpapi-idempotency-key-header). The first answer is
stored in the transaction of its effect, so there is never one without the other, however the
process ends. Keys are the user's own, and are forgotten after a day.

Where the answer holds tokens it is not stored, but what it can be made from again; and the
transaction is that of the service, since failed attempts at a password count whatever comes of
the request (`hand_key`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import orjson
from flask import Response, current_app, g, request

from taskapi.db.execute import SYSTEM, Actor, Row, System, transaction
from taskapi.exceptions import NotAuthenticated, QuotaExceeded, Retryable, TaskapiError
from taskapi.http.endpoint import View
from taskapi.http.fields import Text
from taskapi.http.idempotency.store import KEY_LENGTH, claim, store
from taskapi.http.inputs import Input
from taskapi.http.payload import load

_KEPT_HEADERS: Final = ("Content-Type", "ETag", "Location")
_REPLAYED: Final = "Idempotent-Replayed"
# Not even a digest of a password is kept here: whoever sends it again shows it anew.
_SECRETS: Final = frozenset({"password", "current_password", "new_password"})


class Key(Text):
    """A key: printable ASCII, as it stands in the header."""

    default_error_messages = {
        "invalid": "This must be printable ASCII, such as a UUID.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, *args, **kwargs) or ""
        if not (key.isascii() and key.isprintable()):
            raise self.make_error("invalid")
        return key


class Headers(Input):
    """What the header may say."""

    key = Key(KEY_LENGTH, shortest=1, not_blank=True, data_key="Idempotency-Key")


_HEADERS = Headers()


def store_answer(view: View) -> View:
    """Wrap a view so that a request with an Idempotency-Key has one effect and one answer."""

    def repeated(**said: Any) -> Any:
        key = _read_key()
        if key is None:
            return view(**said)
        return _answer_once(g.actor, key, _fingerprint(said), lambda: view(**said))

    return repeated


class Keyed:
    """A request, and the Idempotency-Key that its service keeps what it did by, if it has one."""

    def __init__(self, key: str | None, fingerprint: bytes) -> None:
        self._key = key
        self._fingerprint = fingerprint
        self.is_replayed = False

    def transaction(self, *, acting_as: Actor | System) -> AbstractContextManager[None]:
        """Make one transaction of the effect and its key; without a key there is no need."""
        return nullcontext() if self._key is None else transaction(acting_as=acting_as)

    def find(self, owner: str, *, acting_as: Actor | System = SYSTEM) -> dict[str, Any] | None:
        """Return what was kept, where the request has had its effect; within the transaction.

        Raises `IdempotencyKeyInUse`, `IdempotencyKeyReused`.
        """
        if self._key is None:
            return None
        stored = claim(acting_as, owner, self._key, self._fingerprint)
        self.is_replayed = stored is not None
        return None if stored is None else orjson.loads(bytes(stored["body"]))

    def keep(
        self, owner: str, done: Mapping[str, Any], *, acting_as: Actor | System = SYSTEM
    ) -> None:
        """Keep what the answer can be made from again, in the transaction of the effect."""
        if self._key is not None:
            answer = {"status": 0, "headers": "{}", "body": orjson.dumps(done)}
            store(acting_as, owner, self._key, self._fingerprint, answer)


def hand_key(view: View) -> View:
    """Wrap a view so that it gets the request's key as `keyed`, for its service to keep."""

    def handed(**said: Any) -> Any:
        sent = Keyed(_read_key(), _fingerprint({**said, "session": _session()}))
        response = current_app.make_response(view(keyed=sent, **said))
        if sent.is_replayed:
            response.headers[_REPLAYED] = "true"
        return response

    return handed


def _read_key() -> str | None:
    if "HTTP_IDEMPOTENCY_KEY" not in request.environ:
        return None
    sent = {"Idempotency-Key": request.environ["HTTP_IDEMPOTENCY_KEY"]}
    key: str = load(_HEADERS, sent, "/header")["key"]
    return key


def _session() -> str | None:
    return g.claims.session_id if "claims" in g else None


def _fingerprint(said: dict[str, Any]) -> bytes:
    if body := said.get("body"):
        said = {**said, "body": _without_secrets(body)}
    everything = [request.method, request.path, request.environ.get("HTTP_IF_MATCH"), said]
    written = orjson.dumps(everything, default=_written, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).digest()


def _without_secrets(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if name not in _SECRETS}


def _written(value: object) -> object:
    match value:
        case TaskapiError():
            return value.members
        case bytes():
            return hashlib.sha256(value).hexdigest()  # repr() of a file is four times as long.
    return repr(value)


def _answer_once(actor: Actor, key: str, fingerprint: bytes, view: Callable[[], Any]) -> Response:
    with transaction(acting_as=actor):
        if stored := claim(actor, actor.user_id, key, fingerprint):
            return _replay(stored)
        response = _answer(actor, view)
        answer = {
            "status": response.status_code,
            "headers": orjson.dumps(_kept_headers(response)).decode(),
            "body": response.get_data(),
        }
        store(actor, actor.user_id, key, fingerprint, answer)
    return response


def _answer(actor: Actor, view: Callable[[], Any]) -> Response:
    """Let the view answer; what it refuses has no effect, and is an answer as well."""
    try:
        with transaction(acting_as=actor):
            return current_app.make_response(view())
    except (NotAuthenticated, QuotaExceeded, Retryable):
        raise  # Another time it may be answered otherwise.
    except TaskapiError as refusal:
        return current_app.make_response(current_app.handle_user_exception(refusal))


def _replay(stored: Row) -> Response:
    response = Response(bytes(stored["body"]), stored["status"])
    del response.headers["Content-Type"]
    response.headers.update(stored["headers"])
    response.headers[_REPLAYED] = "true"
    return response


def _kept_headers(response: Response) -> dict[str, str]:
    headers = response.headers
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}
