"""The web page at the service's own origin, in a real Chromium."""

import os
import re
import unicodedata

import pytest
import requests
from playwright.sync_api import expect

from taskapi.tasks.words import words
from tests.support.service import running_service
from tests.support.web import PASSWORD, Api, Visitor, expect_soon, needs_chromium, running_browser

AT_LENGTH = bool(os.environ.get("AT_LENGTH"))

pytestmark = [pytest.mark.service, pytest.mark.browsers, needs_chromium]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as service:
        service.url = service.url.replace("127.0.0.1", "localhost")
        yield service


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture
def newcomer(service, browser):
    """Somebody in front of the page, who has no account yet."""
    visitor = Visitor(browser, f"{service.url}/app/", viewport={"width": 1440, "height": 900})
    yield visitor
    visitor.leaves()
    assert visitor.faults == []


@pytest.fixture
def visitor(newcomer):
    return newcomer.registers("Ada")


def hide(tab):
    """Let the page believe that somebody looks at another tab."""
    tab.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


def test_one_registers_stays_logged_in_over_a_reload_and_logs_in_again(newcomer):
    visitor, tab = newcomer, newcomer.tab
    visitor.registers("Ada")
    expect(tab.get_by_text("No tasks yet")).to_be_visible()

    tab.reload()
    visitor.sees_list()
    tab.get_by_role("button", name="Ada").click()
    expect(tab.get_by_role("dialog").get_by_text(visitor.email)).to_be_visible()
    tab.get_by_role("button", name="Log out", exact=True).click()
    expect(tab.get_by_role("heading", name="Welcome back")).to_be_visible()
    tab.reload()
    visitor.logs_in()

    visitor.sees_list()


def test_what_is_wrong_with_a_registration_or_login_is_said_where_it_is(visitor):
    tab = visitor.tab
    tab.get_by_role("button", name="Ada").click()
    tab.get_by_role("button", name="Log out", exact=True).click()

    visitor.logs_in(password="wrong horse battery")
    expect(tab.get_by_role("alert")).to_contain_text("do not belong together")
    tab.get_by_role("button", name="Create an account").click()
    visitor.fills_in("nobody", "short")
    tab.get_by_role("button", name="Create account").click()

    email = visitor.gate.get_by_label("E-mail address")
    expect(email).to_have_accessible_description(re.compile("address"))
    expect(email).to_be_focused()
    password = visitor.gate.get_by_label("Password")
    expect(password).to_have_accessible_description(re.compile("8"))
    visitor.fills_in(visitor.email, PASSWORD)
    tab.get_by_role("button", name="Create account").click()
    expect(tab.get_by_role("alert")).to_contain_text("exists already")


def test_all_modules_are_asked_for_at_once(newcomer):
    asked = []
    newcomer.tab.on("request", lambda request: asked.append(request.url))

    newcomer.tab.reload()

    expect(newcomer.gate.get_by_label("Password")).to_be_visible()
    links = newcomer.tab.locator("link[rel=modulepreload]")
    named = links.evaluate_all("(links) => links.map((link) => link.href)")
    modules = {url for url in asked if url.endswith(".js")}
    assert modules == {*named, f"{newcomer.url}app.js"}


def test_tasks_are_added_edited_and_completed_where_they_stand(visitor, service):
    tab = visitor.tab
    visitor.adds("Buy milk", "Call Grace", "Water the plants")

    visitor.edits("Buy milk", "Buy oat milk")
    visitor.edits("Call Grace", "Call nobody", key="Escape")
    visitor.completes("Water the plants")
    visitor.row("Call Grace").hover()
    visitor.row("Call Grace").get_by_role("button", name="Notes of Call Grace").click()
    tab.get_by_label("Notes", exact=True).fill("After six.\nNot on Friday.")
    tab.get_by_label("Notes", exact=True).press("Control+Enter")

    visitor.sees("Buy oat milk", "Call Grace", "Water the plants")
    visitor.shoots("list")
    expect(tab.locator("[data-filter=open]")).to_contain_text("2")
    api = Api(service, visitor)
    expect_soon(lambda: api.find("Call Grace")["description"] == "After six.\nNot on Friday.")
    tab.reload()
    visitor.sees("Buy oat milk", "Call Grace", "Water the plants")
    expect(visitor.row("Water the plants").get_by_role("checkbox")).to_be_checked()
    expect(visitor.row("Call Grace").get_by_text("After six.")).to_be_visible()


