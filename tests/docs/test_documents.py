"""/openapi.json and /docs."""

import json
import re
from functools import reduce
from operator import getitem
from urllib.parse import urljoin

import pytest

from taskapi import openapi
from taskapi.http.problems import catalogue
from taskapi.tasks.schemas import SERVER_FIELDS
from taskapi.trash.service import NOT_IN_TRASH
from tests.support.service import ROOT

OF_THE_VIEW = ("validation_failed", "body_too_large", "unsupported_media_type")
"""Problems that say what was wrong, or what this view takes."""


def document(client):
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    return response.json


def operations(client):
    whole = document(client)
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", resolved(operation, whole)


def resolved(part, whole):
    """Put what is referred to in the place of each reference, but for schemas."""
    if isinstance(part, list):
        return [resolved(one, whole) for one in part]
    if not isinstance(part, dict):
        return part
    if "/schemas/" not in part.get("$ref", "/schemas/"):
        _, *steps = part["$ref"].split("/")
        return resolved(reduce(getitem, steps, whole), whole)
    return {name: resolved(one, whole) for name, one in part.items()}


def test_every_route_is_described(app, client):
    described = {name for name, _ in operations(client)}

    routes = {
        f"{method} " + re.sub(r"<(?:\w+:)?(.*?)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    # But for the files that pages are made of.
    assert routes - described == {
        *("GET /app", "GET /app/", "GET /app/{filename}"),
        *("GET /docs/{filename}", "GET /js/{filename}"),
    }
    assert described <= routes


def test_the_file_is_what_the_service_says_under_the_default_settings(client):
    file = json.loads((ROOT / "docs" / "openapi.json").read_text())

    assert document(client) == file, "make openapi writes it anew"


def test_every_answer_with_a_body_has_an_example(client):
    for name, operation in operations(client):
        assert operation["summary"].endswith("."), name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            assert "X-Request-ID" in response["headers"]
            for media in response.get("content", {}).values():
                assert media.get("example") or media.get("examples"), (name, status)
                for code, example in media.get("examples", {}).items():
                    assert status in {str(example["value"]["status"]), "default"}
                    assert example["value"]["code"] == code
                    own = NOT_IN_TRASH if "trash" in name and code == "task_not_found" else None
                    if code not in OF_THE_VIEW:
                        assert example["value"]["detail"] == (own or catalogue()[code][1])


def test_every_parameter_header_and_field_has_an_example(client):
    for name, operation in operations(client):
        for parameter in operation["parameters"]:
            assert parameter["schema"]["examples"], (name, parameter["name"])
            assert parameter["description"].endswith((".", "`")), (name, parameter["name"])
        for response in operation["responses"].values():
            assert all("example" in header for header in response["headers"].values()), name
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert media["example"], name


def test_every_code_has_its_place(client):
    described = {
        code
        for _, operation in operations(client)
        for response in operation["responses"].values()
        for media in response.get("content", {}).values()
        for code in media.get("examples", {})
    }

    # Of AUTH_MODE=external, of CONTRACT=b, and of the operator's commands.
    elsewhere = {"issuer_unavailable", "task_forbidden", "user_not_found"}
    assert set(catalogue()) - described == elsewhere


def test_an_operation_says_what_may_go_wrong(client):
    described = dict(operations(client))

    create = described["POST /tasks"]["responses"]
    assert set(create) == {
        *("201", "400", "401", "409", "411", "413", "415", "422", "429", "500", "503"),
        "default",
    }
    read = described["GET /tasks/{task_id}"]["responses"]
    assert set(read) == {
        *("200", "304", "401", "404", "411", "413", "429", "500", "503", "default"),
    }
    health = described["GET /health"]["responses"]["503"]["content"]
    assert health["application/json"]["example"]["status"] == "unhealthy"
    assert set(described["POST /auth/register"]["responses"]) >= {"201", "409", "422"}
    assert "WWW-Authenticate" in create["401"]["headers"]
    assert "Retry-After" in create["503"]["headers"]
    assert "RateLimit" in create["201"]["headers"]
    assert "RateLimit" not in create["413"]["headers"]  # It is refused before it is counted.
    assert "Idempotent-Replayed" in create["409"]["headers"]
    assert "Allow" in create["default"]["headers"]
    assert "503" not in described["GET /health/live"]["responses"]


def test_what_validates_is_what_is_described(client):
    schemas = document(client)["components"]["schemas"]

    title = schemas["TaskInput"]["properties"]["title"]
    assert (title["minLength"], title["maxLength"]) == (1, 500)
    assert schemas["TaskInput"]["required"] == ["title"]
    assert "required" not in schemas["TaskPatch"]
    assert not [
        name for name, field in schemas["TaskPatch"]["properties"].items() if "default" in field
    ]
    assert set(SERVER_FIELDS) < set(schemas["TaskInput"]["properties"])
    assert schemas["TaskInput"]["properties"]["order"]["minimum"] == -(2**31)
    assert schemas["Registration"]["properties"]["password"]["minLength"] == 8
    assert set(schemas["Task"]["required"]) == {
        *SERVER_FIELDS,
        "title",
        "description",
        "completed",
        "order",
    }


@pytest.mark.parametrize("directory", ["docs", "app", "js"])
def test_every_file_that_is_answered_has_a_policy(client, directory):
    places = {
        "docs": [openapi._OWN_FILES, openapi._SWAGGER_UI],
        "app": [ROOT / "clients" / "web"],
        "js": [ROOT / "clients" / "js"],
    }
    answers = {
        file.name: client.get(f"/{directory}/{file.name}", buffered=True)
        for place in places[directory]
        for file in place.iterdir()
        if file.is_file()
    }

    served = {name: answer for name, answer in answers.items() if answer.status_code == 200}
    assert len(served) > 3
    for name, answer in served.items():
        policy = answer.headers.get("Content-Security-Policy", "")
        assert policy.startswith("default-src 'none'"), name
        assert "frame-ancestors 'none'" in policy, name


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_nothing_inline(client):
    response = client.get("/docs", buffered=True)

    assert response.status_code == 200
    assert response.mimetype == "text/html"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    page = response.text
    assert not re.findall(r"<script(?![^>]*\bsrc=)", page)
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        # Relative, so that it holds below every prefix.
        assert re.match(r"\w[\w.-]*(/|$)", link), link
        assert client.get(urljoin("/docs", link), buffered=True).status_code == 200, link


def test_only_files_of_the_page_are_given_out(client):
    for path in ("/docs/nothing.js", "/docs/..%2f__init__.py", "/docs/%2e%2e/config.py"):
        assert client.get(path, buffered=True).status_code == 404, path
