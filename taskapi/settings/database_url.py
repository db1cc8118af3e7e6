"""Parse and validate DATABASE_URL as libpq does.

No error message repeats any part of the URL: a mistyped part may belong to the password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import psycopg2
from marshmallow import ValidationError
from psycopg2.extensions import parse_dsn
from sqlalchemy import URL

_DRIVER: Final = "postgresql+psycopg2"
_SCHEME: Final = re.compile(r"postgres(?:ql)?(?:\+psycopg2)?://")
_HOST: Final = re.compile(r"/[^@]*|[\w.:%-]*", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{0,5}", re.ASCII)

_FORM_HINT: Final = "write it as postgresql://user:password@host:5432/database."
_ESCAPING_HINT: Final = (
    "in the user's name and the password write % as %25, @ as %40, / as %2F, : as %3A, ? as %3F "
    "and # as %23."
)

# Options of Prisma and other libraries.
_FOREIGN_OPTIONS: Final = {
    "pgbouncer": "leave it out, and set PREPARE_STATEMENTS=no",
    "schema": "leave it out, and name the schema by options=-csearch_path%3Dschema",
    "connection_limit": "leave it out, and set THREADS",
    "pool_timeout": "leave it out, and set POOL_TIMEOUT",
    "socket_timeout": "leave it out, and set STATEMENT_TIMEOUT",
}
_ENUM_PARAMETERS: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "gssencmode": ("disable", "prefer", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslcertmode": ("disable", "allow", "require"),
    "sslnegotiation": ("postgres", "direct"),
}
_INTEGER_PARAMETERS: Final = (
    *("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle"),
    *("keepalives_interval", "keepalives_count"),
)


def validate_database_url(value: str) -> None:
    """Validate a PostgreSQL URL; an empty value is allowed. Raises `ValidationError`."""
    if value:
        to_engine_url(value)


def to_engine_url(value: str) -> str:
    """Convert a URL in libpq's syntax to SQLAlchemy's. Raises `ValidationError`."""
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValidationError("has white space or a line break in it; write a space as %20.")
    scheme = _SCHEME.match(value)
    if scheme is None:
        is_foreign = re.match(r"postgres(ql)?\+\w+://", value)
        fault = "names another driver" if is_foreign else "is not a PostgreSQL URL"
        raise ValidationError(f"{fault}; {_FORM_HINT}")
    rest = value[scheme.end() :]
    # As in libpq, an @ before any / ends user and password, and the password may contain a ?.
    start = rest.find("@") + 1 if "@" in rest.partition("/")[0] else 0
    target, _, options = rest[start:].partition("?")
    _validate_options(options)
    try:
        parameters = parse_dsn(f"postgresql://{rest}")
    except psycopg2.Error:
        raise ValidationError(f"cannot be read; {_ESCAPING_HINT}") from None
    if "@" in target:
        raise ValidationError(f"has an @ behind the one before the host; {_ESCAPING_HINT}")
    _validate_parameters(parameters)
    return _build_url(parameters)


def _validate_options(options: str) -> None:
    for number, option in enumerate(filter(None, options.split("&")), 1):
        try:
            parse_dsn(f"postgresql://?{option}")
        except psycopg2.Error:
            name = option.partition("=")[0]
            if name in _FOREIGN_OPTIONS:
                detail = (
                    f"has the option {name}, which libpq does not know; {_FOREIGN_OPTIONS[name]}."
                )
            else:
                detail = f"has an option, number {number}, that libpq does not know; correct it."
            raise ValidationError(detail) from None


def _validate_parameters(parameters: Mapping[str, str]) -> None:
    for name, choices in _ENUM_PARAMETERS.items():
        if parameters.get(name, choices[0]) not in choices:
            raise ValidationError(f"has an unknown {name}; choose one of {', '.join(choices)}.")
    for name in _INTEGER_PARAMETERS:
        if not re.fullmatch(r"[0-9]{1,9}", parameters.get(name, "0")):
            raise ValidationError(f"has a {name} that is not a number.")


def _build_url(parameters: dict[str, str]) -> str:
    # A hostaddr without a host serves as the host.
    hosts = parameters.pop("host", parameters.get("hostaddr", "")).split(",")
    ports = parameters.pop("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if not all(_PORT.fullmatch(port) and int(port or 1) in range(1, 65536) for port in ports):
        raise ValidationError(f"has a port that is not a number from 1 to 65535; {_ESCAPING_HINT}")
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValidationError(f"has a host that cannot be one; {_ESCAPING_HINT}")
    if len(ports) != len(hosts):
        raise ValidationError(
            "has different numbers of hosts and ports; give each host a port, or all the same one."
        )
    plain: dict[str, Any] = {}
    if len(hosts) == 1 and not hosts[0].startswith("/"):
        plain = {"host": hosts[0] or None, "port": int(ports[0]) if ports[0] else None}
    else:
        parameters["host"] = ",".join(hosts)
        if any(ports):
            parameters["port"] = ",".join(ports)
    url = URL.create(
        _DRIVER,
        username=parameters.pop("user", None),
        password=parameters.pop("password", None),
        database=parameters.pop("dbname", None),
        query=parameters,
        **plain,
    )
    return url.render_as_string(hide_password=False)
