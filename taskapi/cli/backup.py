"""`flask backup` and `flask restore`: all data, in pg_dump's custom format."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import flask_migrate
from flask import Flask
from sqlalchemy import text

from taskapi import devdb
from taskapi.cli.database import running_database
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, ensure_ready, execute
from taskapi.db.incarnations import begin_incarnation
from taskapi.settings import Settings

_DEBIAN_CLUSTERS: Final = Path("/usr/lib/postgresql")
_LOCK_TIMEOUT: Final = "10s"

# The lock keeps out changes between reading the last change number and the start of the new
# incarnation in the same transaction. A file from before incarnations starts one afterwards.
_STORE_LAST_CHANGE: Final = """
    LOCK TABLE users IN ACCESS EXCLUSIVE MODE;
    SELECT set_config('taskapi.last_change', coalesce(max(change_seq), 0)::text, true) FROM users;
"""
_DROP_FUNCTIONS: Final = """
    DO $$
    DECLARE
      of_taskapi regprocedure;
    BEGIN
      FOR of_taskapi IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND starts_with(proname, 'taskapi_')
      LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', of_taskapi);
      END LOOP;
    END $$
"""
_BEGIN_INCARNATION: Final = """
    RESET search_path;
    DO $$ BEGIN
      IF to_regprocedure('taskapi_begin_incarnation(bigint)') IS NOT NULL THEN
        PERFORM taskapi_begin_incarnation(current_setting('taskapi.last_change')::bigint + 1);
      END IF;
    END $$
"""
_HAS_INCARNATIONS: Final = text(
    "SELECT to_regprocedure('taskapi_begin_incarnation(bigint)') IS NOT NULL AS has_incarnations"
)
_IRREGULAR_VARIABLES: Final = {
    "dbname": "PGDATABASE",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def init_app(app: Flask, settings: Settings) -> None:
    """Register the commands."""

    @app.cli.command("backup")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @click.option("--force", is_flag=True, help="Replace FILE if it exists.")
    def backup(file: Path, force: bool) -> None:
        """Write all data to FILE, readable by its owner alone.

        The service may run meanwhile: the file is a consistent snapshot. It is as confidential
        as the database itself.
        """
        if os.path.lexists(file) and not force:
            raise click.ClickException(f"{file} is there already; choose another, or --force.")
        with _replace_atomically(file) as draft, running_database():
            options = ("--format=custom", "--no-owner", f"--lock-wait-timeout={_LOCK_TIMEOUT}")
            _run_program("pg_dump", settings, *options, f"--file={draft}")
        click.echo(f"{file}: {file.stat().st_size / 1024:,.0f} KiB.")

    @app.cli.command("restore")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
    def restore(file: Path, yes: bool) -> None:
        """Replace all data by those of FILE, in one transaction.

        The database may be empty or in use: requests wait meanwhile, or are answered with 503.
        A file of an older release is migrated afterwards.
        """
        with running_database():
            ensure_ready()
            [row] = execute(text("SELECT count(*) AS users FROM users"), acting_as=SYSTEM)
            if not yes:
                question = f"This replaces all data of {row['users']} users. Go on?"
                click.confirm(question, abort=True)
            with tempfile.NamedTemporaryFile(suffix=".sql") as script:
                # Convert to a script first: a truncated file must not be restored in part.
                _run_program(
                    "pg_restore", settings, "--no-owner", f"--file={script.name}", str(file)
                )
                _remove_transaction_timeout(Path(script.name))
                _run_program(
                    "psql",
                    settings,
                    *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"),
                    *(f"--command={_build_drop_sql()}", f"--file={script.name}"),
                    f"--command={_BEGIN_INCARNATION}",
                )
            db.engine.dispose()  # Their prepared statements are stale.
            [row] = execute(_HAS_INCARNATIONS, acting_as=SYSTEM)
            flask_migrate.upgrade()
            if not row["has_incarnations"]:
                begin_incarnation()
            [row] = execute(text("SELECT count(*) AS users FROM users"), acting_as=SYSTEM)
        click.echo(f"Done: {row['users']} users.")


@contextmanager
def _replace_atomically(file: Path) -> Iterator[Path]:
    """Yield the path of a draft that replaces `file` at the end, unless an exception is raised.

    The draft is in a new private directory, so that another user cannot place a link or a file to
    be written to. Raises `click.ClickException` if the directory cannot be created.
    """
    try:
        directory = tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        detail = f"{file} cannot be written ({error.strerror}); choose another place."
        raise click.ClickException(detail) from None
    with directory as name:
        draft = Path(name) / "draft"
        draft.touch(0o600)
        yield draft
        draft.replace(file)


def _remove_transaction_timeout(script: Path) -> None:
    # pg_restore 17 and newer sets transaction_timeout to its default. Older servers refuse it.
    with script.open("r+b") as file:
        head = file.read(4096)
        file.seek(0)
        file.write(head.replace(b"\nSET transaction_timeout ", b"\n--- transaction_timeout ", 1))


def _build_drop_sql() -> str:
    # All tables of this release, which may be more than the file has, and all functions.
    tables = ", ".join(f'"{name}"' for name in (*db.metadata.tables, "alembic_version"))
    return f"{_STORE_LAST_CHANGE} DROP TABLE IF EXISTS {tables} CASCADE; {_DROP_FUNCTIONS}"


def find_program(name: str, settings: Settings) -> Path:
    """Return the path of a PostgreSQL program. Raises `click.ClickException` if it is missing."""
    if settings.embedded_postgres_dir:
        return devdb.program_dir() / name
    # Debian's wrapper in the PATH selects the version of a local cluster.
    newest = sorted(_DEBIAN_CLUSTERS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = newest[-1] if newest else shutil.which(name)
    if not found:
        detail = f"{name} is missing; on Debian and Ubuntu: apt-get install postgresql-client."
        raise click.ClickException(detail)
    return Path(found)


def find_version(program: Path) -> int:
    """Return the major version of a PostgreSQL program, or 0 if it is unknown."""
    finished = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\(PostgreSQL\) (\d+)", finished.stdout)
    return int(version[1]) if version else 0


def _run_program(program: str, settings: Settings, *arguments: str) -> None:
    finished = subprocess.run(
        [find_program(program, settings), *arguments],
        env={**os.environ, **_libpq_environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise click.ClickException(finished.stderr.strip())


def _libpq_environment() -> dict[str, str]:
    """Return libpq's environment variables; other users could read a process's arguments."""
    engine = db.engine
    _, parameters = engine.dialect.create_connect_args(engine.url)
    # libpq has a variable for each parameter: PGSSLMODE is sslmode.
    variables = {
        _IRREGULAR_VARIABLES.get(name, f"PG{name.replace('_', '').upper()}"): str(value)
        for name, value in parameters.items()
    }
    options = f"{variables.get('PGOPTIONS', '')} -c lock_timeout={_LOCK_TIMEOUT}"
    return {**variables, "PGOPTIONS": options}
