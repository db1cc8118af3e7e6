"""Authenticate every request unless its view is declared public."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from flask import Flask, Response, current_app, g, request
from sqlalchemy import text

from taskapi.auth import cookies, external, tokens
from taskapi.auth.exceptions import TokenMissing, UserMismatch
from taskapi.auth.schemas import UserIdInPath
from taskapi.db.execute import Actor, execute
from taskapi.exceptions import NotAuthenticated, SessionEnded, Unavailable
from taskapi.http import problems
from taskapi.http.endpoint import endpoint_of
from taskapi.http.payload import load

_USER_ID_IN_PATH = UserIdInPath()
_REFUSALS = (400, 403, 404, 413, 415, 422)
_NOTHING = text("SELECT 1")


Verify = Callable[[str, str], tokens.Claims | external.Claims]
"""Reads a token of a kind; raises `NotAuthenticated`, `Unavailable`."""


def init_app(app: Flask, auth_mode: str) -> None:
    """Ask for a token on every route, or believe the path where that is wanted."""
    app.config["AUTH_MODE"] = auth_mode
    if auth_mode == "path":
        app.before_request(_believe_the_path)
    else:
        verify: Verify = tokens.verify_token if auth_mode == "local" else external.verify_token
        app.before_request(partial(_authenticate, verify))
        app.after_request(_prefer_ended_session)


def _authenticate(verify: Verify) -> None:
    # A preflight carries no token (Fetch standard), and an unknown URL has nothing to guard.
    if request.endpoint is None or request.method == "OPTIONS":
        return
    match endpoint_of(current_app.view_functions[request.endpoint]).access:
        case "public":
            return
        case "optional_token":
            with suppress(NotAuthenticated):
                _know_actor(verify, "access")
            return
        case "refresh_token":
            _know_actor(verify, "refresh")
        case "token":
            _know_actor(verify, "access")
    named = _user_in_path()
    if named is not None and named != g.actor.user_id:
        raise UserMismatch


def _prefer_ended_session(response: Response) -> Response:
    """Answer that the session has ended, where a request was refused without asking for it.

    A statement for the actor checks the session with it; this asks where none was run.
    """
    actor: Actor | None = g.get("actor")
    is_refusal = response.status_code in _REFUSALS and "database_seconds" not in g
    if actor and actor.session_id and is_refusal:
        try:
            execute(_NOTHING, acting_as=actor)
        except SessionEnded as error:
            return problems.respond(error)
        except Unavailable:
            return response  # The refusal holds whether the session lives or not.
    return response


def _know_actor(verify: Verify, kind: str) -> None:
    g.claims = verify(_find_token(kind), kind)
    g.actor = Actor(g.claims.user_id, g.claims.session_id)


def _believe_the_path() -> None:
    user_id = _user_in_path()
    if user_id is not None:
        g.actor = Actor(user_id)


def _user_in_path() -> str | None:
    """Take the user's id out of the path, so that no view has to ask whose tasks are meant."""
    if not request.view_args or "user_id" not in request.view_args:
        return None
    named = {"user_id": request.view_args.pop("user_id")}
    return str(load(_USER_ID_IN_PATH, named, "/path")["user_id"])


def _find_token(kind: str) -> str:
    authorization: str = request.environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if kind == "refresh" and (in_cookie := cookies.find_refresh_token()):
        g.token_was_in_cookie = True
        return in_cookie
    raise TokenMissing
