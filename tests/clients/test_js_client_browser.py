"""The JavaScript client in a real browser: a page of a listed origin, and several tabs of it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support.pages import serving_with_client
from tests.support.service import Service, running_service
from tests.support.web import expect_soon, needs_chromium, running_browser

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium]

PAGE = """<!doctype html>
<title>A page</title>
<script type="module">
  import { TaskApi } from "/js/taskapi.js";

  const baseUrl = new URLSearchParams(location.search).get("api");
  window.newApi = () => new TaskApi({ baseUrl, cookie: true, fetch: send });
  window.api = newApi();
  window.events = [];
  window.refuseNext = false;

  // A token that nobody made is refused like one that has expired.
  function send(url, init) {
    if (refuseNext) init.headers.set("Authorization", "Bearer none");
    refuseNext = false;
    return fetch(url, init);
  }

  for (const name of ["signin", "signout"]) {
    api.addEventListener(name, ({ detail }) => {
      events.push([name, detail.user?.email ?? detail.problem?.code ?? null]);
    });
  }
  window.restored = api.restore();
  const reloads = Number(sessionStorage.reloads ?? 0);
  if (reloads > 0) {
    sessionStorage.reloads = reloads - 1;
    setTimeout(() => location.reload(), 5 * reloads);
  }
