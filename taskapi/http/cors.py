"""Which pages of other origins may call, by the CORS protocol of the Fetch standard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from taskapi.http.app import no_content


def init_app(app: Flask, origins: Sequence[str]) -> None:
    """Let pages of these origins read the answers; their browsers ask that of each."""
    options = get_cors_options(
        app,
        {
            # As patterns, since flask-cors takes the brackets of an IPv6 address for one.
            "origins": [re.compile(re.escape(origin) + r"\Z") for origin in origins],
            "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
            "allow_headers": [
                *("Authorization", "Content-Type", "X-Request-ID"),
                *("Idempotency-Key", "If-Match", "If-None-Match"),
            ],
            "expose_headers": [
                *("ETag", "Location", "Link", "Retry-After", "X-Request-ID"),
                *("Idempotent-Replayed", "RateLimit", "RateLimit-Policy"),
            ],
            "max_age": 7200,
            "supports_credentials": True,  # For the cookie of /auth; origins are always named.
            "always_send": False,
            "vary_header": False,
        },
    )

    @app.before_request
    def answer_preflight() -> Response | None:
        # Browsers send a request only behind a preflight with a status of success; so that a page
        # can read that a URL does not exist, there is one for every URL.
        if request.routing_exception and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ:
            return no_content() if request.method == "OPTIONS" else None
        return None

    @app.after_request
    def say_who_may_read(response: Response) -> Response:
        # What a page may read depends on its origin, also where it may read nothing.
        response.headers.add("Vary", "Origin")
        # Of what comes from no page of a browser there is nothing to decide.
        return set_cors_headers(response, options) if "HTTP_ORIGIN" in request.environ else response
