"""`flask renew-incarnation`: after the database has gone back in time by other means than ours."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from taskapi.cli.database import running_database
from taskapi.db.incarnations import begin_incarnation


def init_app(app: Flask) -> None:
    """Add the command."""
    app.cli.add_command(renew_incarnation)


@click.command("renew-incarnation")
@with_appcontext
def renew_incarnation() -> None:
    """Begin a new incarnation of the database, after it has gone back in time.

    Run it after a recovery to a point in time, a failover that may have lost transactions, and
    every other return to an earlier state; `flask restore` does it by itself. Change numbers of
    what was lost are given out to nobody again: its tags and cursors are refused, and clients that
    follow the feed begin anew (410). Nothing else is lost by it; writes wait for a moment.
    """
    with running_database():
        first_change = begin_incarnation()
    click.echo(f"A new incarnation has begun, with change {first_change}.")
