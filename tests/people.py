"""The cast: people who have an account and call the service with their token."""

from __future__ import annotations

from typing import Any

import jwt
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from taskapi.database import Actor

PASSWORD = "correct horse battery"


class Person:
    def __init__(self, client: FlaskClient, tokens: dict[str, Any]) -> None:
        self.client = client
        self.tokens = tokens
        self.id = tokens["user"]["id"]
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        self.actor = Actor(claims["sub"], claims["sid"])

    def call(self, method: str, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        headers |= kwargs.pop("headers", {})
        if json is not None:
            kwargs["json"] = json
        return self.client.open(path, method=method, headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("POST", path, json, **kwargs)

    def put(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("PUT", path, json, **kwargs)

    def patch(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("PATCH", path, json, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("DELETE", path, **kwargs)

    def creates(self, title: str = "Buy milk", **fields: Any) -> dict[str, Any]:
        response = self.post("/tasks", {"title": title, **fields})
        assert response.status_code == 201, response.text
        return json_of(response)


def json_of(response: TestResponse) -> dict[str, Any]:
    body = response.json
    assert isinstance(body, dict)
    return body


def register(app: Flask, email: str, name: str | None = None) -> Person:
    client = app.test_client()
    body = {"email": email, "password": PASSWORD, "name": name}
    response = client.post("/auth/register", json=body)
    assert response.status_code == 201, response.text
    return Person(client, json_of(response))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is a problem document like every other."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    problem = json_of(response)
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:problem-type:taskapi:{code}"
    assert problem["title"]
    assert problem["detail"][0].isupper()
    assert problem["detail"].endswith((".", "`"))
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert "Traceback" not in response.text
    return problem


def assert_refused_field(response: TestResponse, pointer: str, code: str) -> None:
    problem = assert_problem(response, 422, "validation_failed")
    found = [(error["pointer"], error["code"]) for error in problem["errors"]]
    assert (pointer, code) in found, found
    assert all(error["detail"] for error in problem["errors"])
