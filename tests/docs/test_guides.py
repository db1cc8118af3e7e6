"""The code of docs/tutorial.md, browsers.md and offline.md, run as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.npm import needs_node
from tests.support.pages import serving_with_client
from tests.support.service import ROOT, Caller, Service, running_service
from tests.support.web import PASSWORD, needs_chromium, running_browser

pytestmark = pytest.mark.service


def blocks(guide: str, language: str) -> list[str]:
    text = (ROOT / "docs" / guide).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def origin(pages) -> Iterator[str]:
    with serving_with_client(pages) as origin:
        yield origin


@pytest.fixture(scope="module")
def service(tmp_path_factory, origin) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), CORS_ORIGINS=origin) as service:
        service.url = service.url.replace("127.0.0.1", "localhost")
        yield service


@pytest.fixture(scope="module")
def chromium():
    with running_browser() as browser:
        yield browser


@pytest.fixture
def context(chromium) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    yield context
    context.close()


def run(command: list[str], code: str, service: Service, directory: Path) -> str:
    finished = subprocess.run(
        command,
        input=code,
        cwd=directory,
        env={"BASE": service.url, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@needs_node
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_tutorial_is_followed_from_curl_to_the_client(service, tmp_path):
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "taskapi").symlink_to(ROOT / "clients" / "js")
    [commands] = blocks("tutorial.md", "sh")
    by_fetch, by_client = blocks("tutorial.md", "js")

    said = run(["bash", "-eu"], commands, service, tmp_path)
    created, listed, refused = json.loads("[" + said.strip().replace("}{", "},{") + "]")
    assert listed["tasks"] == [created]
    assert (refused["status"], refused["errors"][0]["code"]) == (422, "blank")

    node = ["node", "--input-type=module", "-"]
    assert run(node, by_fetch, service, tmp_path) == "Buy milk\n"
    printed = "[x] Buy bread\n[ ] Buy milk\n412 precondition_failed true\n"
    assert run(node, by_client, service, tmp_path) == printed


@needs_chromium
def test_the_page_of_the_tutorial_works(service, origin, pages, context):
    [page_text] = blocks("tutorial.md", "html")
    (pages / "tutorial.html").write_text(page_text.replace("http://localhost:8000", service.url))
    page: Page = context.new_page()
    page.goto(f"{origin}/tutorial.html")

    page.get_by_label("E-mail").fill("page@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    page.get_by_label("What is to be done?").fill("<b>Buy milk</b>")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("<b>Buy milk</b>").check()

    page.reload()
    expect(page.get_by_label("<b>Buy milk</b>")).to_be_checked()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("E-mail")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(0)


IMPORTS = '<script type="importmap">{"imports": {"taskapi": "/js/taskapi.js"}}</script>'


def scripted(pages: Path, name: str, service: Service, **scripts: str) -> str:
    """Write a page with these modules, of which the last is the one that it runs."""
    for script, code in scripts.items():
        (pages / f"{script}.js").write_text(code.replace("http://localhost:8000", service.url))
    last = [*scripts][-1]
    html = f'<!doctype html>{IMPORTS}<main></main><script type="module" src="/{last}.js"></script>'
    (pages / f"{name}.html").write_text(html)
    return f"/{name}.html"


@needs_chromium
def test_both_ways_of_keeping_the_cookie_do(service, origin, pages, context):
    by_client, by_fetch = blocks("browsers.md", "js")
    known = """
      export const askWhoItIs = async () => ({ email: `${location.hash.slice(1)}@example.com`,
        password: "correct horse battery" });
      export const showLogin = (reason) => { window.shown = reason ?? "Log in"; };
    """
    given = 'import { askWhoItIs, showLogin } from "/known.js";\n'
    by_client = f"{given}{by_client}\nwindow.api = api; window.user = user;"
    by_fetch = f"{given}{by_fetch}\nwindow.token = access_token; window.refresh = refresh;"
    one = scripted(pages, "by-client", service, known=known, client=by_client)
    other = scripted(pages, "by-fetch", service, known=known, fetched=by_fetch)

    page: Page = context.new_page()
    page.goto(f"{origin}{one}#client")
    page.wait_for_function("window.user")
    page.reload()
    page.wait_for_function("window.user")
    assert page.evaluate("user.email") == "client@example.com"
    page.evaluate("api.logout()")
    assert page.evaluate("shown") == "Log in"

    page.goto(f"{origin}{other}#fetch")
    page.wait_for_function("window.token")
    page.evaluate("Promise.all([refresh(), refresh(), refresh()])")
    assert page.evaluate("localStorage.length") == 0
    headers = {"Authorization": f"Bearer {page.evaluate('token')}"}
    me = requests.get(f"{service.url}/auth/me", headers=headers, timeout=10)
    assert me.json()["email"] == "fetch@example.com"


@pytest.fixture
def offline_page(service, origin, pages):
    library, page = blocks("offline.md", "js")
    path = scripted(pages, "offline", service, offline=library, app=page)
    sign_up = "window.api = new TaskApi({ baseUrl: 'http://localhost:8000', cookie: true });"
    sign_up = f'import {{ TaskApi }} from "taskapi"; {sign_up}'
    start = scripted(pages, "start", service, start=sign_up)

    def open_for(context: BrowserContext, email: str) -> Page:
        first: Page = context.new_page()
        first.goto(f"{origin}{start}")
        first.wait_for_function("window.api")
        account = {"email": email, "password": PASSWORD}
        first.evaluate("(account) => api.register(account)", account)
        first.goto(f"{origin}{path}")
        first.wait_for_function("window.tasks")
        return first

    return open_for


def lines(page: Page) -> list[str]:
    return str(page.locator("main").text_content()).splitlines()


def shown(page: Page, *expected: str) -> None:
    expect(page.locator("main")).to_have_text("\n".join(expected), timeout=30_000)


def arrived(page: Page, caller: Caller, *expected: str) -> None:
    """Wait until the service has these tasks and no others, the newest first."""
    for _ in range(200):
        tasks = caller.call("GET", "/tasks").json()["tasks"]
        titles = [task["title"] for task in tasks]
        if titles == [*expected]:
            return
        page.wait_for_timeout(50)
    raise AssertionError(titles)


@needs_chromium
def test_what_is_done_offline_is_there_afterwards_on_both_sides(service, context, offline_page):
    page = offline_page(context, "offline@example.com")
    elsewhere = Caller(service, "offline@example.com")
    bread = elsewhere.call("POST", "/tasks", json={"title": "Buy bread"}).json()["id"]
    shown(page, "· Buy bread")

    context.set_offline(True)
    milk = page.evaluate("tasks.create({ title: 'Buy milk' })")
    page.evaluate("(id) => tasks.update(id, { title: 'Buy oat milk' })", milk)
    page.evaluate("(id) => tasks.update(id, { completed: true })", bread)
    gone = page.evaluate("tasks.create({ title: 'Never mind' })")
    page.evaluate("(id) => tasks.delete(id)", gone)
    shown(page, "· Buy oat milk", "✓ Buy bread")
    # Meanwhile another device renames what was completed here.
    elsewhere.call("PATCH", f"/tasks/{bread}", json={"title": "Buy rye bread"})

    context.set_offline(False)
    shown(page, "· Buy oat milk", "✓ Buy rye bread")
    arrived(page, elsewhere, "Buy oat milk", "Buy rye bread")
    elsewhere.call("DELETE", f"/tasks/{bread}")
    shown(page, "· Buy oat milk")


@needs_chromium
def test_a_page_that_is_closed_before_the_answer_sends_nothing_twice(
    service, context, offline_page
):
    page = offline_page(context, "closed@example.com")
    elsewhere = Caller(service, "closed@example.com")
    lost = []

    def lose(route) -> None:
        route.fetch()  # The service does it, and nobody hears of it.
        lost.append(route.request.headers["idempotency-key"])
        route.abort()

    context.route("**/tasks/batch", lose)
    page.evaluate("tasks.create({ title: 'Buy milk' })")
    shown(page, "· Buy milk")
    while not lost:
        page.wait_for_timeout(20)
    address = page.url
    page.close()
    context.unroute_all(behavior="ignoreErrors")
    sent = []
    context.on("request", lambda request: sent.append(request.headers.get("idempotency-key")))
    again: Page = context.new_page()
    again.goto(address)
    shown(again, "· Buy milk")
    again.evaluate("tasks.create({ title: 'Buy bread' })")
    arrived(again, elsewhere, "Buy bread", "Buy milk")
    assert lost[0] in sent


@needs_chromium
def test_tabs_of_one_page_show_the_same(service, context, offline_page):
    first = offline_page(context, "tabs@example.com")
    second: Page = context.new_page()
    second.goto(first.url)
    second.wait_for_function("window.tasks")

    first.evaluate("tasks.create({ title: 'Buy milk' })")
    second.evaluate("tasks.create({ title: 'Buy bread' })")
    for page in (first, second):
        expect(page.locator("main")).to_contain_text("Buy milk")
        expect(page.locator("main")).to_contain_text("Buy bread")
    first.close()
    Caller(service, "tabs@example.com").call("POST", "/tasks", json={"title": "Buy tea"})
    expect(second.locator("main")).to_contain_text("Buy tea")
    assert len(lines(second)) == 3


def test_the_readme_leads_to_the_guides():
    readme = (ROOT / "README.md").read_text()
    for guide in ("tutorial.md", "browsers.md", "offline.md"):
        assert f"(docs/{guide})" in readme
