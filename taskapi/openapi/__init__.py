"""The OpenAPI document at /openapi.json, and Swagger UI on it at /docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import flask_swagger_ui
from flask import Flask, Response, current_app, request, send_from_directory
from marshmallow import INCLUDE, Schema, fields

from taskapi.extension import Extension
from taskapi.http.app import Section
from taskapi.http.views import endpoint
from taskapi.openapi.document import OPENAPI_VERSION, build_document
from taskapi.settings import VERSION, Settings

__all__ = ["build_document", "init_app"]

_OWN_FILES = Path(__file__).parent / "static"
_PAGE = (_OWN_FILES / "docs.html").read_text()
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_MAX_AGE = 3600  # seconds
_SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"

blueprint = Section("docs", __name__, "This document.")

_DOCUMENT: Final[Extension[dict[str, Any]]] = Extension("openapi")


def init_app(app: Flask, _settings: Settings) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


class Document(Schema):
    """What OpenAPI says of a document, in short; the example shows how it begins."""

    class Meta:
        """marshmallow's own options."""

        unknown = INCLUDE

    openapi = fields.String(required=True, metadata={"example": OPENAPI_VERSION})
    info = fields.Dict(
        required=True, metadata={"example": {"title": "taskapi", "version": VERSION}}
    )
    paths = fields.Dict(required=True, metadata={"example": {}})
    components = fields.Dict(required=True, metadata={"example": {}})


@blueprint.get("/openapi.json")
@endpoint(access="public", returns=Document(), needs_database=False)
def get_document() -> Any:
    """Answer the document; it changes only with the release."""
    document = _DOCUMENT.find()
    if document is None:
        document = build_document(current_app)
        _DOCUMENT.set(current_app, document)
    if prefix := request.script_root:
        return document | {"servers": [{"url": prefix}]}
    return document


@blueprint.get("/docs")
@endpoint(
    access="public",
    media={"text/html": _PAGE},
    headers=("Content-Security-Policy",),
    needs_database=False,
)
def show_docs() -> Response:
    """Show Swagger UI, from files of our own and with nothing inline that could be code."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": f"max-age={_MAX_AGE}"}
    return Response(_PAGE, headers=headers, mimetype="text/html")


@blueprint.get("/docs/<filename>")
@endpoint(access="public", is_documented=False)
def get_docs_file(filename: str) -> Response:
    """Answer a file that /docs needs: one of our own, or one of Swagger UI's."""
    is_own = (_OWN_FILES / filename).is_file()
    return _send_file(_OWN_FILES if is_own else _SWAGGER_UI, filename)


def _send_file(directory: Path, filename: str) -> Response:
    response = send_from_directory(directory, filename, max_age=_MAX_AGE, conditional=False)
    # Swagger UI has pages among its files.
    response.headers["Content-Security-Policy"] = _POLICY
    return response
