"""Validate and parse the values of settings. A `ValidationError` says how to correct a value."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import idna
from limits import parse
from marshmallow import ValidationError

_MIN_SECRET_BYTES = 32  # HS256 needs a key at least as long as its digest (RFC 7518, 3.2).
_DEFAULT_PORTS = {"http": 80, "https": 443, "capacitor": None, "tauri": None}
"""Schemes of origins that browsers and web views send, with their default ports."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+", re.ASCII)
KEY_GENERATION_HINT = (
    "make one with `python -c 'import secrets; print(secrets.token_urlsafe(48))'`."
)


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def validate_web_url(value: str) -> None:
    """Validate an http or https URL without credentials; an empty value is allowed."""
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


def validate_redis_url(value: str) -> None:
    """Validate a Redis URL; an empty value is allowed."""
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in ("redis", "rediss") and bool(parts.hostname)
        well_formed = well_formed and parts.port != 0
    except ValueError:
        well_formed = False
    if value and not well_formed:
        # The message does not repeat the value, which may contain a password.
        raise ValidationError("is not a URL of Redis; write it as redis://localhost:6379/0.")


def validate_rate(value: str) -> None:
    """Validate a rate in the notation of `limits`, such as `600/minute`."""
    try:
        is_valid = parse(value).amount > 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValidationError("is not a rate; write it as 600/minute or 10/second.")


def validate_secret_length(value: str) -> None:
    """Validate that a secret has 32 bytes or more; an empty value is allowed."""
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise ValidationError(f"is not text in UTF-8; {KEY_GENERATION_HINT}") from None
    if 0 < length < _MIN_SECRET_BYTES:
        raise ValidationError(f"is shorter than {_MIN_SECRET_BYTES} bytes; {KEY_GENERATION_HINT}")


def parse_secrets(value: str) -> list[str]:
    """Parse a comma-separated list of secrets. Raises `ValidationError` if one is too short."""
    secrets = parse_list(value)
    for secret in secrets:
        validate_secret_length(secret)
    return secrets


def validate_host(value: str) -> None:
    """Validate an IP address or a host name."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
            raise ValidationError(
                "is neither an address nor a host name; try 127.0.0.1 or 0.0.0.0."
            ) from None


def parse_list(value: str) -> list[str]:
    """Split a setting at its commas and strip white space from the parts.

    Raises `ValidationError` if a part is empty.
    """
    if not value.strip():
        return []
    parts = [part.strip() for part in value.split(",")]
    if "" in parts:
        # The message does not repeat the parts, which may be secrets.
        raise ValidationError(
            f"has nothing in place {parts.index('') + 1} of {len(parts)}; remove a comma."
        )
    return parts


def parse_origins(value: str) -> list[str]:
    """Parse a comma-separated list of origins into their serialization (RFC 6454, 6.2).

    Raises `ValidationError` for a value that no browser sends as an origin.
    """
    return [_parse_origin(part) for part in parse_list(value)]


def _parse_origin(value: str) -> str:
    try:
        parts = urlsplit(value.removesuffix("/"))
        host = _to_ascii_host(parts.hostname or "")
        port = parts.port
        is_origin = (
            parts.scheme in _DEFAULT_PORTS
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
    is_default = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _to_ascii_host(host: str) -> str:
    # Browsers send the ASCII form of a host (WHATWG URL, 3.3). IDNAError is a ValueError.
    return host if host.isascii() else idna.encode(host, uts46=True).decode()
