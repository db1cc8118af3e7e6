"""What can go wrong in the domain. It knows no HTTP: `errors` gives each its status."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

MAX_ERRORS_PER_OBJECT: Final = 20
MAX_ERRORS_PER_REQUEST: Final = 100


class TaskapiError(Exception):
    """The base of all that follows.

    `code` is for programs and never changes; the message is a sentence for a person.
    """

    code: str
    message: str

    def __init__(self, message: str | None = None, **members: Any) -> None:
        super().__init__(message or self.message)
        self.members = members
        """What else is to be told, by name."""


class MalformedJSON(TaskapiError):
    code = "malformed_json"
    message = "The body is not JSON in UTF-8."


class BodyEncoded(TaskapiError):
    code = "content_encoding_unsupported"
    message = "Send the body as it is, without Content-Encoding; compressed ones are not taken."


class NotAuthenticated(TaskapiError):
    """It is not known who asks."""


class TokenMissing(NotAuthenticated):
    code = "token_missing"
    message = "Send your access token in the header `Authorization: Bearer <token>`."


class TokenInvalid(NotAuthenticated):
    code = "token_invalid"
    message = (
        "This token is not accepted here: its signature, its issuer, its audience, its kind or its "
        "times are not as they must be; log in again to get another."
    )


class TokenExpired(NotAuthenticated):
    code = "token_expired"
    message = "This token has expired; get a new one, or log in again."


class SessionEnded(NotAuthenticated):
    code = "session_ended"
    message = "This session has been logged out, revoked or has expired; log in again."


class RefreshTokenReused(NotAuthenticated):
    code = "refresh_token_reused"
    message = (
        "This refresh token was used before. Its session has been ended, since somebody "
        "else may hold a copy; log in again."
    )


class CredentialsInvalid(NotAuthenticated):
    code = "credentials_invalid"
    message = "The e-mail address and the password do not belong together."


class Forbidden(TaskapiError):
    """It is known who asks, and they may not."""


class UserMismatch(Forbidden):
    code = "user_mismatch"
    message = "The URL names another user than your access token does."


class TaskForbidden(Forbidden):
    code = "task_forbidden"
    message = "This task is another user's."


class PasswordWrong(Forbidden):
    code = "password_wrong"
    message = "This is not your current password."


class AccountDisabled(Forbidden):
    code = "account_disabled"
    message = "This account has been disabled; ask whoever runs the service."


class OriginNotAllowed(Forbidden):
    code = "origin_not_allowed"
    message = (
        "The refresh token's cookie is taken only from pages of this service's own origin or "
        "of CORS_ORIGINS."
    )


class NotFound(TaskapiError):
    """What was asked for is not there, or is somebody else's: the two look the same."""


class TaskNotFound(NotFound):
    code = "task_not_found"
    message = "You have no task with this id."


class SessionNotFound(NotFound):
    code = "session_not_found"
    message = "You have no session with this id that is still open."


class UserNotFound(NotFound):
    code = "user_not_found"
    message = "There is no account with this e-mail address."


class Conflict(TaskapiError):
    """What was asked for contradicts what is there."""


class TaskInTrash(Conflict):
    code = "task_in_trash"
    message = "A task with this id is in your trash; restore it, or delete it there for good."


class TaskExists(Conflict):
    code = "task_exists"
    message = "You have a task with this id already."


class NoRoom(Conflict):
    code = "no_room"
    message = (
        "Thousands of tasks around this place have the same `order`, or orders without a gap; "
        "give them orders of their own first, for example in batches."
    )


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"
    message = "A request with this Idempotency-Key is being answered; send it again in a moment."


class RefreshTokenSuperseded(Conflict):
    code = "refresh_token_superseded"
    message = (
        "This exchange was answered before, and its new refresh token has been used since; the "
        "session goes on with the newest one."
    )


