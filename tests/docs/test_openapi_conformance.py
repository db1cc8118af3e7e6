"""What the service answers, against what its OpenAPI document says that it answers."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
import requests
import schemathesis

from taskapi import create_app
from taskapi.openapi import build_document
from taskapi.tasks.words import words
from tests.support.nginx import BINARY, service_behind_nginx
from tests.support.service import make_settings, running_service

pytestmark = pytest.mark.service

SECRET = "a secret that the issuer and we share"
PLACEHOLDER = "Bearer a-token-that-fits"


def load_schema(auth_mode: str, examples: int, contract: str = "native") -> schemathesis.BaseSchema:
    """Describe the service without running it: pytest collects before anything runs."""
    config = schemathesis.Config.from_dict({})  # Of no schemathesis.toml that lies around.
    # Without a search at length the cases are the same in every run: a failure then is a
    # change of ours and not bad luck.
    at_length = os.environ.get("AT_LENGTH")
    config.projects.default.generation.update(
        max_examples=15 * examples if at_length else examples, deterministic=not at_length
    )
    # What is well-formed may still not fit to what is there, and a batch says of each part what
    # was wrong with it.
    checks = config.projects.default.checks
    for expected, status in (
        (checks.positive_data_acceptance, "412"),
        (checks.negative_data_rejection, "414"),
        (checks.negative_data_rejection, "207"),
    ):
        expected.expected_statuses = [*expected.expected_statuses, status]
    settings = make_settings(
        database_url="postgresql+psycopg2://127.0.0.1:9/none",
        auth_mode=auth_mode,
        contract=contract,
        external_jwt_secret=SECRET,
    )
    document = build_document(create_app(settings))
    for item in document["paths"].values():
        for operation in item.values():
            # It would excuse every status.
            del operation["responses"]["default"]
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.auth(refresh_interval=None)(Placeholder)
    return schema


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: Any, value: Any) -> bytes:
    return str(value).encode(errors="surrogatepass")


class Placeholder:
    """Marks the cases that are to have a good token; the others are about bad ones."""

    def get(self, _case: Any, context: schemathesis.AuthContext) -> str | None:
        return PLACEHOLDER if context.operation.definition.raw["security"] else None

    def set(self, case: Any, data: str | None, _context: schemathesis.AuthContext) -> None:
        if data:
            case.headers["Authorization"] = data


class People:
    """Whoever the cases need: one for all operations but those that end what they are given."""

    enders = ("/auth/logout", "/auth/me", "/auth/password", "/auth/sessions/{session_id}")

    def __init__(self, url: str, auth_mode: str) -> None:
        self.url = url
        self.auth_mode = auth_mode
        self.cases = 0
        self.user_id, self.shared = self.make_one()

    def make_one(self, kind: str = "access") -> tuple[str, str]:
        """Make somebody; return their id and a token of theirs."""
        name = secrets.token_hex(12)
        if self.auth_mode != "local":
            claims = {"sub": name, "exp": int(time.time()) + 3600}
            return name, jwt.encode(claims, SECRET, "HS256")
        body = {"email": f"{name}@example.com", "password": "correct horse battery"}
        answer = requests.post(f"{self.url}/auth/register", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()["user"]["id"], answer.json()[f"{kind}_token"]

    def fitting_token(self, path: str, method: str) -> str:
        if path == "/auth/refresh":
            return self.make_one("refresh")[1]
        return self.make_one()[1] if path in self.enders and method != "GET" else self.shared

    def create_task(self) -> str:
        answer = requests.post(
            f"{self.url}/api/{self.user_id}/tasks",
            json={"title": "Buy milk"},
            headers={"Authorization": f"Bearer {self.shared}"},
            timeout=20,
        )
        answer.raise_for_status()
        return str(answer.json()["id"])


def is_uuid(text: Any) -> bool:
    try:
        return str(UUID(text)) == text
    except (AttributeError, TypeError, ValueError):
        return False


@contextmanager
def serving(directory: Path, auth_mode: str, contract: str = "native") -> Iterator[str]:
    """Run the service as it is deployed, where there is an nginx; return where it is."""
    settings: dict[str, Any] = {
        "AUTH_MODE": auth_mode,
        "CONTRACT": contract,
        "EXTERNAL_JWT_SECRET": SECRET if auth_mode == "external" else "",
        # Behind a proxy it wants to be told that the path may be believed.
        "TRUST_PATH_USER_ID": "yes",
    }
    if BINARY:
        with service_behind_nginx(directory, **settings) as (_, nginx):
            yield nginx.url
    else:
        with running_service(directory, **settings) as service:
            yield service.url


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Start the service in a mode when the first case of that mode comes, and keep it."""
    with ExitStack() as stack:
        found: dict[str, People] = {}

        def people(auth_mode: str, contract: str = "native") -> People:
            name = f"{auth_mode}-{contract}"
            if name not in found:
                directory = tmp_path_factory.mktemp(name)
                url = stack.enter_context(serving(directory, auth_mode, contract))
                found[name] = People(url, auth_mode)
            return found[name]

        yield people
        print(f"{sum(one.cases for one in found.values())} cases")


