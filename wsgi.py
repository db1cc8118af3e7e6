"""What gunicorn serves and `flask --app wsgi` works on."""

import click

from taskapi import create_app
from taskapi.settings import SettingsError

try:
    app = create_app()
except SettingsError as error:
    # For `flask`, which says it in one line; gunicorn's configuration has said it before.
    raise click.ClickException(f"these settings are wrong:\n{error}") from None
