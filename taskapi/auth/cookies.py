"""The refresh token as a cookie, for browsers: no script of a page can read it.

A browser adds the cookie to whatever asks for /auth/refresh, so a request with it counts
only if it says that it comes from a page which may (OWASP's cross-site request forgery
prevention: verifying the origin).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask, Response, current_app, jsonify, request

from taskapi.auth.exceptions import OriginNotAllowed
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Name and limit the cookie; `tokens` signs what is in it."""
    name = "taskapi_refresh"
    app.config.update(
        # Browsers take a name that begins like this from an encrypted answer only.
        JWT_REFRESH_COOKIE_NAME=f"__Secure-{name}" if settings.cookie_secure else name,
        JWT_COOKIE_SECURE=settings.cookie_secure,
        JWT_COOKIE_SAMESITE=settings.cookie_samesite.capitalize(),
        JWT_COOKIE_CSRF_PROTECT=False,  # A page of another origin could not read its cookie.
    )
    app.extensions["taskapi.cookies"] = frozenset(settings.cors_origins)


def find_refresh_token() -> str | None:
    """Return the token of the cookie, None if there is none. Raises `OriginNotAllowed`."""
    token = request.cookies.get(current_app.config["JWT_REFRESH_COOKIE_NAME"])
    if token and not _is_from_an_allowed_page():
        raise OriginNotAllowed
    return token


def answer_tokens(pair: dict[str, Any], *, in_cookie: bool) -> Response:
    """Answer a token pair, with the refresh token in the body or in the cookie, never both."""
    if not in_cookie:
        return jsonify(pair)
    refresh_token = pair.pop("refresh_token")
    response = jsonify(pair)
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    response.set_cookie(**_attributes(), value=refresh_token, max_age=lifetime)
    return response


def forget(response: Response) -> Response:
    """Let the browser drop the cookie."""
    response.delete_cookie(**_attributes())
    return response


def _attributes() -> dict[str, Any]:
    config = current_app.config
    return {
        "key": config["JWT_REFRESH_COOKIE_NAME"],
        "path": f"{request.script_root}/auth",
        "secure": config["JWT_COOKIE_SECURE"],
        "httponly": True,
        "samesite": config["JWT_COOKIE_SAMESITE"],
    }


def _is_from_an_allowed_page() -> bool:
    origin = request.headers.get("Origin")
    # Browsers say this themselves, and let no script say it.
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return True
    return origin in current_app.extensions["taskapi.cookies"] or (
        origin == request.host_url.rstrip("/")
    )
