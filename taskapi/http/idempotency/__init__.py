"""Make requests with the header Idempotency-Key idempotent.

The header follows the IETF draft draft-ietf-httpapi-idempotency-key-header. The first response is
stored in the transaction of its effect, so that both commit or neither. Keys are separate for each
user and expire after a day.

Responses with tokens are not stored: the service stores data to compose the response again, in its
own transaction, since failed password attempts count even if the request fails
(`pass_keyed_request`).
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

_STORED_HEADERS: Final = ("Content-Type", "ETag", "Location")
_REPLAYED: Final = "Idempotent-Replayed"
# Fingerprints do not include passwords, so that not even a digest of one is stored.
_SECRETS: Final = frozenset({"password", "current_password", "new_password"})


class Key(Text):
    """An idempotency key: printable ASCII."""

    default_error_messages = {
        "invalid": "This must be printable ASCII, such as a UUID.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, *args, **kwargs) or ""
        if not (key.isascii() and key.isprintable()):
            raise self.make_error("invalid")
        return key


class Headers(Input):
    """The schema of the header."""

    key = Key(KEY_LENGTH, shortest=1, not_blank=True, data_key="Idempotency-Key")


_HEADERS = Headers()


def store_response(view: View) -> View:
    """Wrap a view so that requests with the same key have one effect and the same response."""

    def idempotent(**arguments: Any) -> Any:
        key = _read_key()
        if key is None:
            return view(**arguments)
        return _respond_once(g.actor, key, _fingerprint(arguments), lambda: view(**arguments))

    return idempotent


class KeyedRequest:
    """A request with its Idempotency-Key, if it has one, for a service that stores its result."""

    def __init__(self, key: str | None, fingerprint: bytes) -> None:
        self._key = key
        self._fingerprint = fingerprint
        self.is_replayed = False

    def transaction(self, *, acting_as: Actor | System) -> AbstractContextManager[None]:
        """Begin a transaction for the effect and its key; without a key, do nothing."""
        return nullcontext() if self._key is None else transaction(acting_as=acting_as)

    def find(self, owner: str, *, acting_as: Actor | System = SYSTEM) -> dict[str, Any] | None:
        """Return the stored result if the request already had its effect, or None.

        Needs a transaction. Raises `IdempotencyKeyInUse`, `IdempotencyKeyReused`,
        `TooManyIdempotencyKeys`.
        """
        if self._key is None:
            return None
        stored = claim(acting_as, owner, self._key, self._fingerprint)
        self.is_replayed = stored is not None
        return None if stored is None else orjson.loads(bytes(stored["body"]))

    def keep(
        self, owner: str, result: Mapping[str, Any], *, acting_as: Actor | System = SYSTEM
    ) -> None:
        """Store the data to compose the response again, in the transaction of the effect."""
        if self._key is not None:
            response = {"status": 0, "headers": "{}", "body": orjson.dumps(result)}
            store(acting_as, owner, self._key, self._fingerprint, response)


def pass_keyed_request(view: View) -> View:
    """Wrap a view so that it gets a `KeyedRequest` as `keyed`, for its service."""

    def keyed_view(**arguments: Any) -> Any:
        fingerprint = _fingerprint({**arguments, "session": _session_id()})
        keyed = KeyedRequest(_read_key(), fingerprint)
        response = current_app.make_response(view(keyed=keyed, **arguments))
        if keyed.is_replayed:
            response.headers[_REPLAYED] = "true"
        return response

    return keyed_view


def _read_key() -> str | None:
    if "HTTP_IDEMPOTENCY_KEY" not in request.environ:
        return None
    sent = {"Idempotency-Key": request.environ["HTTP_IDEMPOTENCY_KEY"]}
    key: str = load(_HEADERS, sent, "/header")["key"]
    return key


def _session_id() -> str | None:
    return g.claims.session_id if "claims" in g else None


def _fingerprint(arguments: dict[str, Any]) -> bytes:
    if body := arguments.get("body"):
        arguments = {**arguments, "body": _remove_secrets(body)}
    identity = [request.method, request.path, request.environ.get("HTTP_IF_MATCH"), arguments]
    serialised = orjson.dumps(identity, default=_serialise, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(serialised).digest()


def _remove_secrets(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if name not in _SECRETS}


def _serialise(value: object) -> object:
    match value:
        case TaskapiError():
            return value.members
        case bytes():
            return hashlib.sha256(value).hexdigest()  # repr() would be four times the file's size.
    return repr(value)


def _respond_once(actor: Actor, key: str, fingerprint: bytes, view: Callable[[], Any]) -> Response:
    with transaction(acting_as=actor):
        if stored := claim(actor, actor.user_id, key, fingerprint):
            return _replay(stored)
        response = _call_view(actor, view)
        values = {
            "status": response.status_code,
            "headers": orjson.dumps(_select_headers(response)).decode(),
            "body": response.get_data(),
        }
        store(actor, actor.user_id, key, fingerprint, values)
    return response


def _call_view(actor: Actor, view: Callable[[], Any]) -> Response:
    """Call the view in a savepoint; a domain error rolls back and becomes the response."""
    try:
        with transaction(acting_as=actor):
            return current_app.make_response(view())
    except (NotAuthenticated, QuotaExceeded, Retryable):
        raise  # A later attempt may succeed, so the response is not stored.
    except TaskapiError as error:
        return current_app.make_response(current_app.handle_user_exception(error))


def _replay(stored: Row) -> Response:
    response = Response(bytes(stored["body"]), stored["status"])
    del response.headers["Content-Type"]
    response.headers.update(stored["headers"])
    response.headers[_REPLAYED] = "true"
    return response


def _select_headers(response: Response) -> dict[str, str]:
    headers = response.headers
    return {name: headers[name] for name in _STORED_HEADERS if name in headers}
