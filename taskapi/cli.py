"""What the commands of `flask …` have in common: a running database, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import click
from flask import Flask, current_app

from taskapi import embedded
from taskapi.config import Settings
from taskapi.connections import explain
from taskapi.exceptions import TaskapiError


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
            running = embedded.running(directory)
        with running:
            yield
    except (embedded.EmbeddedPostgresError, TaskapiError) as error:
        raise click.ClickException(explain(error.__cause__ or error)) from error
