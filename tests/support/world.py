"""Ada, with all that a documented request of hers needs, in a database of its own."""

from __future__ import annotations

import json
import secrets
from typing import Any

import psycopg2
import requests

from taskapi.tasks.schemas import EXAMPLE_ANCHOR, EXAMPLE_ID
from tests.support.replay import Operation, Request
from tests.support.service import ROOT

SECRET = secrets.token_urlsafe(48)
PASSWORD = "correct horse battery"
DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text())


class World:
    """A service, its database, and Ada with what a request of hers needs."""

    def __init__(self, urls: dict[str, str], database: str) -> None:
        self.url = urls["usual"]
        self.urls = urls
        self.database = database
        self.secret = SECRET

    def begin(self, operation: Operation) -> None:
        """Begin anew, with what the operation is about."""
        self.sql("TRUNCATE users, login_attempts CASCADE")
        self.operation = operation
        if operation.id == "auth_register":
            return
        self.register()
        self.task_id = self.anchor_id = ""
        if "/tasks" in operation.path and str(operation) != "POST /tasks/import":
            self.task_id = self.create_task()
        if operation.path.startswith("/trash"):
            self.task_id = self.create_task()
            self.throw_away()
        if operation.id == "tasks_move_task":
            # So far before the task that it comes to be where it was.
            self.anchor_id = self.create_task(order=-(2**16))
        if operation.id in ("tasks_create_task", "tasks_by_user_create_task_of_user"):
            self.sql("DELETE FROM tasks")

    def register(self) -> None:
        """Give Ada an account, if she has none."""
        if self.sql("SELECT id FROM users"):
            return
        self.tokens = self.post(
            "/auth/register",
            {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"},
            {"User-Agent": self.device},
        )
        self.user_id = self.tokens["user"]["id"]

    @property
    def device(self) -> str:
        schema = DOCUMENT["components"]["schemas"]["OpenSession"]
        return str(schema["properties"]["device"]["examples"][0])

    def create_task(self, **fields: Any) -> str:
        body = {"title": "Buy milk", "description": "Oat, two of them", **fields}
        return str(self.post("/tasks", body, self.bearer())["id"])

    def throw_away(self) -> None:
        path = f"{self.url}/tasks/{self.task_id}"
        requests.delete(path, headers=self.bearer(), timeout=20).raise_for_status()

    def open_session(self) -> dict[str, Any]:
        return self.post("/auth/login", {"email": "ada@example.com", "password": PASSWORD})

    def bearer(self, kind: str = "access") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[f'{kind}_token']}"}

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        answer = requests.post(self.url + path, json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def sql(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.database)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def request(self, media: str | None = None) -> Request:
        """Make the documented request, with the ids of what is really there."""
        request = self.operation.request(media)
        if self.operation.described["security"]:
            kind = next(iter(self.operation.described["security"][0]))
            request.headers |= self.bearer(kind)
        request.ids = {
            name: getattr(self, name)
            for name in ("task_id", "user_id")
            if f"{{{name}}}" in self.operation.path
        }
        if "{session_id}" in self.operation.path:
            self.open_session()
            [(session_id,)] = self.sql("SELECT id::text FROM sessions ORDER BY id DESC LIMIT 1")
            request.ids["session_id"] = session_id
        if self.operation.id != "transfer_import_file":
            request.body = self._with_real_ids(request.body)
        return request

    def _with_real_ids(self, body: Any) -> Any:
        if isinstance(body, dict):
            return {name: self._with_real_ids(one) for name, one in body.items()}
        if isinstance(body, list):
            return [self._with_real_ids(one) for one in body]
        real = {EXAMPLE_ID: getattr(self, "task_id", ""), EXAMPLE_ANCHOR: ""}
        if body == EXAMPLE_ANCHOR:
            return self.anchor_id
        return real.get(body, body) if isinstance(body, str) else body
