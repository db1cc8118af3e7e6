"""Every request says who asks, unless its route was declared public."""

from __future__ import annotations

from flask import Flask, current_app, g, request

from taskapi.auth.tokens import verify_token
from taskapi.database import Actor
from taskapi.exceptions import TokenMissing
from taskapi.operations import token_kind_of


def init_app(app: Flask) -> None:
    """Ask for a token on every route."""
    app.before_request(_authenticate)


def _authenticate() -> None:
    # A preflight carries no token (Fetch standard), and an unknown URL has nothing to guard.
    if request.endpoint is None or request.method == "OPTIONS":
        return
    kind = token_kind_of(current_app.view_functions[request.endpoint])
    if kind is None:
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenMissing
    g.claims = verify_token(token.strip(), kind)
    g.actor = Actor(g.claims.user_id, g.claims.session_id)
