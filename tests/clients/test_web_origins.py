"""The web page at origins other than the service's: listed ones, and one that is not."""

import re

import pytest
from playwright.sync_api import expect

from taskapi.status.page import POLICY
from tests.support.pages import Pages, serving
from tests.support.service import ROOT, running_service
from tests.support.web import Visitor, needs_chromium, running_browser

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium]


class Clients(Pages):
    """Any web server with the files of clients/, which says in the page where the service is."""

    api = ""

    def do_GET(self):  # noqa: N802 -- as http.server calls it
        if self.path != "/web/":
            super().do_GET()
            return
        page = (ROOT / "clients" / "web" / "index.html").read_text()
        named = page.replace('name="taskapi" content=""', f'name="taskapi" content="{self.api}"')
        assert named != page
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        policy = POLICY.replace("connect-src 'self'", f"connect-src {self.api}")
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(named.encode())


@pytest.fixture(scope="module")
def origins():
    """Two origins that serve the page."""
    clients = ROOT / "clients"
    with serving(clients, Clients) as one, serving(clients, Clients) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def service(tmp_path_factory, origins):
    with running_service(tmp_path_factory.mktemp("service"), CORS_ORIGINS=origins[0]) as service:
        Clients.api = service.url.replace("127.0.0.1", "localhost")
        yield service


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


def test_a_page_of_a_listed_origin_does_all_that_the_services_own_does(service, browser, origins):
    visitor = Visitor(browser, f"{origins[0]}/web/")
    answers = []
    visitor.tab.on("response", lambda response: answers.append((response.url, response.status)))
    visitor.registers("Ada")
    visitor.adds("Buy milk", "Call Grace")
    visitor.completes("Buy milk")
    visitor.edits("Call Grace", "Call Ada")
    visitor.row("Call Ada").get_by_role("button", name="Move").press("Home")
    visitor.deletes("Buy milk")
    visitor.tab.get_by_role("button", name="Undo").click()
    visitor.sees("Call Ada", "Buy milk")
    second = visitor.open_tab()
    visitor.sees("Call Ada", "Buy milk", tab=second)

    visitor.tab.reload()
    visitor.sees("Call Ada", "Buy milk")
    visitor.tab.get_by_role("button", name="Ada", exact=True).click()
    visitor.tab.get_by_role("button", name="Log out", exact=True).click()
    expect(second.get_by_role("heading", name="Welcome back")).to_be_visible()

    # All of it was asked across origins, and the browser has asked first whether it may.
    api = [status for url, status in answers if url.startswith(Clients.api)]
    assert len(api) > 8 and all(status < 300 for status in api[1:])
    asked = re.findall(r'"method":"OPTIONS","route":"([^"]+)"', service.log.read_text())
    assert {"/auth/register", "/tasks", "/tasks/{task_id}", "/tasks/changes"} <= set(asked)
    assert visitor.faults == []
    visitor.leaves()


def test_a_page_of_an_origin_that_is_not_listed_is_refused_by_the_browser(browser, origins):
    victim = Visitor(browser, f"{origins[0]}/web/").registers("Ada")
    victim.adds("A secret")
    refused = []
    stranger = victim.context.new_page()
    stranger.on("requestfailed", lambda request: refused.append(request.url))

    stranger.goto(f"{origins[1]}/web/")

    # Neither the cookie of the one who is logged in here, nor a password gets it any further.
    expect(stranger.get_by_text("The service cannot be reached")).to_be_visible()
    assert f"{Clients.api}/auth/refresh?cookie=true" in refused
    assert stranger.get_by_text("A secret").count() == 0
    outcome = stranger.evaluate(
        """async (api) => {
          try {
            const headers = { "Content-Type": "application/json" };
            const body = JSON.stringify({ email: "a@example.com", password: "b" });
            await fetch(`${api}/auth/login`, { method: "POST", headers, body });
            return "answered";
          } catch (error) {
            return error.name;
          }
        }""",
        Clients.api,
    )
    assert outcome == "TypeError"
    # Whoever is logged in stays so.
    victim.tab.reload()
    victim.sees("A secret")
    victim.leaves()


@pytest.mark.parametrize("mark", ["?", "#"])
def test_a_link_cannot_name_another_service(service, browser, mark):
    asked: list[str] = []
    visitor = Visitor(browser, f"{Clients.api}/app/{mark}taskapi=https://evil.example")
    visitor.tab.on("request", lambda request: asked.append(request.url))

    visitor.registers()

    assert asked
    assert all(url.startswith(Clients.api) for url in asked)
    visitor.leaves()
