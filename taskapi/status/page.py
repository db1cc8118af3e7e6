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
    # Where text is to become markup, the browser refuses: nothing in the page may do that.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

blueprint = Blueprint("web", __name__)


@blueprint.get("/app")
@endpoint(access="public", is_documented=False)
def redirect_to_page() -> Any:
    """Show the page below the slash, from which its links lead on."""
    return redirect("app/", 308)  # Relative, so that it holds below every prefix.


@blueprint.get("/app/", defaults={"filename": "index.html"})
@blueprint.get("/app/<path:filename>")
@endpoint(access="public", is_documented=False)
def get_page_file(filename: str) -> Response:
    """Answer a file of the page."""
    return _send_file("web", filename)


@blueprint.get("/js/<path:filename>")
@endpoint(access="public", is_documented=False)
def get_client_file(filename: str) -> Response:
    """Answer a file of the JavaScript client."""
    return _send_file("js", filename)


def _send_file(directory: str, filename: str) -> Response:
    if Path(filename).suffix not in _SERVED:
        raise NotFound
    # Asked for again each time, and answered with 304 while it is the same: a page never
    # gets the modules of two releases.
    response = send_from_directory(_CLIENTS / directory, filename, conditional=False)
    response.headers["Content-Security-Policy"] = POLICY
    response.make_conditional(request)
    return response