def fit(case: Any, people: People) -> None:
    """Put what is there into a case, in the place of what nobody could have made up."""
    if case.headers.get("Authorization") == PLACEHOLDER:
        token = people.fitting_token(case.operation.path, case.method)
        case.headers["Authorization"] = f"Bearer {token}"
    if case.meta.generation.mode.is_positive:
        # Most would be those of somebody else, of no list, of another request.
        if isinstance(case.path_parameters.get("user_id"), str):
            case.path_parameters["user_id"] = people.user_id
        for name in ("cursor", "since"):
            case.query.pop(name, None)
        if isinstance(said := case.query.get("q"), str) and not words(said):
            case.query["q"] = "milk"  # No pattern says what a word is.
        for name in ("before", "after"):
            if isinstance(case.body, dict) and is_uuid(case.body.get(name)):
                case.body[name] = people.create_task()
        if case.media_type == "text/csv":
            case.body = "title\r\nBuy milk\r\n"
        if isinstance(case.body, dict):
            fit_body(case)
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = secrets.token_hex()


def fit_body(case: Any) -> None:
    # Only a new task must have a title, which no schema of a body can know.
    if "If-None-Match" in case.headers and "text" not in case.body:
        case.body["title"] = case.body.get("title") or "Buy milk"
    if "email" in case.body:
        case.body["email"] = f"{secrets.token_hex(12)}@example.com"  # One that is free.
    # Nor does a pattern say how soon a password is guessed.
    for name in {"password", "new_password"} & case.body.keys():
        case.body[name] = secrets.token_urlsafe(24)


def check(case: Any, people: People) -> None:
    people.cases += 1
    fit(case, people)
    if is_uuid(case.path_parameters.get("task_id")):
        # An id that was made up is the id of no task, and all answers would be 404.
        case.path_parameters["task_id"] = people.create_task()
    case.call_and_validate(base_url=people.url, timeout=20)


@load_schema("local", 20).parametrize()
def test_the_service_answers_as_documented(case, people):
    check(case, people("local"))


@load_schema("external", 5).parametrize()
def test_the_service_answers_as_documented_with_an_issuer_outside(case, people):
    check(case, people("external"))


@load_schema("path", 5).parametrize()
def test_the_service_answers_as_documented_where_the_path_is_believed(case, people):
    check(case, people("path"))


@load_schema("local", 5, "b").parametrize()
def test_the_service_answers_as_documented_as_contract_b(case, people):
    check(case, people("local", "b"))


@load_schema("external", 5, "c").parametrize()
def test_the_service_answers_as_documented_as_contract_c(case, people):
    check(case, people("external", "c"))
