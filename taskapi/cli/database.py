"""Provide the commands of `flask …` with a running database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import click
from flask import Flask

from taskapi import devdb
from taskapi.db.connections import describe_error
from taskapi.exceptions import TaskapiError
from taskapi.extension import Extension
from taskapi.settings import Settings

_DATA_DIRECTORY: Final[Extension[Path | None]] = Extension("embedded")


def init_app(app: Flask, settings: Settings) -> None:
    """Store the data directory of the embedded PostgreSQL, None for an external one."""
    _DATA_DIRECTORY.set(app, settings.embedded_postgres_dir)


@contextmanager
def running_database() -> Iterator[None]:
    """Keep the database running. Raises `click.ClickException` if it is unavailable."""
    directory = _DATA_DIRECTORY.get()
    try:
        running: AbstractContextManager[object] = nullcontext()
        if directory:
            running = devdb.running(directory)
        with running:
            yield
    except (devdb.EmbeddedPostgresError, TaskapiError) as error:
        raise click.ClickException(describe_error(error.__cause__ or error)) from error
