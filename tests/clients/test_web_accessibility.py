"""The web page for everybody: without a mouse, with a screen reader, on any screen."""

import os

import pytest
from playwright.sync_api import expect

from tests.support import npm
from tests.support.service import ROOT, running_service
from tests.support.web import Api, Visitor, expect_soon, needs_chromium, running_browser

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium, npm.needs_node]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 900}
LOOKS = [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")]
AT_LENGTH = bool(os.environ.get("AT_LENGTH"))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as service:
        service.url = service.url.replace("127.0.0.1", "localhost")
        yield service


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe():
    npm.install()
    return (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def visit(service, browser):
    visitors = []

    def visit(viewport, **settings):
        touch = {"has_touch": True, "is_mobile": True} if viewport == PHONE else {}
        # axe comes from outside of the page, which its policy would refuse.
        visitor = Visitor(
            browser,
            f"{service.url}/app/",
            viewport=viewport,
            reduced_motion="reduce",
            bypass_csp=True,
            **touch,
            **settings,
        )
        visitors.append(visitor)
        return visitor

    yield visit
    for visitor in visitors:
        visitor.leaves()


@pytest.fixture
def check(axe):
    """Let axe look at the page as it is, on both screens and in both schemes."""

    def check(visitor, name, *, in_short=LOOKS[:1]):
        for viewport, scheme in LOOKS if AT_LENGTH else in_short:
            visitor.tab.set_viewport_size(viewport)
            visitor.tab.emulate_media(color_scheme=scheme)
            look(visitor.tab)
            visitor.shoots(f"{name}-{viewport['width']}-{scheme}")
        visitor.tab.set_viewport_size(PHONE)

    def look(tab):
        tab.evaluate(axe)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found = tab.evaluate("(tags) => axe.run({ runOnly: tags })", tags)
        violations = [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
        assert violations == []
        assert len(found["passes"]) > 15
        # Nothing is wider than the window.
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

    return check


def test_axe_finds_nothing_at_the_gate(visit, check):
    visitor = visit(PHONE)
    expect(visitor.gate.get_by_label("Password")).to_be_visible()
    check(visitor, "login", in_short=LOOKS[3:])
    visitor.gate.get_by_role("button", name="Create an account").click()
    visitor.fills_in("nobody", "short")
    visitor.gate.get_by_role("button", name="Create account").click()
    expect(visitor.gate.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    check(visitor, "registration")


def test_axe_finds_nothing_in_the_list(visit, check, service):
    visitor = visit(PHONE).registers("Ada Lovelace")
    tab = visitor.tab
    expect(tab.get_by_text("No tasks yet")).to_be_visible()
    check(visitor, "empty")
    visitor.adds(
        "Book the train to Lyon",
        "Water the plants before the long weekend, and ask Grace to look after the cat",
        "Call the dentist",
        "Buy oat milk",
        "Ein-Wort-" + "Donaudampfschifffahrtsgesellschaft" * 3,
    )
    visitor.completes("Call the dentist")
    visitor.row("Buy oat milk").get_by_role("button", name="Notes of").tap()
    tab.get_by_label("Notes", exact=True).fill("Two of them.\nThe one with the blue lid.")
    api = Api(service, visitor)
    expect_soon(lambda: len(api.tasks()) == 5)
    check(visitor, "list", in_short=LOOKS[1:3])
    title = "Book the train to Lyon"
    visitor.row(title).get_by_role("button", name=title, exact=True).click()
    api.ask("PATCH", f"/tasks/{api.find(title)['id']}", {"title": "Book the night train"})
    tab.get_by_role("textbox", name="Title of").fill("Book the early train")
    tab.get_by_role("textbox", name="Title of").press("Enter")
    expect(tab.get_by_role("group", name="Changed elsewhere")).to_be_visible()
    check(visitor, "conflict")
    visitor.row("Buy oat milk").get_by_role("button", name="Delete task").tap()
    expect(tab.get_by_role("button", name="Undo")).to_be_visible()
    check(visitor, "deleted", in_short=LOOKS[3:])
    tab.get_by_label("Search your tasks").fill("nothing like this")
    expect(tab.get_by_text("Nothing found")).to_be_visible()
    check(visitor, "nothing-found")


def test_axe_finds_nothing_in_the_dialogs(visit, check):
    visitor = visit(PHONE).registers("Ada Lovelace")
    visitor.tab.get_by_role("button", name="Ada Lovelace").click()
    account = visitor.tab.get_by_role("dialog", name="Account")
    expect(account.get_by_role("listitem")).to_have_count(1)
    account.get_by_text("Change password").first.click()
    check(visitor, "account", in_short=LOOKS[1:3])
    account.get_by_role("button", name="Log out everywhere").click()
    expect(visitor.tab.get_by_role("dialog", name="Log out everywhere?")).to_be_visible()
    check(visitor, "question")


def test_a_dialog_is_where_it_is_said_what_came_of_it(visit):
    """What stands beside a modal dialog is inert, and no screen reader tells of it."""
    visitor = visit(PHONE).registers("Ada")
    tab = visitor.tab
    tab.get_by_role("button", name="Ada").click()
    dialog = tab.get_by_role("dialog", name="Account")
    dialog.get_by_label("Name").fill("Ada Lovelace")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("#announcer")).to_have_text("Saved")

    tab.route("**/auth/logout*", lambda route: route.abort())
    dialog.get_by_role("button", name="Log out", exact=True).click()
    expect(dialog.locator("#announcer")).to_contain_text("You are still logged in")
    tab.unroute("**/auth/logout*")
    dialog.get_by_role("button", name="Close").click()
    visitor.adds("Buy milk")
    expect(tab.locator("body > #announcer")).to_have_text("Added “Buy milk”")


def test_all_of_it_goes_without_a_mouse(visit):
    visitor = visit(DESK)
    tab = visitor.tab

    def press(*keys):
        for key in keys:
            tab.keyboard.press(key)

    def focused():
        return tab.evaluate("document.activeElement.ariaLabel ?? document.activeElement.id")

    visitor.registers("Ada")
    expect(tab.get_by_label("New task")).to_be_focused()
    tab.keyboard.type("Buy milk\n")
    tab.keyboard.type("Call Grace\n")
    visitor.sees("Call Grace", "Buy milk")

    # From the field for a new task on: its button, then the first task.
    press("Tab", "Tab")
    assert focused() == "Completed: Call Grace"
    press("Space")
    expect(visitor.row("Call Grace").get_by_role("checkbox")).to_be_checked()
    press("Tab", "Enter")
    assert focused() == "Title of Call Grace"
    press("ControlOrMeta+a")
    tab.keyboard.type("Call Ada")
    press("Enter")
    visitor.sees("Call Ada", "Buy milk")
    press("Tab", "Tab", "Tab")
    assert focused() == "Move Call Ada"
    press("ArrowDown")
    visitor.sees("Buy milk", "Call Ada")
    assert focused() == "Move Call Ada"
    press("Shift+Tab", "Enter", "Tab", "Tab")
    tab.keyboard.type("At six")
    press("Control+Enter")
    assert focused() == "Notes of Call Ada"
    press("Shift+Tab", "Enter")
    visitor.sees("Buy milk")
    assert focused() == "Delete Buy milk"
    expect(tab.locator(".toast")).to_contain_text("Deleted “Call Ada”")
    # Whatever has the focus shows it.
    for _ in range(12):
        press("Tab")
        outline = tab.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return document.activeElement === document.body || s.outlineStyle !== 'none'"
            " || document.activeElement.matches('#new-title'); })()"
        )
        assert outline, focused()


def test_on_a_phone_everything_is_large_enough_for_a_finger(visit):
    visitor = visit(PHONE).registers("Ada")
    visitor.adds("Buy milk", "Call Grace")
    visitor.row("Buy milk").get_by_role("button", name="Notes of").tap()

    sizes = visitor.tab.evaluate(
        """() => [...document.querySelectorAll("#app :is(button, input, a, textarea)")]
          .filter((element) => element.checkVisibility() && !element.closest(".skip"))
          .map((element) => [element.className || element.id, element.getBoundingClientRect()])
          .map(([name, { width, height }]) => [name, Math.round(width), Math.round(height)])"""
    )

    assert len(sizes) > 12
    small = [one for one in sizes if min(one[1:]) < 44]
    # A title is as wide as the row leaves, and the row around it is its own.
    assert [one for one in small if one[0] != "title"] == []
    visitor.row("Buy milk").get_by_role("button", name="Delete task").tap()
    visitor.sees("Call Grace")


def test_a_finger_drags_too(visit):
    visitor = visit(PHONE).registers("Ada")
    visitor.adds("One", "Two", "Three")
    session = visitor.context.new_cdp_session(visitor.tab)
    handle = visitor.row("One").get_by_role("button", name="Move").bounding_box()
    target = visitor.row("Three").bounding_box()
    x, y = handle["x"] + 22, handle["y"] + 22
    end = target["y"] + target["height"] - 4

    def touch(kind, *points):
        touches = [{"x": x, "y": point} for point in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    touch("touchStart", y)
    for step in range(1, 11):
        touch("touchMove", y + (end - y) * step / 10)
    expect(visitor.tab.locator("#tasks .task").last).to_have_class("task dragging")
    touch("touchEnd")

    visitor.sees("Two", "Three", "One")


def test_who_wants_no_motion_gets_none(visit):
    visitor = visit(DESK).registers("Ada")
    visitor.adds("Buy milk")
    visitor.deletes("Buy milk")
    expect(visitor.tab.locator(".toast")).to_be_visible()

    assert visitor.tab.evaluate("document.getAnimations().length") == 0
    moving = visitor.tab.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
          const style = getComputedStyle(element);
          return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
