"""Exceptions of rate limits, concurrency limits and idempotency keys."""

from __future__ import annotations

from taskapi.exceptions import Conflict, TooManyRequests, Unprocessable


class RateLimited(TooManyRequests):
    code = "rate_limited"
    message = "These were too many requests. `Retry-After` says when to go on."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class TooManyConcurrentRequests(TooManyRequests):
    code = "too_many_concurrent_requests"
    message = (
        "Too many of your requests are being answered at this moment; send fewer at a time, and "
        "this one again after `Retry-After`."
    )


class TooManyIdempotencyKeys(TooManyRequests):
    code = "too_many_idempotency_keys"
    message = (
        "The answers that are kept for your Idempotency-Keys are too many or too long. They are "
        "forgotten after a day; send this again then, or without a key."
    )
    retry_after = 3600


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"
    message = "A request with this Idempotency-Key is being answered; send it again in a moment."


class IdempotencyKeyReused(Unprocessable):
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was sent with another request; make a new one for each."
