"""The requests of the document, as they are sent; and the answers, as they are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from tests.docs.test_documents import resolved

# What is another in every run, and how it looks.
_GENERATED = (
    ("token", r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    ("id", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("request id", r"\b[0-9a-f]{32}\b"),
    ("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    ("cursor", r"[\w-]{8,}\.[\w-]{20,}"),
)


@dataclass
class Operation:
    """An operation of the document."""

    method: str
    path: str
    described: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    def takes(self, name: str) -> bool:
        return name in {one["name"] for one in self.described["parameters"]}

    def examples(self) -> Iterator[tuple[str, str, dict[str, Any], str, Any]]:
        """Every documented answer: status, name, what is said of it, media type, example."""
        for status, response in self.described["responses"].items():
            if status == "default":
                continue
            for media, content in response.get("content", {"": {}}).items():
                named = content.get("examples", {"": {"value": content.get("example")}})
                for name, example in named.items():
                    yield status, name, response, media, example["value"]

    def request(self, media: str | None = None) -> Request:
        """Make the documented request: its body's example and no optional parameter."""
        request = Request(self.method, self.path)
        content = self.described.get("requestBody", {}).get("content", {})
        if content:
            request.media = media or next(iter(content))
            request.body = deepcopy(content[request.media]["example"])
        return request


def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method.upper(), path, resolved(described, document))
        for path, item in document["paths"].items()
        for method, described in item.items()
    ]


@dataclass
class Request:
    """A request that can still be changed."""

    method: str
    path: str
    ids: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    media: str | None = None
    body: Any = None
    cookies: dict[str, str] = field(default_factory=dict)

    def send(self, url: str) -> requests.Response:
        ids = {name: quote(value, safe="") for name, value in self.ids.items()}
        kwargs: dict[str, Any] = {}
        if self.media == "application/json" and isinstance(self.body, dict | list):
            kwargs["json"] = self.body
        elif self.body is not None:
            kwargs["data"] = self.body.encode() if isinstance(self.body, str) else self.body
        headers = {**self.headers, **({"Content-Type": self.media} if self.media else {})}
        return requests.request(
            self.method,
            url + self.path.format(**ids),
            params=self.query,
            headers=headers,
            cookies=self.cookies,
            timeout=60,
            **kwargs,
        )


# What an answer may do without, of the headers that it is documented to have.
_OPTIONAL = {
    *("Set-Cookie", "Link", "Idempotent-Replayed", "RateLimit", "RateLimit-Policy"),
    *("Allow", "Accept-Encoding"),
}
_OF_HTTP = {"Server", "Date", "Connection", "Content-Type", "Content-Length", "Transfer-Encoding"}


def assert_as_documented(
    answer: requests.Response,
    status: str,
    response: dict[str, Any],
    media: str,
    example: Any,
) -> None:
    """Assert that an answer is the documented one, but for what is another in every run."""
    assert str(answer.status_code) == status, answer.text
    assert answer.headers.get("Content-Type", "").partition(";")[0] == media
    assert_headers(answer, response)
    if media.endswith("json"):
        said, shown = without_generated(answer.json()), without_generated(example)
        if shown.get("code") == "malformed_json" if isinstance(shown, dict) else False:
            assert said.pop("detail").startswith(shown.pop("detail").removesuffix("."))
        if isinstance(said, dict) and "openapi" in said:
            said = {name: said[name] for name in shown}
            said |= {"info": {name: said["info"][name] for name in shown["info"]}}
            said |= {"paths": {}, "components": {}}
        assert said == shown
    elif media == "text/plain":
        series = r"^(\S+) [\d.e+-]+$"
        names = re.sub(series, r"\1", answer.text, flags=re.MULTILINE).splitlines()
        assert set(re.sub(series, r"\1", example, flags=re.MULTILINE).splitlines()) <= set(names)
    elif media:
        assert without_generated(answer.content.decode()) == without_generated(example)


def assert_headers(answer: requests.Response, response: dict[str, Any]) -> None:
    documented = set(response["headers"])
    said = set(answer.headers) - _OF_HTTP
    assert said <= documented, said - documented
    missing = documented - said - _OPTIONAL
    if answer.status_code < 400:
        missing -= {"Retry-After"}
    assert not missing, missing
    for name in said:
        schema = response["headers"][name]["schema"]
        assert re.search(schema.get("pattern", ""), answer.headers[name])
        assert answer.headers[name] in schema.get("enum", [answer.headers[name]])


def without_generated(value: Any) -> Any:
    """Put names in the places of ids, times, tokens, cursors and versions."""
    if isinstance(value, dict):
        return {
            name: "<version>"
            if name == "version" and isinstance(one, int)
            else without_generated(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [without_generated(one) for one in value]
    if isinstance(value, str):
        for name, pattern in _GENERATED:
            value = re.sub(pattern, f"<{name}>", value)
        # In CSV the version is the last cell of a line.
        return re.sub(r"(<time>),\d+\r\n", r"\1,<version>\r\n", value)
    return value
