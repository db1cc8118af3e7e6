"""`flask users …`: what an operator does with accounts."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

import click
import orjson
from flask import Flask
from flask.cli import AppGroup

from taskapi.auth import service, throttle
from taskapi.auth.schemas import ImportedAccount, normalise_email
from taskapi.cli import running_database
from taskapi.exceptions import ValidationFailed
from taskapi.operations import load

_BATCH = 500  # accounts in one statement
_ACCOUNT = ImportedAccount()

users = AppGroup("users", help="Manage the accounts.")


def init_app(app: Flask) -> None:
    """Add the commands."""
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
    with running_database(), _progress(file) as progress:
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
    with running_database():
        throttle.unlock(normalise_email(email))
    click.echo("Done.")


def _progress(file: IO[bytes]) -> Any:
    # How far it is can be said of a file, and not of a pipe.
    size = os.fstat(file.fileno()).st_size if file.seekable() else 0
    return click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=not size)


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationFailed):
        return " ".join(f"{one.pointer or '/'}: {one.detail}" for one in error.errors)
    return f"This is no JSON: {error}."
