"""Whatever somebody writes is text in the web page, and nothing else."""

import pytest
from playwright.sync_api import expect

from tests.support.service import running_service
from tests.support.web import Api, Visitor, needs_chromium, running_browser

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium]

PAYLOADS = [
    "<img src=x onerror=\"window.broken='img'\">",
    "<script>window.broken='script'</script>",
    "\"><svg onload=window.broken='svg'>",
    "'-(window.broken='quote')-'",
    "javascript:window.broken='link'",
    "{{constructor.constructor('window.broken=1')()}} ${window.broken=2}",
    "</textarea><iframe srcdoc=\"<script>parent.broken='frame'</script>\">",
    "&lt;img src=x onerror=window.broken='entity'&gt; <!-- <b>",
    "\u202e\u2066right to left\u2069 \u200b\ufeff <b>bold</b>",
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as service:
        service.url = service.url.replace("127.0.0.1", "localhost")
        yield service


@pytest.fixture(scope="module")
def visitor(service):
    with running_browser() as browser:
        agent = f"{PAYLOADS[0]} {PAYLOADS[1]}"
        yield Visitor(browser, f"{service.url}/app/", user_agent=agent).registers(PAYLOADS[0])


def is_unharmed(visitor):
    """Nothing of it has become markup or has run, and nothing was even tried."""
    tab = visitor.tab
    assert tab.evaluate("window.broken") is None
    made = "#app, #notices, #account, #confirm"
    assert tab.locator(made).locator("script, iframe, b, svg[onload], img[onerror]").count() == 0
    assert visitor.faults == []


def test_in_titles_and_notes(visitor, service):
    visitor.adds(*PAYLOADS[:5])
    api = Api(service, visitor)
    for payload in PAYLOADS[5:]:
        body = {"title": payload, "description": payload, "order": 1}
        api.ask("POST", "/tasks", body, status=201)
    visitor.sees(*PAYLOADS)

    title = PAYLOADS[6]
    visitor.row(title).get_by_role("button", name="Notes of").click()
    expect(visitor.tab.get_by_label("Notes", exact=True)).to_have_value(title)
    visitor.tab.get_by_label("Notes", exact=True).fill(PAYLOADS[1])
    visitor.completes(title)
    visitor.edits(PAYLOADS[1], PAYLOADS[1] + PAYLOADS[2])
    visitor.row(PAYLOADS[0]).get_by_role("button", name="Move").press("ArrowDown")
    expect(visitor.tab.locator("#announcer")).to_contain_text("onerror")
    visitor.deletes(PAYLOADS[4])
    expect(visitor.tab.locator(".toast")).to_contain_text(PAYLOADS[4])
    is_unharmed(visitor)


def test_in_two_versions_of_a_text(visitor, service):
    visitor.tab.get_by_label("New task").fill("Buy milk")
    visitor.tab.get_by_label("New task").press("Enter")
    api = Api(service, visitor)
    expect(visitor.row("Buy milk")).to_be_visible()
    visitor.row("Buy milk").get_by_role("button", name="Buy milk", exact=True).click()
    api.ask("PATCH", f"/tasks/{api.find('Buy milk')['id']}", {"title": f"a{PAYLOADS[0]}"})
    editor = visitor.tab.get_by_role("textbox", name="Title of")
    editor.fill(f"b{PAYLOADS[1]}")
    editor.press("Enter")

    conflict = visitor.tab.get_by_role("group", name="Changed elsewhere")
    expect(conflict).to_contain_text(f"a{PAYLOADS[0]}")
    expect(conflict).to_contain_text(f"b{PAYLOADS[1]}")
    is_unharmed(visitor)


def test_in_what_is_sought(visitor):
    for payload in PAYLOADS:
        visitor.tab.get_by_label("Search your tasks").fill(payload)
        is_unharmed(visitor)
    visitor.tab.get_by_label("Search your tasks").fill("")


def test_in_the_account_and_its_devices(visitor, service):
    Api(service, visitor)  # Another device, whatever was logged in before.
    tab = visitor.tab
    expect(tab.locator("#account-name")).to_have_text(PAYLOADS[0])
    tab.locator("#account-button").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_role("listitem").nth(1)).to_be_visible()
    dialog.get_by_label("Name").fill(PAYLOADS[6])
    dialog.get_by_role("button", name="Save").click()
    expect(tab.locator("#account-name")).to_have_text(PAYLOADS[6])
    is_unharmed(visitor)
    dialog.get_by_role("button", name="Log out", exact=True).click()
    visitor.fills_in(PAYLOADS[0], PAYLOADS[1])
    visitor.gate.get_by_role("button", name="Log in").click()
    expect(visitor.gate.get_by_text("address").last).to_be_visible()
    is_unharmed(visitor)


def test_the_browser_itself_would_refuse_anything_else(visitor):
    tried = visitor.tab.evaluate(
        """() => [
          () => (document.body.innerHTML += "<img src=x onerror=window.broken=1>"),
          () => document.write("<script>window.broken=1</script>"),
          () => document.body.setAttribute("onclick", "window.broken = 1"),
          () => (document.createElement("script").text = "window.broken = 1"),
          () => (document.createElement("script").src = "data:,window.broken=1"),
        ].map((trick) => {
          try {
            trick();
            return "done";
          } catch (error) {
            return error.name;
          }
        })"""
    )

    assert tried == ["TypeError"] * 5
    assert visitor.tab.evaluate("window.broken") is None
