"""The cast: people who have an account and call the service with their token."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import jwt
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from taskapi.db.execute import Actor

PASSWORD = "correct horse battery"


class Caller:
    """Somebody who calls the service, with a token or without."""

    def __init__(self, client: FlaskClient, user_id: str, token: str | None) -> None:
        self.client = client
        self.id = user_id
        self.token = token
        self.path = f"/api/{quote(user_id, safe='')}/tasks"
        """Where contract A keeps their tasks."""

    def call(self, method: str, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        headers = bearer(self.token) if self.token else {}
        headers |= kwargs.pop("headers", {})
        if json is not None:
            kwargs["json"] = json
        # A stream that nobody reads would be closed whenever the garbage collector comes to it.
        kwargs.setdefault("buffered", True)
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

    def creates_by_path(self, title: str = "Buy milk", **fields: Any) -> dict[str, Any]:
        response = self.post(self.path, {"title": title, **fields})
        assert response.status_code == 201, response.text
        return json_of(response)

    def creates(self, title: str = "Buy milk", **fields: Any) -> dict[str, Any]:
        response = self.post("/tasks", {"title": title, **fields})
        assert response.status_code == 201, response.text
        return json_of(response)


class Person(Caller):
    """Somebody with an account of ours."""

    def __init__(self, client: FlaskClient, tokens: dict[str, Any]) -> None:
        super().__init__(client, tokens["user"]["id"], tokens["access_token"])
        self.tokens = tokens
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        self.session_id = claims["sid"]
        self.actor = Actor(claims["sub"], claims["sid"])


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


def outsider(app: Flask, secret: str, user_id: str, **claims: Any) -> Caller:
    """Somebody whose account is at an issuer that shares its secret with the application."""
    claims = {"sub": user_id, "exp": int(time.time()) + 600, **claims}
    return Caller(app.test_client(), user_id, jwt.encode(claims, secret, "HS256"))


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


def assert_refused(contract: str, response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is an error as a contract writes them, or natively."""
    if contract == "native":
        return assert_problem(response, status, code)
    assert response.status_code == status, response.text
    assert response.mimetype == "application/json"
    error = json_of(response)
    assert (error["status"], error["code"]) == (status, code)
    assert error["detail"][0].isupper()
    assert error["detail"].endswith((".", "`"))
    assert error["request_id"] == response.headers["X-Request-ID"]
    assert "type" not in error and "title" not in error
    if contract == "b":
        assert error["error"] == code
    else:
        assert error["error"].isupper()
        assert error["message"] == error["detail"]
        assert ("details" in error) == ("errors" in error)
    assert "Traceback" not in response.text
    return error


def assert_refused_field(response: TestResponse, pointer: str, code: str) -> None:
    problem = assert_problem(response, 422, "validation_failed")
    found = [(error["pointer"], error["code"]) for error in problem["errors"]]
    assert (pointer, code) in found, found
    assert all(error["detail"] for error in problem["errors"])
