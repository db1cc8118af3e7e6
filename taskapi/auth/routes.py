"""/auth: opening an account, sessions, and who one is."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g

from taskapi.auth import service
from taskapi.auth.schemas import Credentials, Registration, TokenPair, User
from taskapi.http import no_content
from taskapi.operations import accepts, answers, public, takes_refresh_token

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.post("/register")
@public
@accepts(body=Registration())
@answers(201, TokenPair(), problems=["email_taken"])
def register(body: dict[str, Any]) -> Any:
    """Open an account and log in."""
    return service.register(**body), 201


@blueprint.post("/login")
@public
@accepts(body=Credentials())
@answers(200, TokenPair(), problems=["credentials_invalid"])
def log_in(body: dict[str, Any]) -> Any:
    """Log in."""
    return service.log_in(**body)


@blueprint.post("/refresh")
@takes_refresh_token
@answers(200, TokenPair(), problems=["refresh_token_reused"])
def refresh() -> Any:
    """Exchange the refresh token, sent as bearer token, for a new pair.

    The old refresh token is spent: sent again, it ends its session.
    """
    return service.refresh(g.claims)


@blueprint.post("/logout")
@answers(204)
def log_out() -> Any:
    """End this session; its tokens are refused from the next request on."""
    service.log_out(g.actor)
    return no_content()


@blueprint.get("/me")
@answers(200, User())
def get_me() -> Any:
    """Show the account that the token belongs to."""
    return service.get_profile(g.actor)
