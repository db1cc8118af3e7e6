"""Cross-origin requests of allowed origins, by the CORS protocol of the Fetch standard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from taskapi.http.app import no_content


def init_app(app: Flask, origins: Sequence[str]) -> None:
    """Allow pages of `origins` to send requests and read the responses."""
    options = get_cors_options(
        app,
        {
            # Escaped patterns, since flask-cors parses the brackets of an IPv6 address as a regex.
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
            "supports_credentials": True,  # For the cookie of /auth; origins are never a wildcard.
            "always_send": False,
            "vary_header": False,
        },
    )

    @app.before_request
    def answer_preflight() -> Response | None:
        # Browsers send the request only after a successful preflight. Unknown URLs answer it too,
        # so that a page can read the 404 of the request itself.
        if request.routing_exception and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ:
            return no_content() if request.method == "OPTIONS" else None
        return None

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        # The headers depend on the origin, even if there are none.
        response.headers.add("Vary", "Origin")
        # Requests without an Origin are not cross-origin requests of a browser.
        return set_cors_headers(response, options) if "HTTP_ORIGIN" in request.environ else response
