"""`flask backup` and `flask restore`: everything, in the custom format of pg_dump."""

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

_DEBIAN: Final = Path("/usr/lib/postgresql")
_LOCK_TIMEOUT: Final = "10s"

# No change may be counted between the last one that is looked at and the first one of the new
# incarnation, which begins in the same transaction, unless the file is of before there were any.
_REMEMBER_LAST_CHANGE: Final = """
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
_KNOWS_INCARNATIONS: Final = text(
    "SELECT to_regprocedure('taskapi_begin_incarnation(bigint)') IS NOT NULL AS knows"
)
_IRREGULAR_VARIABLES: Final = {
    "dbname": "PGDATABASE",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def init_app(app: Flask, settings: Settings) -> None:
    """Add the commands."""

    @app.cli.command("backup")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @click.option("--force", is_flag=True, help="Replace FILE if it is there.")
    def backup(file: Path, force: bool) -> None:
        """Write all data to FILE, which nobody else may read.

        The service may run meanwhile: the file has the data of one moment. What it holds is
        as secret as the database itself.
        """
        if os.path.lexists(file) and not force:
            raise click.ClickException(f"{file} is there already; choose another, or --force.")
        with _draft_of(file) as draft, running_database():
            options = ("--format=custom", "--no-owner", f"--lock-wait-timeout={_LOCK_TIMEOUT}")
            _run("pg_dump", settings, *options, f"--file={draft}")
        click.echo(f"{file}: {file.stat().st_size / 1024:,.0f} KiB.")

    @app.cli.command("restore")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def restore(file: Path, yes: bool) -> None:
        """Replace all data by those of FILE, all of them or none.

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
                # As a script first: a file that breaks off must not be half restored.
                _run("pg_restore", settings, "--no-owner", f"--file={script.name}", str(file))
                _fit_older_servers(Path(script.name))
                _run(
                    "psql",
                    settings,
                    *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"),
                    *(f"--command={_drop_everything()}", f"--file={script.name}"),
                    f"--command={_BEGIN_INCARNATION}",
                )
            db.engine.dispose()  # What the connections had prepared is gone.
            [row] = execute(_KNOWS_INCARNATIONS, acting_as=SYSTEM)
            flask_migrate.upgrade()
            if not row["knows"]:
                begin_incarnation()
            [row] = execute(text("SELECT count(*) AS users FROM users"), acting_as=SYSTEM)
        click.echo(f"Done: {row['users']} users.")


@contextmanager
def _draft_of(file: Path) -> Iterator[Path]:
    """Yield the path of a draft that becomes `file` at the end, or nothing if something fails.

    It lies in a new directory that is closed to others, so that nothing which another user has
    laid is written through.
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


def _fit_older_servers(script: Path) -> None:
    # A pg_restore of 17 or newer sets, to what it is already, what a server before 17 refuses.
    with script.open("r+b") as file:
        head = file.read(4096)
        file.seek(0)
        file.write(head.replace(b"\nSET transaction_timeout ", b"\n--- transaction_timeout ", 1))


def _drop_everything() -> str:
    # The tables of this release, which may be more than those of the file; the functions of all.
    tables = ", ".join(f'"{name}"' for name in (*db.metadata.tables, "alembic_version"))
    return f"{_REMEMBER_LAST_CHANGE} DROP TABLE IF EXISTS {tables} CASCADE; {_DROP_FUNCTIONS}"


def find_program(name: str, settings: Settings) -> Path:
    """Return where a program of PostgreSQL is. Raises `click.ClickException`."""
    if settings.embedded_postgres_dir:
        return devdb.program_dir() / name
    # Debian's own command in the path looks for the version of a local cluster.
    newest = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = newest[-1] if newest else shutil.which(name)
    if not found:
        detail = f"{name} is missing; on Debian and Ubuntu: apt-get install postgresql-client."
        raise click.ClickException(detail)
    return Path(found)


def find_version(program: Path) -> int:
    """Return the major version of a program of PostgreSQL; 0 where it does not say."""
    finished = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\(PostgreSQL\) (\d+)", finished.stdout)
    return int(version[1]) if version else 0


def _run(program: str, settings: Settings, *arguments: str) -> None:
    finished = subprocess.run(
        [find_program(program, settings), *arguments],
        env={**os.environ, **_connection()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise click.ClickException(finished.stderr.strip())


def _connection() -> dict[str, str]:
    """Name the database in libpq's environment: the arguments of a process are for all to see."""
    engine = db.engine
    _, parameters = engine.dialect.create_connect_args(engine.url)
    # libpq has a variable for each parameter: PGSSLMODE is sslmode.
    variables = {
        _IRREGULAR_VARIABLES.get(name, f"PG{name.replace('_', '').upper()}"): str(value)
        for name, value in parameters.items()
    }
    options = f"{variables.get('PGOPTIONS', '')} -c lock_timeout={_LOCK_TIMEOUT}"
    return {**variables, "PGOPTIONS": options}
