"""Keep a browser's refresh token in an HttpOnly cookie, which no script can read.

A browser sends the cookie with every request for /auth/refresh, so such a request needs an allowed
origin (OWASP CSRF Prevention Cheat Sheet, "Verifying Origin With Standard Headers").
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from flask import Flask, Response, current_app, jsonify, request

from taskapi.auth.exceptions import OriginNotAllowed
from taskapi.extension import Extension
from taskapi.settings import Settings

_ORIGINS: Final[Extension[frozenset[str]]] = Extension("cookies")


def init_app(app: Flask, settings: Settings) -> None:
    """Configure the name and the attributes of the cookie."""
    name = "taskapi_refresh"
    app.config.update(
        # Browsers accept the prefix __Secure- only over HTTPS (RFC 6265bis, 4.1.3.1).
        JWT_REFRESH_COOKIE_NAME=f"__Secure-{name}" if settings.cookie_secure else name,
        JWT_COOKIE_SECURE=settings.cookie_secure,
        JWT_COOKIE_SAMESITE=settings.cookie_samesite.capitalize(),
        JWT_COOKIE_CSRF_PROTECT=False,  # Pages of CORS origins cannot read a double-submit cookie.
    )
    _ORIGINS.set(app, frozenset(settings.cors_origins))


def find_refresh_token() -> str | None:
    """Return the refresh token of the cookie, or None without one. Raises `OriginNotAllowed`."""
    token = request.cookies.get(current_app.config["JWT_REFRESH_COOKIE_NAME"])
    if token and not _is_origin_allowed():
        raise OriginNotAllowed
    return token


def respond_with_tokens(pair: dict[str, Any], *, in_cookie: bool) -> Response:
    """Respond with a token pair; the refresh token is either in the body or in the cookie."""
    if not in_cookie:
        return jsonify(pair)
    refresh_token = pair.pop("refresh_token")
    response = jsonify(pair)
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    response.set_cookie(**_make_cookie_attributes(), value=refresh_token, max_age=lifetime)
    return response


def clear_refresh_cookie(response: Response) -> Response:
    """Delete the cookie in the browser, and return the response."""
    response.delete_cookie(**_make_cookie_attributes())
    return response


def _make_cookie_attributes() -> dict[str, Any]:
    config = current_app.config
    return {
        "key": config["JWT_REFRESH_COOKIE_NAME"],
        "path": f"{request.script_root}/auth",
        "secure": config["JWT_COOKIE_SECURE"],
        "httponly": True,
        "samesite": config["JWT_COOKIE_SAMESITE"],
    }


def _is_origin_allowed() -> bool:
    origin = request.headers.get("Origin")
    # Browsers set this header themselves; scripts cannot (Fetch Metadata).
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return True
    return origin in _ORIGINS.get() or origin == request.host_url.rstrip("/")
