"""Logs and metrics, independent of HTTP and the database."""
