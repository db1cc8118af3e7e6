"""The errors of accounts, sessions and tokens; each class is one problem code."""

from __future__ import annotations

from taskapi.exceptions import (
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    TooManyRequests,
    Unavailable,
)


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


class RefreshTokenReused(NotAuthenticated):
    code = "refresh_token_reused"
    message = (
        "This refresh token was used before. Its session has been ended, since somebody "
        "else may hold a copy; log in again."
    )


class CredentialsInvalid(NotAuthenticated):
    code = "credentials_invalid"
    message = "The e-mail address and the password do not belong together."


class UserMismatch(Forbidden):
    code = "user_mismatch"
    message = "The URL names another user than your access token does."


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


class SessionNotFound(NotFound):
    code = "session_not_found"
    message = "You have no session with this id that is still open."


class UserNotFound(NotFound):
    code = "user_not_found"
    message = "There is no account with this e-mail address."


class RefreshTokenSuperseded(Conflict):
    code = "refresh_token_superseded"
    message = (
        "This exchange was answered before, and its new refresh token has been used since; the "
        "session goes on with the newest one."
    )


class EmailTaken(Conflict):
    code = "email_taken"
    message = "An account with this e-mail address exists already; log in instead."


class TooManyAttempts(TooManyRequests):
    code = "too_many_attempts"
    message = "There were too many attempts to log in. `Retry-After` says when to try again."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class IssuerUnavailable(Unavailable):
    code = "issuer_unavailable"
    message = "The issuer of your token cannot be asked for its keys right now. Try again soon."
    retry_after = 5
