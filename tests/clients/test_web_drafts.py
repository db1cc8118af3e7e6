"""What is typed on the web page and not left yet outlives the page."""

from functools import partial

import pytest
from playwright.sync_api import expect

from tests.support.service import running_service
from tests.support.web import Api, Visitor, expect_soon, needs_chromium, running_browser

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
def visitor(service, browser):
    visitor = Visitor(browser, f"{service.url}/app/", viewport={"width": 1440, "height": 900})
    visitor.registers("Ada").adds("Buy milk")
    visitor.sees("Buy milk")
    expect_soon(lambda: stored_writes(visitor) == [])
    yield visitor
    visitor.leaves()
    assert visitor.faults == []


@pytest.fixture
def api(service, visitor):
    return Api(service, visitor)


def stored_writes(visitor):
    return visitor.tab.evaluate(
        """() => Object.entries(localStorage)
          .filter(([key]) => key.startsWith("taskapi.outbox."))
          .map(([, write]) => JSON.parse(write))"""
    )


def waiting_notes(visitor):
    return [write["changes"].get("description") for write in stored_writes(visitor)]


def is_waiting(visitor, notes):
    return notes in waiting_notes(visitor)


def hold_drafts(visitor):
    """Keep the timer after the last key from ever firing, so that only events can save."""
    visitor.tab.evaluate(
        """() => {
          const set = setTimeout;
          window.setTimeout = (run, ms) => ms === 500 ? 0 : set(run, ms);
        }"""
    )


def open_notes(visitor):
    visitor.row("Buy milk").get_by_role("button", name="Notes of Buy milk").click()
    notes = visitor.tab.get_by_label("Notes", exact=True)
    notes.focus()
    return notes


def open_title(visitor):
    visitor.row("Buy milk").get_by_role("button", name="Buy milk", exact=True).click()
    return visitor.tab.get_by_role("textbox", name="Title of")


def refuse_writes(visitor):
    """Let every write fail as it does while the service is away."""
    visitor.context.route(
        "**/tasks/*",
        lambda route: route.abort() if route.request.method == "PATCH" else route.continue_(),
    )


def test_notes_are_saved_while_they_are_being_written(visitor, api):
    notes = open_notes(visitor)
    notes.press_sequentially("Oat, two of them")

    expect_soon(lambda: api.find("Buy milk")["description"] == "Oat, two of them")
    expect(notes).to_be_focused()
    notes.press_sequentially(" or three")
    expect_soon(lambda: api.find("Buy milk")["description"] == "Oat, two of them or three")
    expect(notes).to_have_value("Oat, two of them or three")
    expect(visitor.tab.get_by_role("group", name="Changed elsewhere")).to_have_count(0)


def test_a_title_is_saved_while_it_is_being_written(visitor, api):
    title = open_title(visitor)
    title.press("End")
    title.press_sequentially(" and bread")

    expect_soon(lambda: [task["title"] for task in api.tasks()] == ["Buy milk and bread"])
    expect(title).to_be_focused()


@pytest.mark.parametrize("open_editor", [open_notes, open_title])
def test_text_typed_just_before_a_reload_is_saved(visitor, api, open_editor):
    hold_drafts(visitor)
    editor = open_editor(visitor)
    editor.fill("Typed before the reload")

    visitor.tab.reload()
    visitor.sees_list()

    def is_saved():
        [task] = api.tasks()
        return "Typed before the reload" in (task["title"], task["description"])

    expect_soon(is_saved)


def test_text_typed_just_before_the_tab_is_closed_is_saved(visitor, api):
    hold_drafts(visitor)
    open_notes(visitor).fill("Typed before closing")

    visitor.tab.close(run_before_unload=True)
    visitor.tab = visitor.open_tab()
    visitor.sees_list()

    expect_soon(lambda: api.find("Buy milk")["description"] == "Typed before closing")


def test_text_is_saved_when_the_tab_is_hidden(visitor, api):
    hold_drafts(visitor)
    open_notes(visitor).fill("Typed before looking elsewhere")

    visitor.tab.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )

    expect_soon(lambda: api.find("Buy milk")["description"] == "Typed before looking elsewhere")


def test_text_is_saved_when_the_session_ends_elsewhere(visitor, api):
    hold_drafts(visitor)
    open_notes(visitor).fill("Typed while signed out")
    channel = f"taskapi.{api.ask('GET', '/auth/me')['id']}"
    api.ask("POST", "/auth/logout?all=true", status=204)
    # As another tab has it looked whether there is anything new.
    visitor.tab.evaluate("(name) => new BroadcastChannel(name).postMessage('changed')", channel)
    expect(visitor.tab.get_by_text("You have been logged out")).to_be_visible()
    expect(visitor.tab.get_by_text("1 change will be sent when you are back")).to_be_visible()

    visitor.logs_in()
    visitor.sees_list()

    expect_soon(lambda: api.find("Buy milk")["description"] == "Typed while signed out")


