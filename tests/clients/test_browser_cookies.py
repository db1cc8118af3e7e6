"""The refresh token's cookie in a real browser: pages of listed origins, and others."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.support.pages import serving
from tests.support.service import Service, running_service

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.service,
    pytest.mark.browsers,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

CALL = """async ([url, options]) => {
  try {
    const response = await fetch(url, { method: "POST", credentials: "include", ...options });
    return { status: response.status, body: await response.text() };
  } catch (error) {
    return { error: error.name };
  }
}"""
ACCOUNT = '{"email": "ada@example.com", "password": "correct horse battery"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def origins(tmp_path_factory) -> Iterator[list[str]]:
    """Two origins with a page each, of the same site as the service."""
    directory = tmp_path_factory.mktemp("page")
    (directory / "index.html").write_text("<!doctype html><title>A page</title>")
    with serving(directory) as one, serving(directory) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def service(tmp_path_factory, origins) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), CORS_ORIGINS=origins[0]) as service:
        yield service


@pytest.fixture
def browser(tmp_path):
    """A browser whose user lets pages have cookies of other sites, which is theirs to say."""
    preferences = tmp_path / "profile" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text('{"profile": {"cookie_controls_mode": 0}}')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def open_page(browser, origin: str) -> Page:
    page: Page = browser.new_page()
    page.goto(f"{origin}/index.html")
    return page


def test_a_page_stays_logged_in_over_a_reload_and_no_script_sees_the_token(
    browser, service, origins
):
    api = service.url.replace("127.0.0.1", "localhost")
    page = open_page(browser, origins[0])

    registered = page.evaluate(
        CALL, [f"{api}/auth/register?cookie=true", {"headers": JSON, "body": ACCOUNT}]
    )
    assert registered["status"] == 201
    assert "refresh_token" not in registered["body"]
    page.reload()
    refreshed = page.evaluate(CALL, [f"{api}/auth/refresh", {}])

    assert refreshed["status"] == 200
    token = page.evaluate("(text) => JSON.parse(text).access_token", refreshed["body"])
    headers = {"Authorization": f"Bearer {token}"}
    listed = page.evaluate(CALL, [f"{api}/tasks", {"method": "GET", "headers": headers}])
    assert (listed["status"], listed["body"]) == (
        200,
        '{"tasks":[],"next_cursor":null,"count":0,"total":0}',
    )
    assert page.evaluate("document.cookie") == ""
    [cookie] = browser.cookies()
    assert cookie["httpOnly"] and cookie["secure"]
    assert (cookie["sameSite"], cookie["path"]) == ("Strict", "/auth")
    assert cookie["value"] not in refreshed["body"]

    page.evaluate(CALL, [f"{api}/auth/logout", {"headers": headers}])
    assert browser.cookies() == []
    assert page.evaluate(CALL, [f"{api}/auth/refresh", {}])["status"] == 401


def test_a_page_of_an_origin_that_is_not_listed_gets_nothing(browser, service, origins):
    api = service.url.replace("127.0.0.1", "localhost")
    page = open_page(browser, origins[0])
    body = ACCOUNT.replace("ada", "grace")
    page.evaluate(CALL, [f"{api}/auth/register?cookie=true", {"headers": JSON, "body": body}])
    [before] = browser.cookies()
    stranger = open_page(browser, origins[1])

    # It is of the same site, so the browser does send the cookie.
    answers = []
    stranger.on(
        "response", lambda response: answers.append((response.request.method, response.status))
    )
    assert stranger.evaluate(CALL, [f"{api}/auth/refresh", {}]) == {"error": "TypeError"}
    opaque = stranger.evaluate(CALL, [f"{api}/auth/refresh", {"mode": "no-cors"}])
    assert opaque == {"status": 0, "body": ""}
    login = stranger.evaluate(
        CALL, [f"{api}/auth/login?cookie=true", {"headers": JSON, "body": body}]
    )
    assert login == {"error": "TypeError"}

    assert ("POST", 403) in answers
    assert ("POST", 200) not in answers
    assert browser.cookies() == [before]
    assert page.evaluate(CALL, [f"{api}/auth/refresh", {}])["status"] == 200


def test_a_page_of_another_site_needs_the_operators_word(browser, tmp_path, origins):
    """127.0.0.1 is another site than localhost, which is where the service is."""
    origin = origins[0].replace("localhost", "127.0.0.1")
    for same_site, status in (("strict", 401), ("none", 200)):
        directory = tmp_path / same_site
        directory.mkdir()
        settings = {"CORS_ORIGINS": origin, "COOKIE_SAMESITE": same_site}
        with running_service(directory, **settings) as service:
            api = service.url.replace("127.0.0.1", "localhost")
            page = open_page(browser, origin)
            login = page.evaluate(
                CALL, [f"{api}/auth/register?cookie=true", {"headers": JSON, "body": ACCOUNT}]
            )
            assert login["status"] == 201
            answer = page.evaluate(CALL, [f"{api}/auth/refresh", {}])
            assert answer["status"] == status, same_site