def test_who_only_looks_at_the_texts_changes_nothing(visitor, service):
    api = Api(service, visitor)
    texts = {"title": "Buy milk\r\nand bread", "description": "At six.\r\nOr at seven."}
    task = api.ask("POST", "/tasks", texts, status=201)
    visitor.tab.locator("#tasks .title").click()
    visitor.tab.keyboard.press("Enter")
    visitor.tab.get_by_role("button", name="Notes of Buy milk").click()
    visitor.tab.get_by_label("Notes", exact=True).press("Control+Enter")
    visitor.adds("Written after that")
    expect_soon(lambda: len(api.tasks()) == 2)

    assert api.ask("GET", f"/tasks/{task['id']}") == task


def test_tasks_are_reordered_by_dragging(visitor, service):
    tab = visitor.tab
    visitor.adds("One", "Two", "Three", "Four")
    visitor.sees("One", "Two", "Three", "Four")

    visitor.row("One").hover()
    handle = visitor.row("One").get_by_role("button", name="Move One").bounding_box()
    target = visitor.row("Three").bounding_box()
    tab.mouse.move(handle["x"] + 20, handle["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(handle["x"] + 20, target["y"] + target["height"] - 4, steps=12)
    visitor.shoots("dragging")
    expect(tab.locator(".dragging + .task .title")).to_have_text("Four")
    tab.mouse.up()

    visitor.sees("Two", "Three", "One", "Four")
    api = Api(service, visitor)
    expect_soon(lambda: [task["title"] for task in api.tasks()] == visitor.titles())
    # Escape puts it back.
    visitor.row("Four").hover()
    handle = visitor.row("Four").get_by_role("button", name="Move Four").bounding_box()
    tab.mouse.move(handle["x"] + 20, handle["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(handle["x"] + 20, handle["y"] - 150, steps=8)
    expect(tab.locator("#tasks .task").first).to_have_class(re.compile("dragging"))
    tab.keyboard.press("Escape")
    tab.mouse.up()
    visitor.sees("Two", "Three", "One", "Four")


def test_tasks_are_reordered_by_keyboard(visitor, service):
    tab = visitor.tab
    visitor.adds("One", "Two", "Three", "Four")
    visitor.sees("One", "Two", "Three", "Four")
    handle = visitor.row("One").get_by_role("button", name="Move One")

    handle.focus()
    tab.keyboard.press("ArrowDown")
    visitor.sees("Two", "One", "Three", "Four")
    expect(handle).to_be_focused()
    expect(tab.locator("#announcer")).to_have_text("“One” moved to position 2 of 4")
    tab.keyboard.press("End")
    visitor.sees("Two", "Three", "Four", "One")
    tab.keyboard.press("ArrowUp")
    expect(handle).to_be_focused()

    visitor.sees("Two", "Three", "One", "Four")
    api = Api(service, visitor)
    expect_soon(lambda: [task["title"] for task in api.tasks()] == visitor.titles())


def test_tasks_are_found_by_the_beginnings_of_their_words_and_filtered(visitor):
    tab = visitor.tab
    visitor.adds("Crème brûlée", "Buy milk", "Milk the cow")
    visitor.completes("Buy milk")
    search = tab.get_by_label("Search your tasks")

    search.fill("BRU creme")
    visitor.sees("Crème brûlée")
    search.fill("milk")
    visitor.sees("Buy milk", "Milk the cow")
    tab.get_by_role("link", name="Open").click()
    visitor.sees("Milk the cow")
    search.fill("nothing")
    expect(tab.get_by_text("Nothing found")).to_be_visible()
    search.press("Escape")
    visitor.sees("Crème brûlée", "Milk the cow")
    tab.get_by_role("link", name="Done").click()
    visitor.sees("Buy milk")
    tab.get_by_role("link", name="Skip to your tasks").press("Enter")
    expect(tab.get_by_label("New task")).to_be_focused()
    visitor.sees("Buy milk")
    tab.reload()
    visitor.sees("Buy milk")
    # What is new is shown, whatever was shown before.
    visitor.adds("Call Grace")
    visitor.sees("Call Grace", "Crème brûlée", "Buy milk", "Milk the cow")


def test_the_page_and_the_service_take_the_same_for_words(newcomer):
    texts = [
        *("Buy milk!", "Crème Brûlée", "STRASSE straße", "naïve café—déjà", "Ærø Łódź İzmir ıssız"),
        *("牛乳を買う", "नमस्ते दुनिया", "שָׁלוֹם", "Ὀδυσσεύς ΟΔΥΣΣΕΥΣ", "ไทย", "한국어 텍스트"),
        *("", "  ", "ﬁne Ⅷ", "don't", "Д’Артаньян й", "1st 2nd x²", "a_b c-d", "🛒 milk"),
    ]

    found = newcomer.tab.evaluate(
        """async (texts) => {
          const { words } = await import("./words.js");
          return texts.map(words);
        }""",
        texts,
    )

    assert found == [words(text) for text in texts]


# What is too rare to be cut alike: Tangut, which `unicodedata` has no names for, numerals of
# merchants, letters of old Japanese, marks of tallies.
EXOTIC = [
    *(range(0x3021, 0x302A), range(0x303B, 0x303C), range(0x16FE0, 0x16FF2)),
    *(range(0x1B002, 0x1B11F), range(0x1D372, 0x1D377), range(0x17000, 0x18D09)),
    *(range(0x13A0, 0x13FE), range(0xAB70, 0xABC0)),  # Cherokee, which each folds its own way.
]


def test_the_page_and_the_service_tell_every_character_apart_alike(newcomer):
    texts = [
        f"a{chr(code)}b"
        for code in range(0x110000)
        if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
        and not any(code in codes for codes in EXOTIC)
    ]
    assert len(texts) > 130_000

    found = newcomer.tab.evaluate(
        """async (texts) => {
          const { words } = await import("./words.js");
          return texts.map((text) => words(text).join(" "));
        }""",
        texts,
    )

    differing = [
        text for text, one in zip(texts, found, strict=True) if one != " ".join(words(text))
    ]
    assert differing == []


def test_what_is_deleted_can_be_brought_back(visitor, service):
    tab = visitor.tab
    visitor.adds("Buy milk", "Call Grace", "Water the plants")
    api = Api(service, visitor)
    expect_soon(lambda: len(api.tasks()) == 3)
    first = api.find("Call Grace")

    visitor.deletes("Call Grace")
    visitor.sees("Buy milk", "Water the plants")
    visitor.shoots("deleted")
    expect_soon(lambda: len(api.tasks()) == 2)
    tab.get_by_role("button", name="Undo").click()

    visitor.sees("Buy milk", "Call Grace", "Water the plants")
    expect_soon(lambda: len(api.tasks()) == 3)
    assert api.find("Call Grace")["id"] == first["id"]
    visitor.deletes("Water the plants")
    visitor.sees("Buy milk", "Call Grace")
    tab.keyboard.press("Control+z")
    visitor.sees("Buy milk", "Call Grace", "Water the plants")
    visitor.deletes("Buy milk")
    tab.get_by_role("button", name="Dismiss").click()
    expect(tab.get_by_role("button", name="Undo")).to_have_count(0)
    expect(tab.get_by_role("button", name="Delete Call Grace")).to_be_focused()


def test_the_last_task_is_brought_back_by_the_usual_keys_as_well(visitor):
    visitor.adds("Buy milk")
    visitor.deletes("Buy milk")
    new = visitor.tab.get_by_label("New task")
    expect(new).to_be_focused()

    # Where something is written, the keys undo that.
    new.fill("Call")
    new.press("Control+z")
    visitor.sees()
    new.fill("")
    new.press("Control+z")
    visitor.sees("Buy milk")


def test_a_second_tab_follows_without_a_reload_and_only_one_waits(visitor, service):
    visitor.adds("Buy milk")
    second = visitor.open_tab()
    visitor.sees("Buy milk", tab=second)

    visitor.adds("Call Grace")
    visitor.sees("Call Grace", "Buy milk", tab=second)
    visitor.completes("Buy milk")
    expect(visitor.row("Buy milk", second).get_by_role("checkbox")).to_be_checked()
    second.get_by_label("New task").fill("Water the plants")
    second.get_by_label("New task").press("Enter")
    visitor.sees("Water the plants", "Call Grace", "Buy milk")
    api = Api(service, visitor)
    api.ask("POST", "/tasks", {"title": "From afar", "order": 2**30}, 201)
    for tab in (visitor.tab, second):
        visitor.sees("Water the plants", "Call Grace", "Buy milk", "From afar", tab=tab)

    def waiters():
        metrics = requests.get(f"{service.url}/metrics", timeout=10).text
        return float(re.findall(r"^taskapi_change_feed_waiters (\S+)$", metrics, re.MULTILINE)[0])

    expect_soon(lambda: waiters() == 1)
    # A tab that is not seen any more lets the other one wait, as does one that is closed.
    hide(visitor.tab)
    api.ask("PATCH", f"/tasks/{api.find('From afar')['id']}", {"title": "From further"})
    expect(visitor.row("From further", second)).to_be_visible()
    visitor.tab.close()
    visitor.tab = second
    api.ask("PATCH", f"/tasks/{api.find('From further')['id']}", {"title": "From here"})
    visitor.sees("Water the plants", "Call Grace", "Buy milk", "From here")
    expect_soon(lambda: waiters() == 1)


def test_a_tab_that_says_nothing_any_more_is_relieved(visitor, service):
    """Browsers put hidden tabs to sleep, which keep their locks."""
    visitor.adds("Buy milk")
    second = visitor.context.new_page()
    second.clock.install()
    second.goto(visitor.url)
    visitor.sees("Buy milk", tab=second)

    def leader():
        locks = second.evaluate("navigator.locks.query()")
        held = [one for one in locks["held"] if one["name"].startswith("taskapi.")]
        return [one["clientId"] for one in held]

    expect_soon(lambda: len(leader()) == 1)
    first = leader()
    # A minute without a word passes here at once.
    second.clock.fast_forward(75_000)

    expect_soon(lambda: len(leader()) == 1 and leader() != first)
    api = Api(service, visitor)
    api.ask("POST", "/tasks", {"title": "From afar", "order": 2**30}, 201)
    for tab in (visitor.tab, second):
        visitor.sees("Buy milk", "From afar", tab=tab)


def test_of_two_texts_none_is_lost(visitor, service):
    tab = visitor.tab
    visitor.adds("Buy milk", "Call Grace")
    api = Api(service, visitor)
    expect_soon(lambda: len(api.tasks()) == 2)

    def change_meanwhile(title, theirs, mine):
        """Change a title here and, while it is being written, on another device."""
        visitor.row(title).get_by_role("button", name=title, exact=True).click()
        api.ask("PATCH", f"/tasks/{api.find(title)['id']}", {"title": theirs})
        tab.get_by_role("textbox", name="Title of").fill(mine)
        tab.get_by_role("textbox", name="Title of").press("Enter")

    change_meanwhile("Buy milk", "Buy oat milk", "Buy rice milk")
    conflict = tab.get_by_role("group", name="Changed elsewhere")
    expect(conflict).to_contain_text("Buy oat milk")
    expect(conflict).to_contain_text("Buy rice milk")
    visitor.shoots("conflict")
    conflict.get_by_role("button", name="Keep your version").click()
    visitor.sees("Buy rice milk", "Call Grace")
    expect_soon(lambda: {task["title"] for task in api.tasks()} == {"Buy rice milk", "Call Grace"})

    change_meanwhile("Call Grace", "Call Ada", "Call Alan")
    conflict.get_by_role("button", name="Use the other version").click()
    visitor.sees("Buy rice milk", "Call Ada")
    expect(conflict).to_have_count(0)

    # What was changed of it is something else: both changes are kept, and nobody is asked.
    visitor.row("Call Ada").get_by_role("button", name="Call Ada", exact=True).click()
    api.ask("PATCH", f"/tasks/{api.find('Call Ada')['id']}", {"description": "At six"})
    tab.get_by_role("textbox", name="Title of").fill("Call her")
    tab.get_by_role("textbox", name="Title of").press("Enter")
    expect_soon(lambda: api.tasks()[1]["title"] == "Call her")
    assert api.find("Call her")["description"] == "At six"
    expect(conflict).to_have_count(0)


def test_sessions_are_seen_and_ended(visitor, browser, service):
    tab = visitor.tab
    phone = Visitor(
        browser,
        visitor.url,
        user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1",
    )
    phone.logs_in(email=visitor.email)
    phone.sees_list()

    tab.get_by_role("button", name="Ada").click()
    sessions = tab.get_by_role("dialog").get_by_role("listitem")
    expect(sessions).to_have_count(2)
    visitor.shoots("account")
    expect(sessions.filter(has_text="This device")).to_contain_text("Chrome on Linux")
    tab.get_by_role("button", name="Log out Safari on iPhone").click()

    expect(sessions).to_have_count(1)
    phone.adds("Too late")
    expect(phone.tab.get_by_text("You have been logged out")).to_be_visible()
    phone.logs_in(email=visitor.email)
    # It was kept, and is sent now.
    visitor.sees("Too late")
    second = visitor.open_tab()
    visitor.sees("Too late", tab=second)
    tab.get_by_role("button", name="Log out everywhere").click()
    tab.get_by_role("dialog", name="Log out everywhere?").get_by_role(
        "button", name="Log out everywhere"
    ).click()
    expect(tab.get_by_role("heading", name="Welcome back")).to_be_visible()
    phone.adds("Too late again")
    for page in (second, phone.tab):
        expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    phone.leaves()


def test_the_name_and_the_password_are_changed(visitor):
    tab = visitor.tab
    tab.get_by_role("button", name="Ada").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Ada Lovelace")
    dialog.get_by_role("button", name="Save").click()
    expect(tab.locator("#account-name")).to_have_text("Ada Lovelace")
    dialog.get_by_text("Change password").first.click()
    dialog.get_by_label("Current password").fill("wrong horse battery")
    dialog.get_by_label("New password").fill("another horse battery")
    dialog.get_by_role("button", name="Change password").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not your current password")
    dialog.get_by_label("Current password").fill(PASSWORD)
    dialog.get_by_role("button", name="Change password").click()

    expect(dialog).to_have_count(0)
    tab.get_by_role("button", name="Ada Lovelace").click()
    tab.get_by_role("button", name="Log out", exact=True).click()
    visitor.logs_in("another horse battery")
    visitor.sees_list()


def test_ten_thousand_tasks_are_one_list(visitor, service):
    tab = visitor.tab
    api = Api(service, visitor)
    words = ["milk", "train", "garden", "letter"]
    tasks = [{"title": f"{words[n % 4]} {n}", "order": n * 100} for n in range(10_000)]
    report = api.ask("POST", "/tasks/import", tasks)
    assert report["created"] == 10_000

    tab.reload()
    visitor.sees_list()
    expect(tab.locator("[data-filter=all] .count")).to_have_text("10,000")
    assert visitor.titles()[:2] == ["milk 0", "train 1"]
    assert len(visitor.titles()) < 200
    tab.get_by_label("Search your tasks").fill("letter 9999")
    visitor.sees("letter 9999")
    visitor.completes("letter 9999")
    tab.get_by_role("link", name="Done").click()
    visitor.sees("letter 9999")
    expect_soon(lambda: api.ask("GET", "/tasks?completed=true")["tasks"])
    if AT_LENGTH:
        tab.get_by_role("link", name="All").click()
        tab.get_by_label("Search your tasks").fill("")
        visitor.row("milk 0").get_by_role("button", name="Move").press("End")
        expect(visitor.row("milk 0")).to_be_in_viewport()
        expect(tab.locator("#announcer")).to_contain_text("position 10000 of 10000")
        expect_soon(lambda: api.find("milk 0", sort="-order")["order"] > 9999 * 100)
