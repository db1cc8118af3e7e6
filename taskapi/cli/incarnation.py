"""`flask renew-incarnation`: begin a new incarnation after a recovery outside taskapi."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from taskapi.cli.database import running_database
from taskapi.db.incarnations import begin_incarnation


def init_app(app: Flask) -> None:
    """Register the command."""
    app.cli.add_command(renew_incarnation)


@click.command("renew-incarnation")
@with_appcontext
def renew_incarnation() -> None:
    """Begin a new incarnation after the database returned to an earlier state.

    Run it after a point-in-time recovery, a failover that may have lost transactions, and any
    other return to an earlier state; `flask restore` does it by itself. The change numbers of lost
    changes are not assigned again: their entity tags and cursors are refused, and clients that
    follow the change feed start again (410). No data are lost; writes wait for a moment.
    """
    with running_database():
        first_change = begin_incarnation()
    click.echo(f"A new incarnation has begun, with change {first_change}.")
