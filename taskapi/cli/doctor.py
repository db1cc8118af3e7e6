"""`flask doctor`: check settings and surroundings, and say how to fix what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Final, NamedTuple

import click
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from limits.errors import StorageError
from limits.storage import storage_from_string
from sqlalchemy import text

from taskapi.auth import modes
from taskapi.auth.keys import fetch_keys
from taskapi.cli.backup import find_program, find_version
from taskapi.cli.database import running_database
from taskapi.db.base import db
from taskapi.db.connections import describe_error
from taskapi.db.execute import SYSTEM, execute
from taskapi.db.incarnations import find_latest
from taskapi.db.readiness import MIGRATIONS, find_isolation_gaps
from taskapi.db.server_checks import has_transaction_pooler
from taskapi.exceptions import TaskapiError
from taskapi.settings import Settings

_MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=2)
_REDIS_TIMEOUT_SECONDS: Final = 2


class Finding(NamedTuple):
    """The result of a check: its subject, whether it passed (None: a note only), and a sentence."""

    subject: str
    is_ok: bool | None
    detail: str


def init_app(app: Flask, settings: Settings) -> None:
    """Register the command."""

    @app.cli.command("doctor")
    def doctor() -> None:
        """Check settings, database, isolation, migrations, clock, Redis and issuer.

        Each line begins with OK, NOTE or WRONG. The exit status is 1 if any is WRONG.
        """
        try:
            with running_database():
                findings = list(run_checks(settings))
        except click.ClickException as error:
            findings = [Finding("database", False, error.message)]
        for finding in findings:
            word = {True: "OK", False: "WRONG", None: "NOTE"}[finding.is_ok]
            click.echo(f"{word:<6}{finding.subject}: {finding.detail}")
        if any(finding.is_ok is False for finding in findings):
            raise SystemExit(1)


def run_checks(settings: Settings) -> Iterator[Finding]:
    """Yield the findings of all checks. A check that fails with an error is a finding as well."""
    yield Finding("settings", True, f"valid; AUTH_MODE={settings.auth_mode}.")
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _database,
        _durability,
        _migrations,
        _incarnation,
        _isolation,
        _auth_mode,
        _clock,
        _connections,
        _pooler,
        _backups,
        _redis,
        _issuer,
    ]
    for check in checks:
        try:
            yield from check(settings)
        except TaskapiError as error:
            yield Finding(
                check.__name__.strip("_"), False, describe_error(error.__cause__ or error)
            )
            if check is _database:
                return


def _database(_settings: Settings) -> Iterator[Finding]:
    statement = text("""
        SELECT current_setting('server_version') AS version, current_user::text AS role,
               current_database()::text AS name
    """)
    [row] = execute(statement, acting_as=SYSTEM)
    detail = f"PostgreSQL {row['version']}, database {row['name']} as {row['role']}."
    yield Finding("database", True, detail)


def _durability(_settings: Settings) -> Iterator[Finding]:
    statement = text("""
        SELECT string_agg(name, ', ') AS names FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
    """)
    [row] = execute(statement, acting_as=SYSTEM)
    if row["names"]:
        detail = f"off: {row['names']}. A crash may lose committed writes; set it to on."
        yield Finding("durability", False, detail)
    else:
        yield Finding("durability", True, "committed writes survive a crash of the server.")


def _migrations(_settings: Settings) -> Iterator[Finding]:
    script = ScriptDirectory(str(MIGRATIONS))
    with db.engine.connect() as connection:
        connection.execution_options(acting_as=SYSTEM)
        applied = MigrationContext.configure(connection).get_current_heads()
    heads = script.get_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    if set(applied) == set(heads):
        yield Finding("migrations", True, f"up to date ({', '.join(applied)}).")
    elif set(applied) <= known:
        detail = f"at {', '.join(applied) or 'nothing'}; run `python -m taskapi --migrate-only`."
        yield Finding("migrations", False, detail)
    else:
        yield Finding("migrations", None, f"at {', '.join(applied)}, of a newer release than this.")


def _incarnation(_settings: Settings) -> Iterator[Finding]:
    latest = find_latest()
    since = f"the same since {latest.began_at}"
    if latest.has_moved is None:
        yield Finding("incarnation", None, f"{since}; the server does not disclose its identity.")
    elif latest.has_moved:
        detail = (
            "the server has been promoted, recovered or replaced since; run `flask "
            "renew-incarnation`, otherwise the numbers of lost changes are assigned again."
        )
        yield Finding("incarnation", False, detail)
    else:
        yield Finding("incarnation", True, f"{since}.")


def _isolation(_settings: Settings) -> Iterator[Finding]:
    gaps = find_isolation_gaps(db.engine)
    if gaps:
        yield Finding("isolation", False, f"{'; '.join(gaps)}. Run the migrations again.")
    else:
        yield Finding("isolation", True, "row-level security keeps users apart on every table.")


def _auth_mode(settings: Settings) -> Iterator[Finding]:
    mode, lease = settings.auth_mode, modes.read_lease()
    if lease and lease.is_live and lease.auth_mode != mode:
        detail = modes.describe_conflict(lease.auth_mode, mode)
        yield Finding("auth mode", False, detail)
    others = list(modes.describe_other_users(mode))
    for detail in others:
        yield Finding("auth mode", None, detail)
    if not others:
        yield Finding("auth mode", True, f"all users are of AUTH_MODE={mode}.")


def _clock(_settings: Settings) -> Iterator[Finding]:
    before = datetime.now(UTC)
    [row] = execute(text("SELECT clock_timestamp() AS time"), acting_as=SYSTEM)
    difference = datetime.fromisoformat(row["time"]) - before
    seconds = f"{difference.total_seconds():+.1f} s from the database's"
    if abs(difference) > _MAX_CLOCK_DIFFERENCE:
        yield Finding("clock", False, f"{seconds}; let both keep time by NTP.")
    else:
        yield Finding("clock", True, f"{seconds}.")


def _connections(settings: Settings) -> Iterator[Finding]:
    statement = text("""
        SELECT current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int AS free
    """)
    [row] = execute(statement, acting_as=SYSTEM)
    needed = settings.web_concurrency * settings.threads
    summary = f"WEB_CONCURRENCY × THREADS = {needed}, the database allows {row['free']}"
    if needed > row["free"]:
        detail = f"{summary}; lower one of the two, raise max_connections, or use PgBouncer."
        yield Finding("connections", False, detail)
    else:
        yield Finding("connections", True, f"{summary}.")


def _pooler(_settings: Settings) -> Iterator[Finding]:
    # With PREPARE_STATEMENTS=yes the database would not be ready behind such a pooler.
    if has_transaction_pooler(db.engine):
        yield Finding(
            "pooler", True, "another server for each transaction; prepared statements are off."
        )
    else:
        yield Finding("pooler", True, "each connection keeps its server.")


def _backups(settings: Settings) -> Iterator[Finding]:
    try:
        program = find_program("pg_dump", settings)
    except click.ClickException as error:
        yield Finding("backup", None, error.message)
        return
    statement = text("SELECT current_setting('server_version_num')::int / 10000 AS version")
    [server] = execute(statement, acting_as=SYSTEM)
    version = find_version(program)
    if version < server["version"]:
        detail = (
            f"{program} is of version {version} and refuses the server's {server['version']}; on "
            f"Debian and Ubuntu: apt-get install postgresql-client-{server['version']}."
        )
        yield Finding("backup", False, detail)
    else:
        yield Finding("backup", True, f"{program} is there, of version {version}.")


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.rate_limit_storage_url:
        return
    storage = storage_from_string(
        settings.rate_limit_storage_url,
        wrap_exceptions=True,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
    )
    try:
        is_there = storage.check()
    except StorageError:
        is_there = False
    if is_there:
        yield Finding("redis", True, "it answers.")
    else:
        detail = "it does not answer; until it does, each process counts rate limits for itself."
        yield Finding("redis", False, detail)


def _issuer(settings: Settings) -> Iterator[Finding]:
    if not settings.external_jwks_url:
        return
    started = time.monotonic()
    try:
        keys = fetch_keys(settings.external_jwks_url)
    except (OSError, HTTPException, ValueError) as error:
        detail = f"EXTERNAL_JWKS_URL does not answer with a set of keys ({type(error).__name__})."
        yield Finding("issuer", False, detail)
        return
    seconds = time.monotonic() - started
    yield Finding("issuer", bool(keys), f"{len(keys)} usable keys, in {seconds:.1f} s.")
