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
    """The request has no valid credentials."""


class SessionEnded(NotAuthenticated):
    code = "session_ended"
    message = "This session has been logged out, revoked or has expired; log in again."


class Forbidden(TaskapiError):
    """The authenticated user lacks the permission."""


class NotFound(TaskapiError):
    """The resource does not exist, or belongs to another user: the two look the same."""


class Conflict(TaskapiError):
    """What was asked for contradicts what is there."""


class Unprocessable(TaskapiError):
    """The request can be read, but what it says cannot be accepted."""


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


class ValidationFailed(Unprocessable):
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


class PreconditionFailed(TaskapiError):
    """What is there is not as the client thinks that it is."""


class Gone(TaskapiError):
    """What was asked for was here and will not come again."""


class QuotaExceeded(Unprocessable):
    """There is no room for more; there is again as soon as something has been deleted."""


class Retryable(TaskapiError):
    """Nothing is wrong with the request; it can be sent again in `retry_after` seconds."""

    retry_after = 1


class TooManyRequests(Retryable):
    """The client has to send fewer."""


class Unavailable(Retryable):
    """Something that the service needs is away or busy."""


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    message = "The database cannot be reached right now. Try again in a moment."


class DatabaseNotReady(Unavailable):
    code = "database_not_ready"
    message = "The database is being prepared. Try again in a moment."
    retry_after = 2


class Busy(Unavailable):
    code = "busy"
    message = "The service has more work than it can do right now. Try again in a moment."
