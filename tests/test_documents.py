"""/openapi.json and /docs."""

import re

from taskapi.errors import catalogue
from taskapi.tasks.schemas import SERVER_WRITTEN


def document(client):
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    return response.json


def operations(client):
    for path, item in document(client)["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_described(app, client):
    described = {name for name, _ in operations(client)}

    routes = {
        f"{method} " + re.sub(r"<(?:\w+:)?(.*?)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes - described == {
        "GET /docs",
        "GET /docs/{filename}",
        "GET /metrics",
        "GET /openapi.json",
    }
    assert described <= routes


def test_every_answer_with_a_body_has_an_example(client):
    for name, operation in operations(client):
        assert operation["summary"].endswith("."), name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            assert "X-Request-ID" in response["headers"]
            for media in response.get("content", {}).values():
                assert media.get("example") or media.get("examples"), (name, status)
                if int(status) >= 400 and "examples" in media:
                    for code, example in media["examples"].items():
                        assert catalogue()[code][0] == int(status)
                        assert example["value"]["code"] == code


def test_an_operation_says_what_may_go_wrong(client):
    described = dict(operations(client))

    create = described["POST /tasks"]["responses"]
    assert set(create) == {"201", "400", "401", "409", "411", "413", "415", "422", "500", "503"}
    read = described["GET /tasks/{task_id}"]["responses"]
    assert set(read) == {"200", "304", "401", "404", "411", "413", "500", "503"}
    health = described["GET /health"]["responses"]["503"]["content"]
    assert health["application/json"]["example"]["status"] == "unhealthy"
    assert set(described["POST /auth/register"]["responses"]) >= {"201", "409", "422"}
    assert "WWW-Authenticate" in create["401"]["headers"]
    assert "Retry-After" in create["503"]["headers"]


def test_what_validates_is_what_is_described(client):
    schemas = document(client)["components"]["schemas"]

    title = schemas["TaskInput"]["properties"]["title"]
    assert (title["minLength"], title["maxLength"]) == (1, 500)
    assert schemas["TaskInput"]["required"] == ["title"]
    assert "required" not in schemas["TaskPatch"]
    assert not [
        name for name, field in schemas["TaskPatch"]["properties"].items() if "default" in field
    ]
    assert set(SERVER_WRITTEN) < set(schemas["TaskInput"]["properties"])
    assert schemas["TaskInput"]["properties"]["order"]["minimum"] == -(2**31)
    assert schemas["Registration"]["properties"]["password"]["minLength"] == 8
    assert set(schemas["Task"]["required"]) == {
        *SERVER_WRITTEN,
        "title",
        "description",
        "completed",
        "order",
    }


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
        assert link.startswith("/"), link
        assert client.get(link, buffered=True).status_code == 200, link


def test_only_files_of_the_page_are_given_out(client):
    for path in ("/docs/nothing.js", "/docs/..%2f__init__.py", "/docs/%2e%2e/config.py"):
        assert client.get(path, buffered=True).status_code == 404, path
