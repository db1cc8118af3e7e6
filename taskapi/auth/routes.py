"""/auth: accounts, sessions, and who one is."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from flask import g, request

from taskapi.auth import service, sessions
from taskapi.auth.cookies import clear_refresh_cookie, respond_with_tokens
from taskapi.auth.exceptions import SessionNotFound
from taskapi.auth.models import DEVICE_LENGTH
from taskapi.auth.schemas import (
    Confirmation,
    CookieQuery,
    Credentials,
    LogoutQuery,
    OutsideUser,
    PasswordChange,
    ProfileChange,
    Registration,
    SessionList,
    TokenPair,
    User,
)
from taskapi.http.app import Section, no_content, parse_id
from taskapi.http.idempotency import KeyedRequest
from taskapi.http.views import endpoint

blueprint = Section("auth", __name__, "Accounts and sessions.", "/auth")
outside = Section("auth", __name__, "Accounts and sessions.", "/auth")
"""What is left of it where accounts are an issuer's outside."""

_CONFIRMED = ("password_wrong", "too_many_attempts")


@blueprint.post("/register")
@endpoint(
    access="public",
    bucket="login",
    body=Registration(),
    query=CookieQuery(),
    idempotency="by_service",
    status=201,
    returns=TokenPair(),
    headers=("Set-Cookie",),
    problems=("email_taken",),
)
def register(keyed: KeyedRequest, body: dict[str, Any], query: dict[str, Any]) -> Any:
    """Open an account and log in."""
    pair = service.register(_client(), keyed, **body)
    return respond_with_tokens(pair, in_cookie=query["cookie"]), 201


@blueprint.post("/login")
@endpoint(
    access="public",
    bucket="login",
    body=Credentials(),
    query=CookieQuery(),
    idempotency="by_service",
    returns=TokenPair(),
    headers=("Set-Cookie",),
    problems=("credentials_invalid", "account_disabled", "too_many_attempts"),
)
def log_in(keyed: KeyedRequest, body: dict[str, Any], query: dict[str, Any]) -> Any:
    """Log in."""
    return respond_with_tokens(sessions.log_in(_client(), keyed, **body), in_cookie=query["cookie"])


@blueprint.post("/refresh")
@endpoint(
    access="refresh_token",
    bucket="refresh",
    query=CookieQuery(),
    idempotency="by_service",
    returns=TokenPair(),
    headers=("Set-Cookie",),
    problems=("refresh_token_reused", "refresh_token_superseded", "origin_not_allowed"),
)
def refresh(keyed: KeyedRequest, query: dict[str, Any]) -> Any:
    """Exchange the refresh token, sent as bearer token or in the cookie, for a new pair.

    The old refresh token is spent: sent again, it ends its session. With the Idempotency-Key
    of its exchange, it and the new token get the same pair again, until the new one is used.
    One that came in the cookie is answered in the cookie.
    """
    pair = sessions.refresh(g.claims, keyed)
    return respond_with_tokens(pair, in_cookie=query["cookie"] or "token_was_in_cookie" in g)


@blueprint.post("/logout")
@endpoint(query=LogoutQuery(), idempotency="by_service", status=204, headers=("Set-Cookie",))
def log_out(keyed: KeyedRequest, query: dict[str, Any]) -> Any:
    """End this session; its tokens are refused from the next request on."""
    sessions.log_out(g.actor, keyed, everywhere=query["all"])
    return clear_refresh_cookie(no_content())


@blueprint.get("/me")
@endpoint(returns=User())
def get_me() -> Any:
    """Show the account that the token belongs to."""
    return service.get_profile(g.actor)


@blueprint.patch("/me")
@endpoint(
    body=ProfileChange(),
    returns=User(),
    problems=("email_taken", *_CONFIRMED),
    response_example={"name": "Ada Lovelace"},
)
def change_me(body: dict[str, Any]) -> Any:
    """Change your name, or with your password your e-mail address."""
    password = body.pop("password", None)
    return service.change_profile(g.actor, _client(), body, password)


@blueprint.delete("/me")
@endpoint(body=Confirmation(), status=204, headers=("Set-Cookie",), problems=_CONFIRMED)
def delete_me(body: dict[str, Any]) -> Any:
    """Delete your account with all its tasks and sessions, for good."""
    service.delete_account(g.actor, _client(), body["password"])
    return clear_refresh_cookie(no_content())


@blueprint.post("/password")
@endpoint(body=PasswordChange(), idempotency="by_service", status=204, problems=_CONFIRMED)
def change_password(keyed: KeyedRequest, body: dict[str, Any]) -> Any:
    """Change your password; every other session of yours ends."""
    service.change_password(g.actor, _client(), keyed, **body)
    return no_content()


@blueprint.get("/sessions")
@endpoint(returns=SessionList())
def list_sessions() -> Any:
    """List all your open sessions, the last used first."""
    found = sessions.list_sessions(g.actor)
    return {"sessions": found, "count": len(found), "total": len(found)}


@blueprint.delete("/sessions/<session_id>")
@endpoint(status=204, problems=("session_not_found",))
def end_session(session_id: str) -> Any:
    """End one of your sessions; its tokens are refused from the next request on."""
    sessions.end_session(g.actor, parse_id(session_id, SessionNotFound))
    return no_content()


@outside.get("/me")
@endpoint(returns=OutsideUser(), needs_database=False)
def get_claims() -> Any:
    """Show what the token says of you."""
    return {
        "id": g.claims.user_id,
        "email": g.claims.email,
        "name": g.claims.name,
        "created_at": None,
    }


def _client() -> sessions.Client:
    device = "".join(c for c in request.headers.get("User-Agent", "") if c.isprintable())
    # What a proxy says may be no address, or have a port with it.
    said = re.sub(r"^\[(.*)\](:\d+)?$|^([^:]*):\d+$", r"\1\3", request.remote_addr or "")
    try:
        address = str(ip_address(said.partition("%")[0]))
    except ValueError:
        address = ""
    return sessions.Client(device[:DEVICE_LENGTH] or None, address)
