"""What the value of a setting may be; each refusal is a `ValidationError` with the mend."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import idna
from limits import parse
from marshmallow import ValidationError

_SHORTEST_SECRET = 32  # bytes: an HS256 key shorter than its digest weakens it (RFC 7518, 3.2).
_ORIGIN_PORTS = {"http": 80, "https": 443, "capacitor": None, "tauri": None}
"""Schemes of pages that browsers and web views name as an origin, with their default ports."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+", re.ASCII)
HOW_TO_MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(48))'`."


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_web_url(value: str) -> None:
    """Accept a URL of http or https, and nothing."""
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname)
        well_formed = well_formed and value.isprintable() and " " not in value
        well_formed = well_formed and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        well_formed = False
    if value and not well_formed:
        raise ValidationError(
            "is not a URL; write it as https://auth.example.com/api/auth/jwks, without a password."
        )


def is_redis_url(value: str) -> None:
    """Accept a URL of Redis, and nothing."""
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in ("redis", "rediss") and bool(parts.hostname)
        well_formed = well_formed and parts.port != 0
    except ValueError:
        well_formed = False
    if value and not well_formed:
        # The value itself is not repeated: it may hold a password.
        raise ValidationError("is not a URL of Redis; write it as redis://localhost:6379/0.")


def is_rate(value: str) -> None:
    """Accept a number of requests for a time."""
    try:
        is_one = parse(value).amount > 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValidationError("is not a rate; write it as 600/minute or 10/second.")


def is_long_enough(value: str) -> None:
    """Accept a secret that can sign, and nothing."""
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise ValidationError(f"is not text in UTF-8; {HOW_TO_MAKE_ONE}") from None
    if 0 < length < _SHORTEST_SECRET:
        raise ValidationError(f"is shorter than {_SHORTEST_SECRET} bytes; {HOW_TO_MAKE_ONE}")


def parse_secrets(value: str) -> list[str]:
    """Read a list of secrets that can sign. Raises `ValidationError` where one cannot."""
    secrets = parse_list(value)
    for secret in secrets:
        is_long_enough(secret)
    return secrets


def is_host(value: str) -> None:
    """Accept an address or the name of a host."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
            raise ValidationError(
                "is neither an address nor a host name; try 127.0.0.1 or 0.0.0.0."
            ) from None


def parse_list(value: str) -> list[str]:
    """Split a setting at its commas; white space around the parts is dropped.

    Raises `ValidationError` where a part is empty.
    """
    if not value.strip():
        return []
    parts = [part.strip() for part in value.split(",")]
    if "" in parts:
        # The parts themselves are not repeated: they may be secrets.
        raise ValidationError(
            f"has nothing in place {parts.index('') + 1} of {len(parts)}; remove a comma."
        )
    return parts


def parse_origins(value: str) -> list[str]:
    """Read a list of origins in the form in which browsers send them (RFC 6454, 6.2).

    Raises `ValidationError` for what no browser sends as its origin.
    """
    return [_parse_origin(part) for part in parse_list(value)]


def _parse_origin(value: str) -> str:
    try:
        parts = urlsplit(value.removesuffix("/"))
        host = _ascii_host(parts.hostname or "")
        port = parts.port
        is_origin = (
            parts.scheme in _ORIGIN_PORTS
            and bool(_HOST.fullmatch(host))
            and "@" not in parts.netloc
            and not (parts.path or parts.query or parts.fragment)
        )
    except ValueError:
        is_origin = False
    if not is_origin:
        raise ValidationError(
            f"{value!r} is not an origin; list them as "
            "https://app.example.com,https://admin.example.com, each by itself, without a path or "
            "a password, never *."
        )
    host = f"[{host}]" if ":" in host else host
    is_default = port is None or port == _ORIGIN_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _ascii_host(host: str) -> str:
    # Browsers send the ASCII form (WHATWG URL, 3.3); IDNAError is a ValueError.
    return host if host.isascii() else idna.encode(host, uts46=True).decode()
