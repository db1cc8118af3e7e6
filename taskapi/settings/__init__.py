"""Read all settings once from the environment and `.env`, and report all errors together.

`.env.example` explains each setting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environs import Env, EnvValidationError
from marshmallow.validate import Length, OneOf, Range

from taskapi import devdb
from taskapi.settings.database_url import to_engine_url, validate_database_url
from taskapi.settings.validators import (
    KEY_GENERATION_HINT,
    is_loopback,
    parse_origins,
    parse_secrets,
    validate_host,
    validate_rate,
    validate_redis_url,
    validate_secret_length,
    validate_web_url,
)

VERSION = "0.1.0"

BODY_LIMIT = 64 * 1024
"""Maximum size of a request body in bytes."""

BATCH_LIMIT = 1024 * 1024
"""Maximum size of a batch of operations in bytes."""

IMPORT_LIMIT = 16 * 1024 * 1024
"""Maximum size of an imported file of tasks in bytes."""

_CLAIM_NAMES = {"EXTERNAL_JWT_ISSUER": "iss", "EXTERNAL_JWT_AUDIENCE": "aud"}
_REQUIRED_AUTH_MODES = {"b": "local", "c": "external"}
_DEVELOPMENT_ORIGINS = ",".join(
    f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 5173, 8080)
)


class SettingsError(Exception):
    """One or more settings are invalid; `str()` has a line for each."""

    def __init__(self, problems: dict[str, Any]) -> None:
        super().__init__(
            "\n".join(
                f"{name}: {' '.join(messages)}" for name, messages in sorted(problems.items())
            )
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the service, validated. Durations are in seconds, shares between 0 and 1."""

    host: str
    port: int
    trusted_proxies: int
    database_url: str
    embedded_postgres_dir: Path | None
    """Data directory of the embedded PostgreSQL; None if `DATABASE_URL` names another server."""
    migrate_on_start: bool
    statement_timeout: float
    lock_timeout: float
    search_timeout: float
    pool_timeout: float
    prepare_statements: bool
    auth_mode: str
    contract: str
    external_jwt_secret: str
    external_jwks_url: str
    external_jwt_issuer: str
    external_jwt_audience: str
    jwt_secret_keys: tuple[str, ...]
    """The first key signs; the others are earlier keys, accepted for verification only."""
    jwt_issuer: str
    jwt_audience: str
    jwt_clock_skew: int
    """Tolerance before the claims `nbf` and `iat` of an access token, since clocks differ."""
    jwt_expiry_leeway: int
    """Tolerance after the claim `exp` of a token."""
    access_token_lifetime: int
    refresh_token_lifetime: int
    cookie_secure: bool
    cookie_samesite: str
    cors_origins: tuple[str, ...]
    web_concurrency: int
    threads: int
    trash_days: int
    user_threads_share: float
    """Share of a process's threads that one user may occupy at a time."""
    task_quota: int
    """Maximum number of tasks of a user, including those in the trash."""
    changes_wait_share: float
    rate_limit_enabled: bool
    rate_limit_storage_url: str
    rate_limit_reads: str
    rate_limit_writes: str
    rate_limit_logins: str
    rate_limit_refreshes: str
    login_failures_per_address: str
    server_timing: bool
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, env_file: str = ".env") -> Settings:
        """Read and validate all settings. Raises one `SettingsError` for all errors."""
        env = Env(eager=False)
        env.add_parser("secrets", parse_secrets)
        env.add_parser("origins", parse_origins)
        try:
            env.read_env(env_file, recurse=False)
        except (OSError, ValueError) as error:
            raise SettingsError({env_file: [f"cannot be read ({error})."]}) from None
        database_url = env.str("DATABASE_URL", "", validate=validate_database_url)
        embedded_dir = Path(env.str("EMBEDDED_POSTGRES_DIR", "var/postgres")).resolve()
        # None if it is invalid; env.seal() reports that.
        jwt_secret_keys: tuple[str, ...] = tuple(env.secrets("JWT_SECRET_KEY", "") or ())
        contract = env.str("CONTRACT", "native", validate=OneOf(["native", "b", "c"]))
        values: dict[str, Any] = {
            "contract": contract,
            "host": env.str("HOST", "127.0.0.1", validate=validate_host),
            "port": env.int("PORT", 8000, validate=Range(1, 65535)),
            "trusted_proxies": env.int("TRUSTED_PROXIES", 0, validate=Range(0, 10)),
            "migrate_on_start": env.bool("MIGRATE_ON_START", True),
            "statement_timeout": env.float("STATEMENT_TIMEOUT", 5.0, validate=Range(0.1, 600)),
            "lock_timeout": env.float("LOCK_TIMEOUT", 3.0, validate=Range(0.1, 600)),
            "search_timeout": env.float("SEARCH_TIMEOUT", 1.0, validate=Range(0.1, 600)),
            "pool_timeout": env.float("POOL_TIMEOUT", 1.5, validate=Range(0.1, 60)),
            "prepare_statements": env.bool("PREPARE_STATEMENTS", True),
            "auth_mode": env.str(
                "AUTH_MODE", "local", validate=OneOf(["local", "external", "path"])
            ),
            "external_jwt_secret": env.str(
                "EXTERNAL_JWT_SECRET", "", validate=validate_secret_length
            ),
            "external_jwks_url": env.str("EXTERNAL_JWKS_URL", "", validate=validate_web_url),
            "external_jwt_issuer": env.str("EXTERNAL_JWT_ISSUER", ""),
            "external_jwt_audience": env.str("EXTERNAL_JWT_AUDIENCE", ""),
            "jwt_issuer": env.str("JWT_ISSUER", "taskapi", validate=Length(1, 255)),
            "jwt_audience": env.str("JWT_AUDIENCE", "taskapi", validate=Length(1, 255)),
            "jwt_clock_skew": env.int("JWT_CLOCK_SKEW", 30, validate=Range(0, 600)),
            "jwt_expiry_leeway": env.int("JWT_EXPIRY_LEEWAY", 0, validate=Range(0, 600)),
            "access_token_lifetime": env.int(
                "ACCESS_TOKEN_LIFETIME",
                # Contract B has no refresh tokens, so 24 hours.
                24 * 3600 if contract == "b" else 15 * 60,
                validate=Range(1, 366 * 86400),
            ),
            "refresh_token_lifetime": env.int(
                "REFRESH_TOKEN_LIFETIME", 30 * 86400, validate=Range(1, 366 * 86400)
            ),
            "cookie_secure": env.bool("COOKIE_SECURE", True),
            "cookie_samesite": env.str(
                "COOKIE_SAMESITE", "strict", validate=OneOf(["strict", "lax", "none"])
            ),
            "cors_origins": tuple(env.origins("CORS_ORIGINS", _DEVELOPMENT_ORIGINS) or ()),
            "web_concurrency": env.int(
                "WEB_CONCURRENCY", max(2, os.cpu_count() or 1), validate=Range(1, 256)
            ),
            "threads": env.int("THREADS", 8, validate=Range(1, 256)),
            "trash_days": env.int("TRASH_DAYS", 30, validate=Range(0, 3650)),
            "user_threads_share": env.float("USER_THREADS_SHARE", 0.75, validate=Range(0.05, 1)),
            "task_quota": env.int("TASK_QUOTA", 100_000, validate=Range(1, 1_000_000_000)),
            "changes_wait_share": env.float("CHANGES_WAIT_SHARE", 0.5, validate=Range(0, 0.9)),
            "rate_limit_enabled": env.bool("RATE_LIMIT_ENABLED", True),
            "rate_limit_storage_url": env.str(
                "RATE_LIMIT_STORAGE_URL", "", validate=validate_redis_url
            ),
            "rate_limit_reads": env.str("RATE_LIMIT_READS", "1200/minute", validate=validate_rate),
            "rate_limit_writes": env.str("RATE_LIMIT_WRITES", "600/minute", validate=validate_rate),
            "rate_limit_logins": env.str("RATE_LIMIT_LOGINS", "300/minute", validate=validate_rate),
            "rate_limit_refreshes": env.str(
                "RATE_LIMIT_REFRESHES", "60/minute", validate=validate_rate
            ),
            "login_failures_per_address": env.str(
                "LOGIN_FAILURES_PER_ADDRESS", "100/minute", validate=validate_rate
            ),
            "server_timing": env.bool("SERVER_TIMING", False),
            "log_format": env.str(
                "LOG_FORMAT",
                "console" if sys.stderr.isatty() else "json",
                validate=OneOf(["json", "console"]),
            ),
            "log_level": env.str(
                "LOG_LEVEL", "info", validate=OneOf(["debug", "info", "warning", "error"])
            ),
        }
        trust_path_user_id = env.bool("TRUST_PATH_USER_ID", False)
        problems: dict[str, Any] = {}
        try:
            env.seal()
        except EnvValidationError as error:
            problems = dict(error.error_messages)  # type: ignore[arg-type]  # sealed: a dict
        # An invalid value is None or absent here. Only its first error is reported.
        if database_url and not jwt_secret_keys:
            problems.setdefault(
                "JWT_SECRET_KEY", [f"is required with DATABASE_URL; {KEY_GENERATION_HINT}"]
            )
        for name, message in _find_conflicts(values, trust_path_user_id=trust_path_user_id):
            problems.setdefault(name, [message])
        if problems:
            raise SettingsError(problems)
        if database_url:
            return cls(
                **values,
                database_url=to_engine_url(database_url),
                embedded_postgres_dir=None,
                jwt_secret_keys=jwt_secret_keys,
            )
        try:
            jwt_secret_keys = jwt_secret_keys or (devdb.load_signing_key(embedded_dir),)
        except OSError as error:
            reason = f"cannot be used: {error.filename}: {error.strerror}."
            raise SettingsError({"EMBEDDED_POSTGRES_DIR": [reason]}) from None
        except devdb.EmbeddedPostgresError as error:
            raise SettingsError({"EMBEDDED_POSTGRES_DIR": [str(error)]}) from None
        return cls(
            **values,
            database_url=devdb.url(embedded_dir),
            embedded_postgres_dir=embedded_dir,
            jwt_secret_keys=jwt_secret_keys,
        )


