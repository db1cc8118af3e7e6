"""Every setting, read once from the environment and `.env`.

`.env.example` explains each of them to the operator.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from environs import Env, EnvValidationError
from marshmallow import ValidationError
from marshmallow.validate import Length, OneOf, Range
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from taskapi import embedded

VERSION = "0.1.0"

BODY_LIMIT = 64 * 1024
"""The longest request body that is read, in bytes."""

_DRIVER = "postgresql+psycopg2"
_SHORTEST_SECRET = 32  # bytes: an HS256 key shorter than its digest weakens it (RFC 7518, 3.2).
_MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(48))'`."
_DEVELOPMENT_ORIGINS = [
    f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 5173, 8080)
]


class SettingsError(Exception):
    """One or more settings are wrong; `str()` has a line for each."""

    def __init__(self, problems: dict[str, Any]) -> None:
        super().__init__(
            "\n".join(
                f"{name}: {' '.join(messages)}" for name, messages in sorted(problems.items())
            )
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator chose. Durations are in seconds."""

    host: str
    port: int
    database_url: str
    embedded_postgres_dir: Path | None
    """The embedded PostgreSQL's data; None where `DATABASE_URL` names another server."""
    migrate_on_start: bool
    statement_timeout: float
    lock_timeout: float
    pool_timeout: float
    jwt_secret_key: str
    jwt_issuer: str
    jwt_audience: str
    access_token_lifetime: int
    refresh_token_lifetime: int
    cors_origins: tuple[str, ...]
    web_concurrency: int
    threads: int
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, env_file: str = ".env") -> Settings:
        """Read the settings; all that is wrong with them is one `SettingsError`."""
        env = Env(eager=False)
        try:
            env.read_env(env_file, recurse=False)
        except (OSError, ValueError) as error:
            raise SettingsError({env_file: [f"cannot be read ({error})."]}) from None
        database_url = env.str("DATABASE_URL", "", validate=_is_postgresql_url)
        embedded_dir = Path(env.str("EMBEDDED_POSTGRES_DIR", "var/postgres")).resolve()
        jwt_secret_key = env.str("JWT_SECRET_KEY", "", validate=_is_long_enough)
        values: dict[str, Any] = {
            "host": env.str("HOST", "127.0.0.1", validate=_is_host),
            "port": env.int("PORT", 8000, validate=Range(1, 65535)),
            "migrate_on_start": env.bool("MIGRATE_ON_START", True),
            "statement_timeout": env.float("STATEMENT_TIMEOUT", 5.0, validate=Range(0.1, 600)),
            "lock_timeout": env.float("LOCK_TIMEOUT", 3.0, validate=Range(0.1, 600)),
            "pool_timeout": env.float("POOL_TIMEOUT", 1.5, validate=Range(0.1, 60)),
            "jwt_issuer": env.str("JWT_ISSUER", "taskapi", validate=Length(1, 255)),
            "jwt_audience": env.str("JWT_AUDIENCE", "taskapi", validate=Length(1, 255)),
            "access_token_lifetime": env.int(
                "ACCESS_TOKEN_LIFETIME", 15 * 60, validate=Range(1, 24 * 3600)
            ),
            "refresh_token_lifetime": env.int(
                "REFRESH_TOKEN_LIFETIME", 30 * 86400, validate=Range(1, 366 * 86400)
            ),
            "cors_origins": tuple(
                # None where it is refused, which env.seal() reports.
                env.list("CORS_ORIGINS", _DEVELOPMENT_ORIGINS, validate=_are_origins) or ()
            ),
            "web_concurrency": env.int(
                "WEB_CONCURRENCY", max(2, os.cpu_count() or 1), validate=Range(1, 256)
            ),
            "threads": env.int("THREADS", 8, validate=Range(1, 256)),
            "log_format": env.str(
                "LOG_FORMAT",
                "console" if sys.stderr.isatty() else "json",
                validate=OneOf(["json", "console"]),
            ),
            "log_level": env.str(
                "LOG_LEVEL", "info", validate=OneOf(["debug", "info", "warning", "error"])
            ),
        }
        problems: dict[str, Any] = {}
        try:
            env.seal()
        except EnvValidationError as error:
            problems = dict(error.error_messages)  # type: ignore[arg-type]  # sealed: a dict
        if database_url and not jwt_secret_key:
            problems.setdefault("JWT_SECRET_KEY", [f"is required with DATABASE_URL; {_MAKE_ONE}"])
        if problems:
            raise SettingsError(problems)
        if database_url:
            return cls(
                **values,
                database_url=_with_driver(database_url),
                embedded_postgres_dir=None,
                jwt_secret_key=jwt_secret_key,
            )
        try:
            jwt_secret_key = jwt_secret_key or embedded.signing_key(embedded_dir)
        except OSError as error:
            reason = f"cannot be used: {error.filename}: {error.strerror}."
            raise SettingsError({"EMBEDDED_POSTGRES_DIR": [reason]}) from None
        except embedded.EmbeddedPostgresError as error:
            raise SettingsError({"EMBEDDED_POSTGRES_DIR": [str(error)]}) from None
        return cls(
            **values,
            database_url=embedded.url(embedded_dir),
            embedded_postgres_dir=embedded_dir,
            jwt_secret_key=jwt_secret_key,
        )


def _with_driver(url: str) -> str:
    # SQLAlchemy takes a bare postgresql:// for psycopg 3, and postgres:// for nothing.
    return re.sub(r"^postgres(ql)?(\+psycopg2)?://", f"{_DRIVER}://", url)


def _is_postgresql_url(value: str) -> None:
    try:
        driver = make_url(_with_driver(value)).drivername if value else _DRIVER
        # libpq itself says whether it knows each option.
        parse_dsn(_with_driver(value).replace(_DRIVER, "postgresql", 1))
    except (ArgumentError, ValueError, psycopg2.Error):
        driver = None
    if driver != _DRIVER:
        # The value itself is not repeated: it may hold a password.
        raise ValidationError(
            "is not a PostgreSQL URL; write it as postgresql://user:password@host:5432/database."
        )


def _is_long_enough(value: str) -> None:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise ValidationError(f"is not text in UTF-8; {_MAKE_ONE}") from None
    if 0 < length < _SHORTEST_SECRET:
        raise ValidationError(f"is shorter than {_SHORTEST_SECRET} bytes; {_MAKE_ONE}")


def _is_host(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
            raise ValidationError(
                "is neither an address nor a host name; try 127.0.0.1 or 0.0.0.0."
            ) from None


def _are_origins(values: list[str]) -> None:
    for value in values:
        try:
            parts = urlsplit(value)
            canonical = f"{parts.scheme}://{parts.netloc}"
            well_formed = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            well_formed, canonical = False, ""
        if not well_formed or value != canonical:
            raise ValidationError(
                f"{value!r} is not an origin; list them as "
                "https://app.example.com,https://admin.example.com, without a path, never *."
            )
