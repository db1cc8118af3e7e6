"""`flask users …` and `flask tokens …`: manage accounts and sessions."""

from __future__ import annotations

import codecs
import os
import sys
from typing import IO, Any
from uuid import UUID

import click
import orjson
from flask import Flask
from flask.cli import AppGroup

from taskapi.auth import administration, service, throttle
from taskapi.auth.schemas import ImportedAccount, Registration
from taskapi.cli.database import running_database
from taskapi.exceptions import ValidationFailed
from taskapi.http.payload import load

_BATCH_ACCOUNTS = 500  # in one statement
_ACCOUNT = ImportedAccount()
_REGISTRATION = Registration()

users = AppGroup("users", help="Manage the accounts.")
tokens = AppGroup("tokens", help="Revoke tokens.")


def init_app(app: Flask) -> None:
    """Register the commands."""
    app.cli.add_command(users)
    app.cli.add_command(tokens)


@users.command()
@click.argument("email")
@click.option("--name", help="The display name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(email: str, name: str | None, password_stdin: bool) -> None:
    """Create an account for EMAIL; prompt for the password without --password-stdin."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        account = load(_REGISTRATION, {"email": email, "password": password, "name": name})
    except ValidationFailed as error:
        raise click.ClickException(_explain(error)) from None
    with running_database():
        user = service.create_account(**account)
    click.echo(user["id"])


@users.command("list")
def list_users() -> None:
    """List all accounts: id, address, name, created, active sessions, disabled; tab-separated."""
    with running_database():
        for user in administration.list_accounts():
            cells = (user["id"], user["email"], user["name"], user["created_at"], user["sessions"])
            disabled = "disabled" if user["disabled_at"] else ""
            click.echo("\t".join(_printable(cell) for cell in (*cells, disabled)))


@users.command()
@click.argument("email")
def disable(email: str) -> None:
    """End all sessions of EMAIL and refuse new logins; no data are deleted."""
    with running_database():
        administration.disable_account(email)
    click.echo("Done.")


@users.command()
@click.argument("email")
def enable(email: str) -> None:
    """Allow EMAIL to log in again."""
    with running_database():
        administration.enable_account(email)
    click.echo("Done.")


@users.command()
@click.argument("email")
def sessions(email: str) -> None:
    """List active sessions of EMAIL: id, last use, start, address, device; tab-separated."""
    with running_database():
        for session in administration.list_sessions(email):
            cells = (
                session["id"],
                session["last_used_at"],
                session["created_at"],
                session["address"],
                session["device"],
            )
            click.echo("\t".join(_printable(cell) for cell in cells))


@tokens.command()
@click.argument("email", required=False)
@click.option("--session", "session_id", type=click.UUID, help="The id of one session.")
@click.option("--all", "all_users", is_flag=True, help="The sessions of all users.")
def revoke(email: str | None, session_id: UUID | None, all_users: bool) -> None:
    """End the sessions of EMAIL, one session, or all: their tokens are refused at once."""
    if [email is not None, session_id is not None, all_users].count(True) != 1:
        raise click.UsageError("Say one of the three: EMAIL, --session or --all.")
    with running_database():
        ended = administration.end_sessions(
            email=email, session_id=str(session_id) if session_id else None
        )
    click.echo(f"{ended} sessions ended.")
    if session_id and not ended:
        raise SystemExit(1)


@users.command("import")
@click.argument("file", type=click.File("rb"))
def import_users(file: IO[bytes]) -> None:
    """Add accounts from FILE (- for standard input): a JSON object on each line.

    {"email": "ada@example.com", "password_hash": "$2b$12$…", "name": "Ada"}

    The hash is bcrypt or Argon2 and is renewed at the first login; the name is optional.
    Existing accounts are left unchanged, so a file can be imported again. An invalid line is
    reported with its number, the others are imported, and the exit status is 1.
    """
    batch: list[dict[str, Any]] = []
    refused = read = added = 0
    with running_database(), _progress(file) as progress:
        for number, line in enumerate(file, start=1):
            progress.update(len(line))
            line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 -- on the first line
            if not line.strip():
                continue
            read += 1
            try:
                batch.append(load(_ACCOUNT, orjson.loads(line)))
            except (orjson.JSONDecodeError, ValidationFailed) as error:
                refused += 1
                click.echo(f"line {number}: {_explain(error)}", err=True)
            if len(batch) == _BATCH_ACCOUNTS:
                added += service.import_accounts(batch)
                batch.clear()
        if batch:
            added += service.import_accounts(batch)
    existing = read - refused - added
    click.echo(f"{added} imported, {existing} there already, {refused} refused.")
    if refused:
        raise SystemExit(1)


@users.command()
@click.argument("email")
def unlock(email: str) -> None:
    """End the lockout of EMAIL after too many failed logins."""
    with running_database():
        throttle.unlock(administration.find_account(email)["email"])
    click.echo("Done.")


def _progress(file: IO[bytes]) -> Any:
    # The size of a pipe is unknown, so it has no progress bar.
    size = os.fstat(file.fileno()).st_size if file.seekable() else 0
    return click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=not size)


def _printable(cell: object) -> str:
    """Replace control characters, which could steer the terminal or separate cells."""
    text = "" if cell is None else str(cell)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationFailed):
        shown = [f"{fault.pointer or '/'}: {fault.detail}" for fault in error.errors]
        return " ".join(shown + [f"({error.left_out} more)"] * bool(error.left_out))
    return f"This is no JSON: {error}."
