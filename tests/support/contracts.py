"""The service as each contract has it, and the clients that were written from their documents."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg2
import requests
from flask import Flask
from sqlalchemy import make_url

from taskapi import create_app, devdb
from taskapi.db.base import db
from tests.support.people import PASSWORD, Caller, bearer, outsider, register
from tests.support.service import ROOT, Service, make_settings, running_service

ORIGIN = "http://localhost:3000"
"""One of CORS_ORIGINS by default."""

SECRET = secrets.token_urlsafe(48)
"""Signs the tokens of the service's own accounts, or of the issuer outside."""

_SETTINGS = {
    "path": {"AUTH_MODE": "path"},
    "native": {},
    "b": {"CONTRACT": "b"},
    "external": {"AUTH_MODE": "external", "EXTERNAL_JWT_SECRET": SECRET},
    "c": {"CONTRACT": "c", "AUTH_MODE": "external", "EXTERNAL_JWT_SECRET": SECRET},
}
MODES = tuple(_SETTINGS)

NO_DATABASE = {
    "ready": "/health/live",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
}


@dataclass
class Owner:
    """A user of a running service, and what a request of theirs carries."""

    id: str
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.token) if self.token else {}


@dataclass
class Server:
    """A running service in one of `MODES`, with its data below `directory`."""

    mode: str
    service: Service
    directory: Path

    @property
    def url(self) -> str:
        return self.service.url

    def new_owner(self, name: str) -> Owner:
        if self.mode == "path":
            return Owner(name, None)
        if self.mode in ("external", "c"):
            return Owner(name, sign(name))
        body = {"email": f"{name}@example.com", "password": PASSWORD}
        answer = requests.post(f"{self.url}/auth/register", json=body, timeout=20)
        answer.raise_for_status()
        return Owner(answer.json()["user"]["id"], answer.json()["access_token"])

    def create_task(self, owner: Owner) -> dict[str, Any]:
        url = f"{self.url}/api/{owner.id}/tasks"
        answer = requests.post(url, json={"title": "a"}, headers=owner.headers, timeout=20)
        answer.raise_for_status()
        task: dict[str, Any] = answer.json()
        return task

    def fill(self, owner: Owner, count: int) -> None:
        """Give the owner so many tasks in all."""
        self.create_task(owner)
        self.sql(
            "INSERT INTO tasks (user_id, id, title, description, version)"
            " SELECT %s, gen_random_uuid(), 'Task ' || n, repeat('text ', 20), 1000 + n"
            "   FROM generate_series(2, %s) AS n",
            (owner.id, count),
        )

    def sql(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        url = make_url(devdb.url(self.directory / "postgres")).set(drivername="postgresql")
        connection = psycopg2.connect(url.render_as_string(hide_password=False))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
        connection.close()

    def run_client(self, contract: str, **environment: str | None) -> str:
        """Run the client of contract a, b or c; return the line in which it says what held."""
        variables = {"BASE": self.url, "ORIGIN": ORIGIN, **environment}
        finished = subprocess.run(
            ["node", ROOT / "tests" / "clients" / f"contract_{contract}.mjs"],
            env=os.environ | {name: value for name, value in variables.items() if value},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()


@contextmanager
def application(database_url: str, contract: str, **settings: Any) -> Iterator[Flask]:
    """Make the application that speaks as a contract, or natively."""
    if contract == "c":
        settings = {"auth_mode": "external", "external_jwt_secret": SECRET, **settings}
    app = create_app(make_settings(database_url=database_url, contract=contract, **settings))
    yield app
    with app.app_context():
        db.engine.dispose()


def new_user(app: Flask, name: str) -> Caller:
    """Make a user of an application, with an account there or at the issuer."""
    if app.config["AUTH_MODE"] == "external":
        return outsider(app, SECRET, name)
    return register(app, f"{name}@example.com")


@contextmanager
def running(mode: str, directory: Path, **settings: Any) -> Iterator[Server]:
    """Run the service in one of `MODES`."""
    settings = {"JWT_SECRET_KEY": SECRET, **_SETTINGS[mode], **settings}
    with running_service(directory, **settings) as service:
        yield Server(mode, service, directory)


def sign(user_id: str, **claims: Any) -> str:
    """Sign a token as the issuer of contract C's accounts."""
    now = int(time.time())
    return jwt.encode({"sub": user_id, "iat": now, "exp": now + 900, **claims}, SECRET, "HS256")


def expire(token: str | None) -> str | None:
    """Sign a token's claims anew, such that it expired a second ago."""
    if token is None:
        return None
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    earlier = claims["exp"] - int(time.time()) + 1
    moved = {name: claims[name] - earlier for name in ("iat", "nbf", "exp") if name in claims}
    return jwt.encode(claims | moved, SECRET, "HS256")
