"""Below a path of another site: a trusted proxy names the path in X-Forwarded-Prefix."""

import json
import re

import pytest

from tests.api.test_cookies import cookie_of
from tests.docs.test_docs_page import Docs
from tests.support.nginx import needs_nginx, service_behind_nginx
from tests.support.people import PASSWORD, Person, register
from tests.support.service import ROOT
from tests.support.web import Visitor, needs_chromium, running_browser

PREFIX = {"X-Forwarded-Prefix": "/todo"}
NEW_ID = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"


class Mounted(Person):
    """A person whose proxy names a path."""

    prefix = "/todo"

    def call(self, method, path, json=None, **kwargs):
        headers = {"X-Forwarded-Prefix": self.prefix, **kwargs.pop("headers", {})}
        return super().call(method, path, json, headers=headers, **kwargs)


@pytest.fixture
def behind_proxy(variant):
    return variant(trusted_proxies=1)


@pytest.fixture
def ada(behind_proxy):
    person = register(behind_proxy, "ada@example.com")
    return Mounted(person.client, person.tokens)


def test_the_location_of_what_was_created_has_the_prefix(ada):
    created = ada.post("/tasks", {"title": "a"})
    assert created.headers["Location"] == f"/todo/tasks/{created.json['id']}"

    put = ada.put(f"/tasks/{NEW_ID}", {"title": "b"}, headers={"If-None-Match": "*"})
    assert put.headers["Location"] == f"/todo/tasks/{NEW_ID}"

    by_path = ada.post(ada.path, {"title": "c"})
    assert by_path.headers["Location"] == f"/todo{ada.path}/{by_path.json['id']}"


def test_the_link_to_the_next_page_has_the_prefix(ada):
    for title in "ab":
        ada.creates(title)

    link = ada.get("/tasks?limit=1").headers["Link"]

    assert link.startswith("</todo/tasks?limit=1&cursor=")


def test_the_cookie_is_for_the_service_below_the_prefix_alone(ada):
    credentials = {"email": "ada@example.com", "password": PASSWORD}

    login = ada.post("/auth/login?cookie=true", credentials)
    logout = ada.post("/auth/logout")

    assert cookie_of(login)["path"] == cookie_of(logout)["path"] == "/todo/auth"
    assert cookie_of(logout).value == ""


def test_the_index_and_the_document_name_the_prefix(behind_proxy):
    client = behind_proxy.test_client()

    links = client.get("/", headers=PREFIX).json["links"]
    document = client.get("/openapi.json", headers=PREFIX).json

    assert all(link.startswith("/todo/") for link in links.values()), links
    assert document["servers"] == [{"url": "/todo"}]
    # For whoever comes another way it is as before.
    assert client.get("/openapi.json").json["servers"] == [{"url": "/"}]
    assert client.get("/").json["links"]["tasks"] == "/tasks"


def test_the_redirect_to_the_page_needs_no_prefix(client):
    response = client.get("/app")

    assert (response.status_code, response.headers["Location"]) == (308, "app/")


def test_without_a_trusted_proxy_the_header_says_nothing(client):
    assert client.get("/", headers=PREFIX).json["links"]["tasks"] == "/tasks"


@pytest.mark.parametrize(
    "prefix",
    [
        *("//evil.example", "https://evil.example", "/a//b", "/..", "/a/../b", "/.", "todo"),
        *("/a?b", "/a#b", "/a;b", "/a b", "/a\\b", "/a%2Fb", "/a, /b", "", "/", "/a\x7f"),
    ],
)
def test_what_is_no_path_of_names_is_no_prefix(behind_proxy, prefix):
    client = behind_proxy.test_client()

    links = client.get("/", headers={"X-Forwarded-Prefix": prefix}).json["links"]

    assert links["tasks"] == "/tasks"


@pytest.mark.parametrize("prefix", ["/todo/", "/a/b", "/a-b_c.d~e"])
def test_a_prefix_may_have_several_names_and_end_in_a_slash(behind_proxy, prefix):
    client = behind_proxy.test_client()

    links = client.get("/", headers={"X-Forwarded-Prefix": prefix}).json["links"]

    assert links["tasks"] == f"{prefix.rstrip('/')}/tasks"