class EmailTaken(Conflict):
    code = "email_taken"
    message = "An account with this e-mail address exists already; log in instead."


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with the input.

    `pointer` is a JSON Pointer (RFC 6901) into the body, or `/query/<name>` and
    `/path/<name>` for what the URL said.
    """

    pointer: str
    code: str
    detail: str

    @property
    def sentence(self) -> str:
        """The detail with the name of its field, for people who see no pointer."""
        for phrase, named in _WITH_NAMES.items():
            if self.detail.startswith(phrase):
                where, _, name = self.pointer.rpartition("/")
                return named.format(*_name(where, name)) + self.detail.removeprefix(phrase)
        return self.detail


# A detail begins with one of these phrases where its field is its subject.
_WITH_NAMES = {
    "This field ": "{0} ",
    "This ": "{0} ",
    "There is no such field ": "There is no {1} ",
}


def _name(where: str, name: str) -> tuple[str, str]:
    """Return how to call a field as a subject, and as an object."""
    if not name:
        return "The body", "such field"
    match where:
        case "/query":
            return f"The query parameter {name}", f"query parameter {name}"
        case "/path":
            return f"The {name} in the path", name
        case "/header":
            return f"The header {name}", f"header {name}"
    return f"The {name.replace('_', ' ')}", f"field {name}"


class ValidationFailed(TaskapiError):
    """The input can be read, but what it says cannot be accepted.

    It reports the first `limit` errors; `left_out` counts those that are not among `errors`.
    """

    code = "validation_failed"
    message = "Some of the input cannot be accepted; `errors` says what and where."

    def __init__(
        self, errors: list[FieldError], left_out: int = 0, limit: int = MAX_ERRORS_PER_OBJECT
    ) -> None:
        number = len(errors) - 1 + left_out
        more = {0: "", 1: " There is one more error."}.get(
            number, f" There are {number} more errors."
        )
        self.errors = errors[:limit]
        self.left_out = left_out + len(errors) - len(self.errors)
        members: dict[str, Any] = {"errors": [asdict(error) for error in self.errors]}
        if self.left_out:
            members["errors_left_out"] = self.left_out
        super().__init__(errors[0].sentence + more, **members)

    def below(self, where: str) -> ValidationFailed:
        """Say the same of input that is a part of another, at the JSON Pointer `where`."""
        return ValidationFailed(
            [FieldError(f"{where}{one.pointer}", one.code, one.detail) for one in self.errors],
            self.left_out,
        )


class ErrorBudget:
    """How many errors the report of one request may still hold."""

    def __init__(self) -> None:
        self._left = MAX_ERRORS_PER_REQUEST

    @property
    def limit(self) -> int:
        """How many errors the next object may report."""
        return min(MAX_ERRORS_PER_OBJECT, self._left)

    def spend(self, refusal: ValidationFailed) -> ValidationFailed:
        """Return the refusal with as many of its errors as there is still room for."""
        cut = ValidationFailed(refusal.errors, refusal.left_out, self.limit)
        self._left -= len(cut.errors)
        return cut


class IdempotencyKeyReused(TaskapiError):
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was sent with another request; make a new one for each."


class TaskChanged(TaskapiError):
    """The task is not as the client thinks that it is; `current` is how it is."""

    code = "precondition_failed"
    message = "The task has been changed since you read it; `current` is how it is now."


class QuotaExceeded(TaskapiError):
    code = "quota_exceeded"
    message = (
        "These would be more tasks than you may have (`quota`, those in your trash included; there "
        "is room for `room` more). Delete some for good first: DELETE /trash empties the trash."
    )

    def __init__(self, quota: int, room: int) -> None:
        super().__init__(quota=quota, room=room)


class SyncReset(TaskapiError):
    code = "sync_reset"
    message = (
        "What has changed since this cursor is not known any more; throw your copy away and "
        "begin again without `since`."
    )


class Retryable(TaskapiError):
    """Nothing is wrong with the request; it can be sent again in `retry_after` seconds."""

    retry_after = 1


class TooManyAttempts(Retryable):
    code = "too_many_attempts"
    message = "There were too many attempts to log in. `Retry-After` says when to try again."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class RateLimited(Retryable):
    code = "rate_limited"
    message = "These were too many requests. `Retry-After` says when to go on."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class TooManyIdempotencyKeys(Retryable):
    code = "too_many_idempotency_keys"
    message = (
        "The answers that are kept for your Idempotency-Keys are too many or too long. They are "
        "forgotten after a day; send this again then, or without a key."
    )
    retry_after = 3600


class TooManyConcurrentRequests(Retryable):
    code = "too_many_concurrent_requests"
    message = (
        "Too many of your requests are being answered at this moment; send fewer at a time, and "
        "this one again after `Retry-After`."
    )


class Unavailable(Retryable):
    """Something that the service needs is away or busy."""


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    message = "The database cannot be reached right now. Try again in a moment."


class DatabaseNotReady(Unavailable):
    code = "database_not_ready"
    message = "The database is being prepared. Try again in a moment."
    retry_after = 2


class SearchTimeout(Unavailable):
    code = "search_timeout"
    message = (
        "This search took too long. Narrow it by filters such as `completed` or `created_after`, "
        "or try again later."
    )
    retry_after = 5


class Busy(Unavailable):
    code = "busy"
    message = "The service has more work than it can do right now. Try again in a moment."


class IssuerUnavailable(Unavailable):
    code = "issuer_unavailable"
    message = "The issuer of your token cannot be asked for its keys right now. Try again soon."
    retry_after = 5
