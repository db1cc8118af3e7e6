"""The web page in a real browser, as somebody uses it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.support.service import ROOT, Caller

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / "var" / "screenshots"
PASSWORD = "correct horse battery"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# The service and the tests share the machine with other tests; nothing is decided by it.
expect.set_options(timeout=20_000)

_numbers = count(1)


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser of their own, and one tab or more in it."""

    def __init__(self, browser: Browser, url: str, **settings: Any) -> None:
        self.context: BrowserContext = browser.new_context(**settings)
        self.context.set_default_timeout(20_000)
        self.url = url
        self.email = f"visitor{next(_numbers)}@example.com"
        self.faults: list[str] = []
        """What the page's own code has thrown, and what its policy has forbidden."""
        self.tab = self.open_tab()

    def open_tab(self) -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(error.stack or str(error)))
        page.on("console", lambda message: self._listen(message.text))
        page.goto(self.url)
        return page

    def _listen(self, text: str) -> None:
        if "Content Security Policy" in text or "TrustedHTML" in text:
            self.faults.append(text)

    def registers(self, name: str = "") -> Visitor:
        self.gate.get_by_role("button", name="Create an account").click()
        self.gate.get_by_label("Name").fill(name)
        self.fills_in(self.email, PASSWORD)
        self.gate.get_by_role("button", name="Create account").click()
        self.sees_list()
        return self

    def logs_in(self, password: str = PASSWORD, email: str = "") -> None:
        self.fills_in(email or self.email, password)
        self.gate.get_by_role("button", name="Log in").click()

    @property
    def gate(self) -> Locator:
        return self.tab.get_by_role("main")

    def fills_in(self, email: str, password: str) -> None:
        self.gate.get_by_label("E-mail address").fill(email)
        self.gate.get_by_label("Password").fill(password)

    def sees_list(self, tab: Page | None = None) -> None:
        """Wait until all that there is has come."""
        expect((tab or self.tab).locator("[data-filter=all] .count")).to_have_text(
            re.compile(r"\d")
        )

    def adds(self, *titles: str) -> None:
        """Write tasks down; the first one of them is the first in the list then."""
        for title in reversed(titles):
            self.tab.get_by_label("New task").fill(title)
            self.tab.get_by_label("New task").press("Enter")

    def row(self, title: str, tab: Page | None = None) -> Locator:
        rows = (tab or self.tab).get_by_role("listitem")
        return rows.filter(has=(tab or self.tab).get_by_text(title, exact=True))

    def titles(self, tab: Page | None = None) -> list[str]:
        return (tab or self.tab).locator("#tasks .title").all_inner_texts()

    def sees(self, *titles: str, tab: Page | None = None) -> None:
        expect((tab or self.tab).locator("#tasks .title")).to_have_text(list(titles))

    def edits(self, title: str, new: str, key: str = "Enter") -> None:
        self.row(title).get_by_role("button", name=title, exact=True).click()
        editor = self.tab.get_by_role("textbox", name="Title of")
        editor.fill(new)
        editor.press(key)

    def completes(self, title: str) -> None:
        self.row(title).get_by_role("checkbox").check()

    def deletes(self, title: str) -> None:
        self.row(title).hover()
        self.row(title).get_by_role("button", name=f"Delete {title}").click()

    def shoots(self, name: str, tab: Page | None = None) -> None:
        """Take a screenshot, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (tab or self.tab).screenshot(path=SCREENSHOTS / f"{name}.png")

    def leaves(self) -> None:
        self.context.close()


def expect_soon(is_true: Callable[[], object]) -> None:
    """Wait until something is true that no locator can look at."""
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Api:
    """The same account, without the page: another device of its owner."""

    def __init__(self, service: Any, visitor: Visitor) -> None:
        self._log_in = partial(Caller, service, visitor.email)
        self._caller = self._log_in()

    def ask(self, method: str, path: str, json: Any = None, status: int = 200) -> Any:
        answer = self._caller.call(method, path, json=json)
        if answer.status_code == 401:
            self._caller = self._log_in()
            answer = self._caller.call(method, path, json=json)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def tasks(self, sort: str = "order") -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.ask("GET", f"/tasks?sort={sort}&limit=200")["tasks"]
        return tasks

    def find(self, title: str, sort: str = "order") -> dict[str, Any]:
        [task] = [task for task in self.tasks(sort) if task["title"] == title]
        return task
