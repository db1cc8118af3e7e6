"""What gunicorn serves and `flask --app wsgi` works on."""

from taskapi import create_app

app = create_app()
