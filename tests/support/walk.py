"""Every operation of the contract once, in an order in which each is answered with success."""

from __future__ import annotations

import secrets
from typing import Any

import requests

PASSWORD = "correct horse battery"


class Walk:
    """Somebody who goes through all that a service says it has, and leaves nothing behind."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""
        self.user_id = ""
        paths = requests.get(f"{url}/openapi.json", timeout=10).json()["paths"]
        self.documented = {f"{m.upper()} {path}" for path, item in paths.items() for m in item}
        self.walked: set[str] = set()

    def call(self, operation: str, json: Any = None, query: str = "", **given: Any) -> Any:
        """Ask for an operation, unless this release does not know it; return what is answered."""
        method, path = operation.split()
        if operation not in self.documented:
            return {}
        headers = {"Authorization": f"Bearer {given.pop('token', self.token)}"}
        headers |= given.pop("headers", {})
        body = {"data": given.pop("data")} if "data" in given else {"json": json}
        url = self.url + path.format(user_id=self.user_id, **given) + query
        answer = requests.request(method, url, headers=headers, timeout=30, **body)
        assert answer.ok, (operation, answer.status_code, answer.text)
        self.walked.add(operation)
        is_json = answer.headers.get("Content-Type") == "application/json"
        return answer.json() if is_json else answer.text

    def go(self) -> None:
        """Go through all of it; fail where something is left out."""
        for path in ("/", "/health", "/health/live", "/docs", "/openapi.json", "/metrics"):
            self.call(f"GET {path}")
        self.account()
        self.tasks()
        self.tasks_by_user()
        self.trash()
        self.leave()
        assert self.documented - self.walked == set()

    def account(self) -> None:
        login = {"email": f"{secrets.token_hex(8)}@example.com", "password": PASSWORD}
        opened = self.call("POST /auth/register", {**login, "name": "Ada"})
        self.user_id = opened["user"]["id"]
        refreshed = self.call("POST /auth/refresh", token=opened["refresh_token"])
        self.token = refreshed["access_token"]
        assert self.call("GET /auth/me")["email"] == login["email"]
        assert self.call("PATCH /auth/me", {"name": "Ada L."})["name"] == "Ada L."
        self.call("POST /auth/login", login)
        sessions = self.call("GET /auth/sessions")["sessions"]
        [other] = [one["id"] for one in sessions if not one["current"]]
        self.call("DELETE /auth/sessions/{session_id}", session_id=other)
        changed = {"current_password": PASSWORD, "new_password": f"{PASSWORD} staple"}
        self.call("POST /auth/password", changed)
        login["password"] = changed["new_password"]
        self.call("POST /auth/logout")
        self.token = self.call("POST /auth/login", login)["access_token"]

    def tasks(self) -> None:
        once = {"Idempotency-Key": secrets.token_hex()}
        for _ in range(2):
            first = self.call("POST /tasks", {"title": "Buy milk"}, headers=once)
        second = self.call("POST /tasks", {"title": "Call Grace", "order": 7})
        found = self.call("GET /tasks", query="?q=milk&sort=title&include=total")
        assert [one["id"] for one in found["tasks"]] == [first["id"]]
        one: dict[str, Any] = {"task_id": first["id"]}
        is_current = {"If-Match": f'"{first["version"]}"'}
        self.call("PATCH /tasks/{task_id}", {"description": "Oat"}, headers=is_current, **one)
        self.call("PUT /tasks/{task_id}", {"title": "Buy oats", "order": 3}, **one)
        self.call("PATCH /tasks/{task_id}/complete", {"completed": True}, **one)
        self.call("POST /tasks/{task_id}/move", {"after": second["id"]}, **one)
        assert self.call("GET /tasks/{task_id}", **one)["completed"] is True
        operations = [
            {"op": "create", "data": {"title": "Post the letter"}},
            {"op": "update", "id": second["id"], "data": {"title": "Call Grace back"}},
        ]
        results = self.call("POST /tasks/batch", {"operations": operations})["results"]
        assert [one["status"] for one in results] == [201, 200]
        exported = self.call("GET /tasks/export")
        assert len(exported) == 3
        assert self.call("POST /tasks/import", exported)["created"] == 0
        changes = self.call("GET /tasks/changes")
        assert {change["task"]["id"] for change in changes["changes"]} >= {first["id"]}
        self.call("DELETE /tasks/{task_id}", task_id=second["id"])
        since = f"?since={changes['next']}"
        [gone] = self.call("GET /tasks/changes", query=since)["changes"]
        assert gone["op"] == "delete"

    def tasks_by_user(self) -> None:
        here = "/api/{user_id}/tasks"
        task = self.call(f"POST {here}", {"title": "Buy milk"})
        one: dict[str, Any] = {"task_id": task["id"]}
        assert task in self.call(f"GET {here}")
        self.call(f"PUT {here}/{{task_id}}", {"title": "Buy oats", "description": "Two"}, **one)
        self.call(f"PATCH {here}/{{task_id}}/complete", **one)
        assert self.call(f"GET {here}/{{task_id}}", **one)["completed"] is True
        self.call(f"DELETE {here}/{{task_id}}", **one)

    def trash(self) -> None:
        [last, before] = self.call("GET /trash")["tasks"]
        self.call("POST /trash/{task_id}/restore", task_id=last["id"])
        self.call("DELETE /trash/{task_id}", task_id=before["id"])
        self.call("DELETE /trash")
        assert self.call("GET /trash")["tasks"] == []

    def leave(self) -> None:
        self.call("DELETE /auth/me", {"password": f"{PASSWORD} staple"})
