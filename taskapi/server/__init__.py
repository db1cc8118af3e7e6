"""gunicorn worker classes that serve the application."""