@pytest.mark.parametrize(
    ("open_editor", "field"), [(open_notes, "description"), (open_title, "title")]
)
def test_escape_takes_back_what_was_saved_meanwhile(visitor, api, open_editor, field):
    before = api.find("Buy milk")[field]
    editor = open_editor(visitor)
    editor.fill("Better not")
    expect_soon(lambda: api.tasks()[0][field] == "Better not")

    editor.press("Escape")

    expect_soon(lambda: api.tasks()[0][field] == before)


def test_many_pauses_are_one_change_while_the_service_is_away(visitor, api):
    refuse_writes(visitor)
    notes = open_notes(visitor)
    # The first may be on its way already; all that follow are one.
    for text in ("One", "One two", "One two three", "One two three four"):
        notes.fill(text)
        expect_soon(partial(is_waiting, visitor, text))

    assert len(stored_writes(visitor)) <= 2
    visitor.context.unroute_all()
    expect_soon(lambda: api.find("Buy milk")["description"] == "One two three four")
    expect(visitor.tab.get_by_role("group", name="Changed elsewhere")).to_have_count(0)


def test_what_is_taken_back_before_it_was_sent_is_no_change(visitor):
    visitor.context.set_offline(True)
    expect(visitor.tab.locator("#banner")).to_contain_text("offline")
    notes = open_notes(visitor)
    notes.fill("Better not")
    expect_soon(lambda: waiting_notes(visitor) == ["Better not"])

    notes.press("Escape")

    expect_soon(lambda: stored_writes(visitor) == [])
    visitor.context.set_offline(False)


def test_what_is_typed_on_during_a_conflict_is_yours_to_keep(visitor, api):
    notes = open_notes(visitor)
    notes.fill("Mine")
    expect_soon(lambda: api.find("Buy milk")["description"] == "Mine")
    api.ask("PATCH", f"/tasks/{api.find('Buy milk')['id']}", {"description": "Theirs"})
    notes.fill("Mine, longer")
    conflict = visitor.tab.get_by_role("group", name="Changed elsewhere")
    expect(conflict).to_contain_text("Theirs")

    notes.fill("Mine, longer still")
    expect(conflict.locator(".yours")).to_have_text("Mine, longer still")
    assert api.find("Buy milk")["description"] == "Theirs"
    conflict.get_by_role("button", name="Keep your version").click()

    expect_soon(lambda: api.find("Buy milk")["description"] == "Mine, longer still")
    expect(conflict).to_have_count(0)


def test_what_was_typed_about_a_task_that_is_gone_can_be_kept(visitor, api):
    hold_drafts(visitor)
    open_notes(visitor).fill("Oat, two of them")
    task = api.find("Buy milk")
    refuse_writes(visitor)
    visitor.tab.reload()
    visitor.sees_list()
    api.ask("DELETE", f"/tasks/{task['id']}", status=204)
    visitor.context.unroute_all()

    visitor.tab.get_by_role("button", name="Keep as a new task").click()

    expect_soon(lambda: [one["description"] for one in api.tasks()] == ["Oat, two of them"])
    assert api.find("Buy milk")["id"] != task["id"]


def test_a_new_task_that_is_not_added_yet_is_there_again_after_a_reload(visitor):
    visitor.tab.get_by_label("New task").fill("Call Gra")

    visitor.tab.reload()

    visitor.sees("Buy milk")
    expect(visitor.tab.get_by_label("New task")).to_have_value("Call Gra")
    visitor.tab.get_by_label("New task").press("Enter")
    visitor.sees("Call Gra", "Buy milk")
    visitor.tab.reload()
    visitor.sees("Call Gra", "Buy milk")
    expect(visitor.tab.get_by_label("New task")).to_have_value("")


def test_a_new_task_that_is_not_added_yet_is_gone_after_signing_out(visitor):
    visitor.tab.get_by_label("New task").fill("Call Gra")
    visitor.tab.get_by_role("button", name="Ada").click()
    visitor.tab.get_by_role("button", name="Log out", exact=True).click()
    expect(visitor.tab.get_by_role("heading", name="Welcome back")).to_be_visible()

    assert visitor.tab.evaluate("JSON.stringify(localStorage)").count("Call Gra") == 0