</script>
"""
ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery"}


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("pages")
    (directory / "index.html").write_text(PAGE)
    with serving_with_client(directory) as origin:
        yield origin


@pytest.fixture(scope="module")
def service(tmp_path_factory, origin) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), CORS_ORIGINS=origin) as service:
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


@pytest.fixture
def open_page(context, origin, service):
    def open_page() -> Page:
        page: Page = context.new_page()
        page.goto(f"{origin}/index.html?api={service.url.replace('127.0.0.1', 'localhost')}")
        return page

    return open_page


def test_a_page_logs_in_works_and_is_still_signed_in_after_a_reload(open_page, context):
    page = open_page()
    assert page.evaluate("restored") is None
    page.evaluate("(account) => api.register({ ...account, name: 'Ada' })", ACCOUNT)
    task = page.evaluate("api.createTask({ title: 'Buy milk' })")

    page.reload()
    user = page.evaluate("restored")

    assert (user["name"], page.evaluate("events")) == ("Ada", [["signin", ACCOUNT["email"]]])
    assert page.evaluate("document.cookie") == ""
    # The name of the last exchange, and until when it is kept.
    [stored] = page.evaluate("Object.values(localStorage)")
    assert re.fullmatch(r'{"key":"[0-9a-f-]{36}","until":\d+}', stored)
    page.evaluate("(task) => api.updateTask(task, { title: 'x' }, { ifMatch: true })", task)
    refusal = page.evaluate(
        """(task) => api.updateTask(task, { title: "y" }, { ifMatch: true })
        .catch(({ name, status, current }) => [name, status, current.title])""",
        task,
    )
    assert refusal == ["ProblemError", 412, "x"]
    page.evaluate("(task) => api.completeTask(task, true)", task)
    titles = """(async () => {
      const titles = [];
      for await (const { title } of api.tasks({ completed: true })) titles.push(title);
      return titles;
    })()"""
    assert page.evaluate(titles) == ["x"]
    page.evaluate("(task) => api.deleteTask(task)", task)
    assert page.evaluate(titles) == []

    page.evaluate("api.logout()")
    assert page.evaluate("events.at(-1)") == ["signout", None]
    assert context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    assert page.evaluate("restored") is None
    page.evaluate("(account) => api.login(account)", ACCOUNT)
    assert page.evaluate("api.user.email") == ACCOUNT["email"]


def register(page: Page, name: str) -> None:
    page.evaluate("restored")
    account = {**ACCOUNT, "email": f"{name}@example.com"}
    page.evaluate("(account) => api.register(account)", account)


def test_tabs_that_are_opened_at_once_refresh_one_after_the_other(open_page):
    first = open_page()
    register(first, "grace")
    others = [open_page() for _ in range(3)]

    for page in others:
        # Not waited for, so that all of them are at it at the same time.
        page.evaluate("window.again = Promise.all([newApi().restore(), newApi().restore()]); 0")
    for page in others:
        assert [user["email"] for user in page.evaluate("again")] == ["grace@example.com"] * 2
    first.reload()
    assert first.evaluate("restored")["email"] == "grace@example.com"


def test_a_page_that_is_reloaded_again_and_again_stays_signed_in(open_page):
    page = open_page()
    register(page, "linus")

    # As with F5 held down: each page is left while its refresh is on its way.
    page.evaluate("sessionStorage.reloads = 12; setTimeout(() => location.reload()); 0")
    page.wait_for_function("sessionStorage.reloads === '0' && window.api?.user")
    assert page.evaluate("restored")["email"] == "linus@example.com"
    page.evaluate("api.createTask({ title: 'Buy milk' })")


def test_an_answer_that_comes_late_brings_no_spent_cookie_back(open_page, context):
    page = open_page()
    register(page, "ritchie")

    def reloaded() -> str:
        page.reload()
        assert page.evaluate("restored")["email"] == "ritchie@example.com"
        [cookie] = context.cookies()
        return cookie["value"]

    at_first, stored = reloaded(), page.evaluate("Object.values(localStorage)")
    # Whatever was asked meanwhile by pages that were left has the same answer, but not for ever.
    assert reloaded() == at_first
    assert page.evaluate("Object.values(localStorage)") == stored
    page.evaluate("""for (const [name, value] of Object.entries(localStorage)) {
      localStorage.setItem(name, JSON.stringify({ ...JSON.parse(value), until: Date.now() - 1 }));
    }""")
    assert reloaded() != at_first
    page.evaluate("api.createTask({ title: 'Buy milk' })")


def test_a_tab_does_not_work_on_as_whoever_logs_in_in_another(open_page):
    first = open_page()
    register(first, "alice")
    second = open_page()
    second.evaluate("restored")
    register(second, "bob")

    first.evaluate("refuseNext = true; 0")
    code = first.evaluate("api.createTask({ title: 'Alice only' }).catch(({ code }) => code)")
    assert code == "user_changed"
    assert first.evaluate("events.at(-1)") == ["signout", "user_changed"]
    assert first.evaluate("api.user") is None
    assert first.evaluate("api.restore()")["email"] == "bob@example.com"
    assert first.evaluate("api.listTasks()")["tasks"] == []


def test_a_page_that_is_offline_says_so_and_goes_on_when_it_is_online(open_page, context):
    page = open_page()
    register(page, "offline")
    context.set_offline(True)
    failure = page.evaluate("api.listTasks({}, { retries: 0 }).catch(({ name }) => name)")
    assert failure == "NetworkError"

    # The clock stands still, so that no pause ends by itself.
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.evaluate(
        "api.createTask({ title: 'Later' }).then((task) => { window.created = task; }); 0"
    )
    page.evaluate("api.listTasks({}, { retries: 0 }).catch(() => 0)")
    context.set_offline(False)
    expect_soon(lambda: page.evaluate("window.created?.title") == "Later")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/nowhere", {"Authorization": "Bearer x"}, 404, "route_not_found"),
        ("/tasks?q=" + "x" * 9000, {}, 414, "uri_too_long"),
        ("/health", {"X-Request-ID": "x" * 9000}, 431, "headers_too_large"),
    ],
)
def test_a_page_of_another_origin_reads_what_was_wrong_with_its_request(
    open_page, service, path, headers, status, code
):
    answer = open_page().evaluate(
        """async ([url, headers]) => {
          const response = await fetch(url, { headers });
          return [response.status, (await response.json()).code];
        }""",
        [service.url.replace("127.0.0.1", "localhost") + path, headers],
    )

    assert answer == [status, code]
