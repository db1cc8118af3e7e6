"""What an operator does now and then: look after it, save it, bring it back, throw things away."""

from __future__ import annotations

from flask import Flask

from taskapi.config import Settings
from taskapi.upkeep import backup, doctor, incarnation, purge


def init_app(app: Flask, settings: Settings) -> None:
    """Add the commands."""
    doctor.init_app(app, settings)
    backup.init_app(app, settings)
    incarnation.init_app(app)
    purge.init_app(app)
