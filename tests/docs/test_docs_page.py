"""/docs in a real browser, for which there is nothing but the service."""

import json
import shutil

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.service import running_service

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.service,
    pytest.mark.browsers,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        browser.close()


class Docs:
    """Somebody with the page open, and with an eye on what it asks for and complains of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type == "error" else None,
        )
        page.goto(f"{url}/docs")
        page.wait_for_selector(".opblock")

    def operation(self, name: str):
        return self.page.locator(f"#operations-{name.replace('.', '-')}")

    def open(self, name: str):
        operation = self.operation(name)
        operation.locator(".opblock-summary-control").first.click()
        expect(operation.locator(".execute")).to_be_visible()
        return operation

    def execute(self, name: str) -> tuple[str, str]:
        """Press the button; return the status and the body that the page shows."""
        operation = self.open(name)
        operation.locator(".execute").click()
        live = operation.locator(".live-responses-table")
        expect(live).to_be_visible()
        status = live.locator("tbody .response-col_status").first.inner_text().split()[0]
        body = live.locator(".highlight-code code").first
        return status, body.inner_text() if body.count() else ""

    def authorize(self, token: str) -> None:
        self.page.locator(".auth-wrapper .authorize").first.click()
        dialog = self.page.locator(".dialog-ux")
        expect(dialog.locator("input").first).to_be_focused()
        self.page.keyboard.type(token)
        dialog.locator("button.authorize").first.click()
        dialog.locator(".btn-done").first.click()

    def violated_by(self, script: str) -> str:
        """Put a script into the page; return which directive of its policy forbids that."""
        directive: str = self.page.evaluate(
            """(text) => new Promise((resolve) => {
              document.addEventListener("securitypolicyviolation", (event) =>
                resolve(event.effectiveDirective));
              const script = document.createElement("script");
              script.textContent = text;
              document.body.append(script);
            })""",
            script,
        )
        return directive

    def overflow(self) -> int:
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width


def test_one_registers_authorizes_and_tries_everything_out_on_the_page(browser, service):
    docs = Docs(browser.new_page(), service.url)
    assert "POST /auth/register" in docs.page.locator(".information-container").inner_text()

    refused, problem = docs.execute("auth.auth_get_me")
    status, answered = docs.execute("auth.auth_register")
    assert (refused, json.loads(problem)["code"]) == ("401", "token_missing")
    assert status == "201"
    docs.authorize(json.loads(answered)["access_token"])
    created, task = docs.execute("tasks.tasks_create_task")
    listed, tasks = docs.execute("tasks.tasks_get_tasks")

    assert (created, listed) == ("201", "200")
    assert [one["id"] for one in json.loads(tasks)["tasks"]] == [json.loads(task)["id"]]
    assert all(url.startswith((service.url, "data:")) for url in docs.asked)
    # Chromium complains of what was refused as well.
    assert [one for one in docs.complaints if "401" not in one] == []
    assert docs.violated_by("document.title = 'run'") == "script-src-elem"
    assert docs.page.title() == "taskapi"


@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_fits_the_window(browser, service, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    docs = Docs(page, service.url)
    assert docs.overflow() == 0

    for name in ("tasks.tasks_get_tasks", "tasks.tasks_replace_task", "auth.auth_register"):
        operation = docs.open(name)
        overhang = operation.evaluate(
            """(operation) => Math.max(...[...operation.querySelectorAll(
              "input, select, textarea, button, table, pre")]
              .map((part) => part.getBoundingClientRect().right))
              - operation.getBoundingClientRect().right"""
        )
        assert overhang <= 0, name
    assert docs.overflow() == 0
