"""The web page at /app/, and the JavaScript client that it imports from /js/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, redirect, request, send_from_directory
from werkzeug.exceptions import NotFound

from taskapi.http.views import endpoint

_CLIENTS: Final = Path(__file__).parents[2] / "clients"
_SERVED: Final = frozenset({".css", ".html", ".js", ".svg"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # The browser blocks every conversion of text to markup; the page needs none.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

blueprint = Blueprint("web", __name__)


@blueprint.get("/app")
@endpoint(access="public", is_documented=False)
def redirect_to_page() -> Any:
    """Redirect to the URL with a slash, which the page's relative links need."""
    return redirect("app/", 308)  # Relative, so that it is valid below every path prefix.


@blueprint.get("/app/", defaults={"filename": "index.html"})
@blueprint.get("/app/<path:filename>")
@endpoint(access="public", is_documented=False)
def get_page_file(filename: str) -> Response:
    """Send a file of the web page."""
    return _send_file("web", filename)


@blueprint.get("/js/<path:filename>")
@endpoint(access="public", is_documented=False)
def get_client_file(filename: str) -> Response:
    """Send a file of the JavaScript client."""
    return _send_file("js", filename)


def _send_file(directory: str, filename: str) -> Response:
    if Path(filename).suffix not in _SERVED:
        raise NotFound
    # Revalidated on every load, with 304 if unchanged, so that a page never mixes the modules of
    # two releases.
    response = send_from_directory(_CLIENTS / directory, filename, conditional=False)
    response.headers["Content-Security-Policy"] = POLICY
    response.make_conditional(request)
    return response