def test_a_prefix_that_a_path_begins_with_as_well_is_not_taken_off(variant):
    client = variant(trusted_proxies=1, auth_mode="path", port=8000).test_client()

    created = client.post(
        "/api/a%2Fb/tasks", json={"title": "a"}, headers={"X-Forwarded-Prefix": "/api"}
    )

    assert created.json["user_id"] == "a/b"
    assert created.headers["Location"].startswith("/api/api/a%2Fb/tasks/")


# --- With a real nginx and a real browser ------------------------------------------------------


def snippet():
    """The lines of nginx that docs/operating.md has for this."""
    text = (ROOT / "docs" / "operating.md").read_text()
    [block] = re.findall(r"```nginx\n(.*?location /todo/.*?)```", text, re.DOTALL)
    return block


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of which the service is a part; returns nginx."""
    changes = {"location / {": f"{snippet()}\nlocation /elsewhere/ {{"}
    with service_behind_nginx(tmp_path_factory.mktemp("service"), changes) as (_, nginx):
        yield nginx


@pytest.mark.service
@needs_nginx
def test_behind_nginx_every_path_that_is_answered_leads_back(site):
    body = {"email": "grace@example.com", "password": PASSWORD}
    registered = site.ask("POST", "/todo/auth/register?cookie=true", body)
    assert "Path=/todo/auth" in registered.headers["Set-Cookie"]
    token, user = registered.json()["access_token"], registered.json()["user"]
    bearer = {"Authorization": f"Bearer {token}"}

    created = site.ask("POST", "/todo/tasks", {"title": "a"}, bearer)
    site.ask("POST", "/todo/tasks", {"title": "b"}, bearer)

    assert site.ask("GET", created.headers["Location"], headers=bearer).json() == created.json()
    first = site.ask("GET", "/todo/tasks?limit=1", headers=bearer)
    [following] = re.findall("<(.*)>", first.headers["Link"])
    assert site.ask("GET", following, headers=bearer).json()["tasks"] == [created.json()]
    by_path = site.ask("POST", f"/todo/api/{user['id']}/tasks", {"title": "c"}, bearer)
    assert site.ask("GET", by_path.headers["Location"], headers=bearer).status == 200
    assert site.ask("GET", "/todo/app").headers["Location"].endswith("app/")
    assert site.ask("GET", "/todo", headers={}).status == 308


@pytest.mark.service
@needs_nginx
def test_behind_nginx_a_path_arrives_as_it_was_sent(site):
    body = {"email": "alan@example.com", "password": PASSWORD}
    token = site.ask("POST", "/todo/auth/register", body).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}

    # Of another user, not an unknown path.
    assert site.ask("GET", "/todo/api/a%2Fb/tasks", headers=bearer).status == 403
    assert site.ask("GET", "/todo/metrics", address="127.0.0.2").status == 404
    assert site.ask("GET", "/todo/%6detrics", address="127.0.0.2").status == 404


@pytest.mark.service
@needs_nginx
def test_behind_nginx_a_client_cannot_name_a_prefix(site):
    forged = {"X-Forwarded-Prefix": "/evil"}

    links = site.ask("GET", "/todo/", headers=forged).json()["links"]

    assert links["tasks"] == "/todo/tasks"


@pytest.mark.service
@pytest.mark.browsers
@needs_nginx
@needs_chromium
def test_the_web_page_and_the_documentation_work_below_a_prefix(site):
    with running_browser() as browser:
        url = site.url.replace("127.0.0.1", "localhost")
        visitor = Visitor(browser, f"{url}/todo/app")
        visitor.registers("Ada")
        visitor.adds("Buy milk")
        visitor.sees("Buy milk")
        visitor.tab.reload()
        visitor.sees("Buy milk")

        docs = Docs(visitor.context.new_page(), f"{url}/todo")
        status, body = docs.execute("service.service_get_liveness")

        visitor.leaves()
    assert (status, json.loads(body)) == ("200", {"status": "alive"})
    assert visitor.faults == docs.complaints == []
