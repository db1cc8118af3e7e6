"""The web page while the service is away: what is written waits, and is sent once.

Access tokens live for two seconds here, so they expire in the middle of everything.
"""

import re
import time
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.service import free_port, running_service
from tests.support.web import Api, Visitor, expect_soon, needs_chromium, running_browser

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium]


class Restartable:
    """The service, which may be stopped, and started again with the same data."""

    def __init__(self, directory):
        self.directory = directory
        self.settings: dict[str, Any] = {"PORT": str(free_port()), "ACCESS_TOKEN_LIFETIME": "2"}
        self.url = f"http://localhost:{self.settings['PORT']}"
        self.log = directory / "service.log"
        self._running = ExitStack()
        self.start()

    def start(self):
        self._running.enter_context(running_service(self.directory, **self.settings))

    def stop(self):
        self._running.close()

    def count(self, event):
        """How often something was logged."""
        return len(re.findall(f'"event":"{event}"', self.log.read_text()))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Restartable(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture
def visitor(service, browser):
    visitor = Visitor(browser, f"{service.url}/app/", viewport={"width": 1440, "height": 900})
    visitor.registers("Ada")
    yield visitor
    visitor.leaves()
    assert visitor.faults == []


@contextmanager
def offline(visitor):
    visitor.context.set_offline(True)
    yield
    visitor.context.set_offline(False)


def waits(visitor, text):
    expect(visitor.tab.locator("#banner")).to_contain_text(text)


def all_is_sent(visitor):
    expect(visitor.tab.locator("#banner")).to_be_empty()
    stored = "Object.keys(localStorage).filter((key) => key.startsWith('taskapi.outbox'))"
    expect_soon(lambda: visitor.tab.evaluate(stored) == [])


def test_what_is_written_offline_is_sent_once_when_the_service_is_back(visitor, service):
    visitor.adds("Buy milk", "Call Grace", "Water the plants")
    all_is_sent(visitor)
    before = {event: service.count(event) for event in ("task_created", "task_completed")}

    with offline(visitor):
        waits(visitor, "You are offline – you can keep working")
        visitor.adds("Book the train")
        visitor.completes("Book the train")
        visitor.edits("Buy milk", "Buy oat milk")
        visitor.deletes("Call Grace")
        visitor.row("Water the plants").get_by_role("button", name="Move").press("Home")
        visitor.sees("Water the plants", "Book the train", "Buy oat milk")
        waits(visitor, "5 changes waiting")
        visitor.shoots("offline")
    all_is_sent(visitor)

    tasks = Api(service, visitor).tasks()
    assert [task["title"] for task in tasks] == visitor.titles()
    assert [task["completed"] for task in tasks] == [False, True, False]
    assert service.count("task_created") == before["task_created"] + 1
    assert service.count("task_completed") == before["task_completed"] + 1


def test_what_is_undone_before_it_was_sent_was_never_done(visitor, service):
    visitor.adds("Buy milk")
    all_is_sent(visitor)
    deleted = service.count("task_deleted")

    with offline(visitor):
        visitor.deletes("Buy milk")
        visitor.tab.get_by_role("button", name="Undo").click()
        visitor.sees("Buy milk")
    all_is_sent(visitor)

    assert service.count("task_deleted") == deleted


def test_a_write_whose_answer_is_lost_has_one_effect(visitor, service):
    tab = visitor.tab
    lost = []

    def lose(route):
        """Let the service do it, and keep what it says from the page: once for each request."""
        request = route.request
        name = (request.method, request.url)
        if request.method in ("GET", "OPTIONS") or name in lost:
            route.continue_()
        else:
            lost.append(name)
            route.fetch()
            route.abort()

    visitor.adds("Buy milk", "Call Grace")
    all_is_sent(visitor)
    effects = "task_(created|completed|updated|moved|deleted|restored)"
    before = service.count(effects)
    visitor.context.route(re.compile("/tasks/.+|/trash/.+"), lose)

    visitor.adds("Book the train")
    visitor.completes("Buy milk")
    visitor.edits("Call Grace", "Call Ada")
    visitor.row("Book the train").get_by_role("button", name="Move").press("End")
    all_is_sent(visitor)
    visitor.deletes("Call Ada")
    all_is_sent(visitor)
    tab.get_by_role("button", name="Undo").click()
    all_is_sent(visitor)

    assert len(lost) == 6
    visitor.sees("Buy milk", "Call Ada", "Book the train")
    assert [task["title"] for task in Api(service, visitor).tasks()] == visitor.titles()
    assert service.count(effects) == before + len(lost)
    visitor.context.unroute_all()


def test_what_waits_outlives_a_reload(visitor, service):
    tasks = re.compile(r"/tasks(/.+)?(\?.*)?$")
    visitor.adds("Buy milk")
    all_is_sent(visitor)
    visitor.context.route(tasks, lambda route: route.abort())
    visitor.adds("Call Grace")
    visitor.completes("Buy milk")
    waits(visitor, "2 changes waiting")

    visitor.tab.reload()
    visitor.sees("Call Grace")
    # Whoever signs out is told what is lost.
    visitor.tab.get_by_role("button", name="Ada").click()
    visitor.tab.get_by_role("button", name="Log out", exact=True).click()
    question = visitor.tab.get_by_role("dialog", name="Log out anyway?")
    expect(question).to_contain_text("2 changes could not be sent yet")
    question.get_by_role("button", name="Cancel").click()
    visitor.tab.get_by_role("button", name="Close").click()
    visitor.context.unroute(tasks)

    visitor.sees("Call Grace", "Buy milk")
    all_is_sent(visitor)
    assert [task["completed"] for task in Api(service, visitor).tasks()] == [False, True]


def test_what_waits_stays_in_its_order_though_the_clock_is_set_back(visitor, service):
    tasks = re.compile(r"/tasks(/.+)?(\?.*)?$")
    visitor.context.route(tasks, lambda route: route.abort())
    visitor.adds("Buy milk")
    waits(visitor, "1 change waiting")

    visitor.context.add_init_script("Date.now = ((now) => () => now() - 86_400_000)(Date.now);")
    visitor.tab.reload()
    visitor.completes("Buy milk")
    waits(visitor, "2 changes waiting")
    visitor.context.unroute(tasks)

    all_is_sent(visitor)
    [task] = Api(service, visitor).tasks()
    assert task["completed"]


def test_a_browser_that_stores_nothing_is_enough_while_the_page_is_open(visitor, service):
    # As Chromium does where its user blocks all data of sites.
    visitor.context.add_init_script("""{
      const deny = () => { throw new DOMException("Access is denied.", "SecurityError"); };
      Object.defineProperty(window, "localStorage", { get: deny });
      navigator.locks.request = async () => deny();
    }""")
    visitor.tab.reload()
    visitor.sees_list()

    with offline(visitor):
        visitor.adds("Buy milk")
        waits(visitor, "1 change waiting")
    expect(visitor.tab.locator("#banner")).to_be_empty()

    api = Api(service, visitor)
    assert [task["title"] for task in api.tasks()] == ["Buy milk"]
    # The feed is followed as well.
    api.ask("POST", "/tasks", {"title": "Call Grace", "order": 1}, status=201)
    visitor.sees("Buy milk", "Call Grace")


def test_what_cannot_be_done_any_more_is_taken_back_and_explained(visitor, service):
    visitor.adds("Buy milk", "Call Grace")
    all_is_sent(visitor)
    api = Api(service, visitor)

    with offline(visitor):
        visitor.edits("Buy milk", "Buy oat milk")
        waits(visitor, "1 change waiting")
        api.ask("DELETE", f"/tasks/{api.find('Buy milk')['id']}", status=204)
    visitor.sees("Call Grace")

    toast = visitor.tab.locator(".toast")
    expect(toast).to_contain_text(
        "“Buy oat milk” could not be changed: You have no task with this id."
    )


def test_the_service_may_be_restarted_and_tokens_may_expire_in_mid_use(visitor, service):
    visitor.adds("Buy milk")
    all_is_sent(visitor)
    # Nothing is asked for until the token has expired.
    refreshed = service.log.read_text().count('"route":"/auth/refresh"')
    time.sleep(2.1)
    visitor.completes("Buy milk")
    all_is_sent(visitor)
    assert service.log.read_text().count('"route":"/auth/refresh"') > refreshed

    service.stop()
    visitor.adds("Call Grace")
    waits(visitor, "The service cannot be reached – 1 change waiting")
    visitor.edits("Buy milk", "Buy oat milk")
    waits(visitor, "2 changes waiting")
    service.start()

    all_is_sent(visitor)
    api = Api(service, visitor)
    assert [task["title"] for task in api.tasks()] == ["Call Grace", "Buy oat milk"]
    # The feed goes on as well.
    api.ask("PATCH", f"/tasks/{api.find('Call Grace')['id']}", {"title": "Call Ada"})
    visitor.sees("Call Ada", "Buy oat milk")
