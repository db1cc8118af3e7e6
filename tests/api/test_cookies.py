"""?cookie=true: the refresh token in a cookie that no script can read, and nowhere else."""

from http.cookies import SimpleCookie

import pytest

from tests.support.people import PASSWORD, assert_problem, assert_refused_field, bearer

CREDENTIALS = {"email": "alice@example.com", "password": PASSWORD}
NAME = "__Secure-taskapi_refresh"
OURS = {"Origin": "http://localhost:5173"}  # As CORS_ORIGINS has it.


def cookie_of(response):
    [header] = response.headers.getlist("Set-Cookie")
    return SimpleCookie(header)[NAME]


@pytest.fixture
def browser(app):
    """A client whose cookies are those that the test sends; the jar would want https."""
    return app.test_client(use_cookies=False)


def call(browser, path, token, **headers):
    return browser.post(path, headers={"Cookie": f"{NAME}={token}", **headers})


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
def test_the_refresh_token_is_in_the_cookie_and_not_in_the_body(client, alice, path):
    body = {**CREDENTIALS, "email": "new@example.com"} if "register" in path else CREDENTIALS
    response = client.post(f"{path}?cookie=true", json=body)

    assert response.status_code in (200, 201)
    assert "refresh_token" not in response.json
    assert response.json["access_token"]
    cookie = cookie_of(response)
    assert cookie.value not in response.text
    assert (cookie["path"], cookie["samesite"]) == ("/auth", "Strict")
    assert cookie["httponly"] and cookie["secure"]
    assert int(cookie["max-age"]) == 30 * 86400
    assert not cookie["domain"]


def test_without_it_there_is_no_cookie(client, alice):
    for query in ("", "?cookie=false"):
        response = client.post(f"/auth/login{query}", json=CREDENTIALS)
        assert "Set-Cookie" not in response.headers
        assert response.json["refresh_token"]


def test_a_page_stays_logged_in_by_the_cookie_alone(client, browser, alice):
    token = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value

    for _ in range(3):
        response = call(browser, "/auth/refresh", token, **OURS)
        assert response.status_code == 200
        assert "refresh_token" not in response.json
        access = response.json["access_token"]
        assert client.get("/tasks", headers=bearer(access)).status_code == 200
        token = cookie_of(response).value

    reused = call(browser, "/auth/refresh", alice.tokens["refresh_token"], **OURS)
    assert reused.status_code == 200  # Of another session.


def test_a_spent_cookie_ends_its_session_like_a_spent_token(client, browser, alice):
    spent = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value
    current = cookie_of(call(browser, "/auth/refresh", spent, **OURS)).value

    response = call(browser, "/auth/refresh", spent, **OURS)
    assert_problem(response, 401, "refresh_token_reused")
    assert_problem(call(browser, "/auth/refresh", current, **OURS), 401, "session_ended")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:5173.evil.example"},
        {"Origin": "https://localhost:5173"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9999"},
        {"Referer": "http://localhost:5173/"},
    ],
)
def test_a_page_that_may_not_cannot_use_the_cookie(client, browser, alice, headers):
    token = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value

    response = call(browser, "/auth/refresh", token, **headers)

    assert_problem(response, 403, "origin_not_allowed")
    assert "Set-Cookie" not in response.headers
    assert call(browser, "/auth/refresh", token, **OURS).status_code == 200  # Not spent.


@pytest.mark.parametrize(
    "headers",
    [OURS, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}],
)
def test_a_page_of_ours_can(client, browser, alice, headers):
    token = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value

    assert call(browser, "/auth/refresh", token, **headers).status_code == 200


def test_a_token_in_the_header_can_move_into_the_cookie(client, alice):
    headers = bearer(alice.tokens["refresh_token"])

    response = client.post("/auth/refresh?cookie=true", headers=headers)

    assert "refresh_token" not in response.json
    assert cookie_of(response).value


def test_a_token_in_the_header_needs_no_origin_and_wins_over_the_cookie(client, browser, alice):
    token = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value
    headers = bearer(alice.tokens["refresh_token"])

    response = call(browser, "/auth/refresh", token, **headers)

    assert response.status_code == 200
    assert response.json["refresh_token"]


def test_an_access_token_in_the_cookie_is_none(browser, alice):
    assert_problem(call(browser, "/auth/refresh", alice.token, **OURS), 401, "token_invalid")


def test_the_cookie_opens_nothing_but_the_refresh(client, browser, alice):
    token = cookie_of(client.post("/auth/login?cookie=true", json=CREDENTIALS)).value
    for method, path in (("GET", "/tasks"), ("POST", "/auth/logout"), ("GET", "/auth/me")):
        headers = {"Cookie": f"{NAME}={token}", **OURS}
        response = browser.open(path, method=method, headers=headers)
        assert_problem(response, 401, "token_missing")


def test_logging_out_and_leaving_forget_it(alice, bob):
    logout = alice.post("/auth/logout")
    delete = bob.delete("/auth/me", json={"password": PASSWORD})

    for response in (logout, delete):
        cookie = cookie_of(response)
        assert (response.status_code, cookie.value, cookie["path"]) == (204, "", "/auth")
        assert cookie["expires"].startswith("Thu, 01 Jan 1970")


def test_other_sites_and_plain_http_are_the_operators_choice(variant, alice):
    app = variant(cookie_secure=False, cookie_samesite="lax")

    response = app.test_client().post("/auth/login?cookie=true", json=CREDENTIALS)

    [header] = response.headers.getlist("Set-Cookie")
    assert header.startswith("taskapi_refresh=")
    assert "Secure" not in header
    assert "SameSite=Lax" in header
    refreshed = app.test_client(use_cookies=False).post(
        "/auth/refresh", headers={"Cookie": header.partition(";")[0], **OURS}
    )
    assert refreshed.status_code == 200


def test_scripts_of_listed_origins_may_send_it_along(client, alice):
    preflight = client.options(
        "/auth/refresh", headers={**OURS, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.headers["Access-Control-Allow-Origin"] == OURS["Origin"]
    assert preflight.headers["Access-Control-Allow-Credentials"] == "true"

    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    refused = client.options("/auth/refresh", headers=foreign)
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert "Access-Control-Allow-Credentials" not in refused.headers


def test_cookie_is_true_or_false(client, alice):
    response = client.post("/auth/login?cookie=yes", json=CREDENTIALS)

    assert_refused_field(response, "/query/cookie", "wrong_type")