def _find_conflicts(
    values: dict[str, Any], *, trust_path_user_id: bool
) -> Iterator[tuple[str, str]]:
    """Yield name and message for each valid setting that conflicts with another one."""
    mode = values["auth_mode"]
    needed = _REQUIRED_AUTH_MODES.get(values["contract"], mode)
    if mode != needed:
        yield "CONTRACT", f"{values['contract']} needs AUTH_MODE={needed}: its accounts are there."
    # Behind a proxy, a loopback HOST does not limit which clients reach the service.
    is_exposed = not is_loopback(values["host"] or "") or bool(values["trusted_proxies"])
    if mode == "path" and is_exposed and not trust_path_user_id:
        yield (
            "TRUST_PATH_USER_ID",
            "must be yes for AUTH_MODE=path with a HOST other than loopback, or behind a "
            "proxy: every client that reaches the port can act as any user. Only a gateway that "
            "authenticates the requests may reach it.",
        )
    if values["cookie_secure"] is False and is_exposed:
        yield (
            "COOKIE_SECURE",
            "may be no only if HOST is loopback and no proxy is in front; on the network the "
            "cookie could be read in transit.",
        )
    if values["cookie_samesite"] == "none" and values["cookie_secure"] is False:
        yield "COOKIE_SAMESITE", "none needs COOKIE_SECURE=yes; browsers drop the cookie otherwise."
    if (values["access_token_lifetime"] or 0) > (values["refresh_token_lifetime"] or 0) > 0:
        yield "ACCESS_TOKEN_LIFETIME", "may not be longer than REFRESH_TOKEN_LIFETIME."
    if mode != "external":
        if values["external_jwks_url"] or values["external_jwt_secret"]:
            yield (
                "AUTH_MODE",
                "must be external for EXTERNAL_JWKS_URL or EXTERNAL_JWT_SECRET to have an effect.",
            )
        return
    if values["external_jwks_url"]:
        if values["external_jwt_secret"]:
            yield "EXTERNAL_JWT_SECRET", "and EXTERNAL_JWKS_URL exclude each other; set one."
        for name in ("EXTERNAL_JWT_ISSUER", "EXTERNAL_JWT_AUDIENCE"):
            if not values[name.lower()]:
                yield name, f"is required with EXTERNAL_JWKS_URL: the token's {_CLAIM_NAMES[name]}."
    elif values["external_jwt_secret"] == "":
        yield (
            "EXTERNAL_JWKS_URL",
            "or EXTERNAL_JWT_SECRET is required with AUTH_MODE=external: the URL of the issuer's "
            "keys, or the secret that it shares.",
        )
