"""What the service answers, against what its OpenAPI document says that it answers."""

from __future__ import annotations

import os
import secrets
from typing import Any
from uuid import UUID

import pytest
import requests
import schemathesis

from taskapi import create_app
from taskapi.openapi import build_document
from tests.service import make_settings, running_service

pytestmark = pytest.mark.service

PLACEHOLDER = "Bearer a-token-that-fits"


def load_schema() -> schemathesis.BaseSchema:
    """Describe the service without running it: pytest collects before anything runs."""
    config = schemathesis.Config.from_dict({})  # Of no schemathesis.toml that lies around.
    # Without a search at length the cases are the same in every run: a failure then is a
    # change of ours and not bad luck.
    at_length = os.environ.get("FUZZ_EXAMPLES")
    config.projects.default.generation.update(
        max_examples=int(at_length or 25), deterministic=not at_length
    )
    app = create_app(make_settings(database_url="postgresql+psycopg2://127.0.0.1:9/none"))
    return schemathesis.openapi.from_dict(build_document(app), config=config)


schema = load_schema()


@schema.auth(refresh_interval=None)
class Placeholder:
    """Marks the cases that are to have a good token; the others are about bad ones."""

    def get(self, _case: Any, context: schemathesis.AuthContext) -> str | None:
        return PLACEHOLDER if context.operation.definition.raw["security"] else None

    def set(self, case: Any, data: str | None, _context: schemathesis.AuthContext) -> None:
        if data:
            case.headers["Authorization"] = data


class Tokens:
    """One session serves all operations but those that spend the token they are given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shared = self.open_session()["access_token"]

    def open_session(self) -> dict[str, Any]:
        email = f"{secrets.token_hex(12)}@example.com"
        body = {"email": email, "password": "correct horse battery"}
        answer = requests.post(f"{self.url}/auth/register", json=body, timeout=20)
        answer.raise_for_status()
        tokens: dict[str, Any] = answer.json()
        return tokens

    def fitting(self, path: str) -> str:
        if path == "/auth/refresh":
            return str(self.open_session()["refresh_token"])
        return str(self.open_session()["access_token"]) if path == "/auth/logout" else self.shared

    def create_task(self) -> str:
        headers = {"Authorization": f"Bearer {self.shared}"}
        answer = requests.post(
            f"{self.url}/tasks", json={"title": "Buy milk"}, headers=headers, timeout=20
        )
        answer.raise_for_status()
        return str(answer.json()["id"])


def is_uuid(text: Any) -> bool:
    try:
        return str(UUID(text)) == text
    except (AttributeError, TypeError, ValueError):
        return False


@pytest.fixture(scope="module")
def service_url(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("conformance")) as service:
        yield service.url


@pytest.fixture(scope="module")
def tokens(service_url: str) -> Tokens:
    return Tokens(service_url)


@schema.parametrize()
def test_the_service_answers_as_documented(case, service_url, tokens):
    if case.headers.get("Authorization") == PLACEHOLDER:
        case.headers["Authorization"] = f"Bearer {tokens.fitting(case.operation.path)}"
        if is_uuid(case.path_parameters.get("task_id")):
            # An id that was made up is the id of no task, and all answers would be 404.
            case.path_parameters["task_id"] = tokens.create_task()
    case.call_and_validate(base_url=service_url, timeout=20)
