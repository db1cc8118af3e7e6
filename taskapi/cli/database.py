"""What the commands of `flask …` have in common: a running database, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import click
from flask import Flask, current_app

from taskapi import devdb
from taskapi.db.connections import describe_error
from taskapi.exceptions import TaskapiError
from taskapi.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Remember where the data of the embedded database are, if it is that one."""
    app.extensions["taskapi.embedded"] = settings.embedded_postgres_dir


@contextmanager
def running_database() -> Iterator[None]:
    """Keep the database running, and say in one line if that cannot be."""
    directory = current_app.extensions["taskapi.embedded"]
    try:
        running: AbstractContextManager[object] = nullcontext()
        if directory:
            running = devdb.running(directory)
        with running:
            yield
    except (devdb.EmbeddedPostgresError, TaskapiError) as error:
        raise click.ClickException(describe_error(error.__cause__ or error)) from error
