"""Logs and metrics; knows no HTTP and no database."""
