"""`flask users …`: what an operator does with accounts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any

import click
import orjson
from flask import Flask, current_app
from flask.cli import AppGroup

from taskapi import embedded
from taskapi.auth import service, throttle
from taskapi.auth.schemas import ImportedAccount, normalise_email
from taskapi.config import Settings
from taskapi.exceptions import TaskapiError, ValidationFailed
from taskapi.operations import load

_BATCH = 500  # accounts in one statement
_ACCOUNT = ImportedAccount()

users = AppGroup("users", help="Manage the accounts.")


def init_app(app: Flask, settings: Settings) -> None:
    """Add the commands."""
    app.extensions["taskapi.embedded"] = settings.embedded_postgres_dir
    app.cli.add_command(users)


@users.command("import")
@click.argument("file", type=click.File("rb"))
def import_users(file: IO[bytes]) -> None:
    """Add accounts from FILE (- for standard input): a JSON object on each line.

    {"email": "ada@example.com", "password_hash": "$2b$12$…", "name": "Ada"}

    The hash is bcrypt's or Argon2's and is renewed at the first login; the name may be left
    out. Who has an account already keeps it as it is, so a file can be imported again. A line
    that cannot be taken is reported with its number and stops nothing; the exit status is
    then 1.
    """
    batch: list[dict[str, Any]] = []
    refused = read = added = 0
    with _database(), _progress(file) as progress:
        for number, line in enumerate(file, start=1):
            progress.update(len(line))
            if not line.strip():
                continue
            read += 1
            try:
                batch.append(load(_ACCOUNT, orjson.loads(line)))
            except (orjson.JSONDecodeError, ValidationFailed) as error:
                refused += 1
                click.echo(f"line {number}: {_explain(error)}", err=True)
            if len(batch) == _BATCH:
                added += service.import_accounts(batch)
                batch.clear()
        if batch:
            added += service.import_accounts(batch)
    there = read - refused - added
    click.echo(f"{added} imported, {there} there already, {refused} refused.")
    if refused:
        raise SystemExit(1)


@users.command()
@click.argument("email")
def unlock(email: str) -> None:
    """Let EMAIL try to log in again after too many failures."""
    with _database():
        throttle.unlock(normalise_email(email))
    click.echo("Done.")


@contextmanager
def _database() -> Iterator[None]:
    """Keep the database running, and say in one line if that cannot be."""
    directory = current_app.extensions["taskapi.embedded"]
    try:
        running: AbstractContextManager[object] = nullcontext()
        if directory:
            running = embedded.running(directory)
        with running:
            yield
    except (embedded.EmbeddedPostgresError, TaskapiError) as error:
        raise click.ClickException(str(error.__cause__ or error).strip()) from error


def _progress(file: IO[bytes]) -> Any:
    # How far it is can be said of a file, and not of a pipe.
    size = os.fstat(file.fileno()).st_size if file.seekable() else 0
    return click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=not size)


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationFailed):
        return " ".join(f"{one.pointer or '/'}: {one.detail}" for one in error.errors)
    return f"This is no JSON: {error}."
