"""Provide the commands of `flask …` with a running database."""

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
    """Store the data directory of the embedded PostgreSQL, None for an external one."""
    app.extensions["taskapi.embedded"] = settings.embedded_postgres_dir


@contextmanager
def running_database() -> Iterator[None]:
    """Keep the database running. Raises `click.ClickException` if it is unavailable."""
    directory = current_app.extensions["taskapi.embedded"]
    try:
        running: AbstractContextManager[object] = nullcontext()
        if directory:
            running = devdb.running(directory)
        with running:
            yield
    except (devdb.EmbeddedPostgresError, TaskapiError) as error:
        raise click.ClickException(describe_error(error.__cause__ or error)) from error
