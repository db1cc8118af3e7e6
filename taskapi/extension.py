"""Keep one typed value for each application."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from flask import Flask, current_app

T = TypeVar("T")


class Extension(Generic[T]):
    """A typed entry of `Flask.extensions`."""

    def __init__(self, name: str) -> None:
        self._key = f"taskapi.{name}"

    def set(self, app: Flask, value: T) -> None:
        """Store the value of an application."""
        app.extensions[self._key] = value

    def get(self) -> T:
        """Return the value of the current application. Raises KeyError if it has none."""
        return cast("T", current_app.extensions[self._key])

    def find(self, app: Flask | None = None) -> T | None:
        """Return the value of an application, by default the current one; None if it has none."""
        return cast("T | None", (app or current_app).extensions.get(self._key))
