"""Pages on the listed origins may call the service, and no others."""

import pytest

from taskapi import create_app
from tests.support.service import make_settings

LISTED = "http://localhost:5173"


def test_a_preflight_from_a_listed_origin_is_answered_and_may_be_kept(client):
    response = client.options(
        "/tasks/1",
        headers={
            "Origin": LISTED,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == LISTED
    methods = response.headers["Access-Control-Allow-Methods"].split(", ")
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} == set(methods)
    headers = response.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in headers
    assert "content-type" in headers
    assert response.headers["Access-Control-Max-Age"] == "7200"
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("path", ["/nowhere", "/tasks/1/2/3", "/api/bob", "/app"])
def test_a_preflight_of_a_url_that_is_not_there_lets_the_page_read_the_problem(client, path):
    response = client.options(
        path,
        headers={
            "Origin": LISTED,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )

    assert response.status_code in (200, 204)
    assert response.headers["Access-Control-Allow-Origin"] == LISTED
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "GET" in response.headers["Access-Control-Allow-Methods"]
    assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()


def test_options_of_a_url_that_is_not_there_is_a_404_unless_it_is_a_preflight(client):
    assert client.options("/nowhere").status_code == 404


@pytest.mark.parametrize("origin", ["http://[::1]:3000", "https://app.example.com"])
def test_an_origin_means_itself_and_is_no_pattern(origin):
    settings = make_settings(
        database_url="postgresql+psycopg2://127.0.0.1:9/none", cors_origins=(origin,)
    )
    client = create_app(settings).test_client()

    allowed = client.get("/", headers={"Origin": origin}).headers
    assert allowed["Access-Control-Allow-Origin"] == origin
    for other in (f"{origin}0", origin.replace(".", "x").replace("[::1]", ":")):
        refused = client.get("/", headers={"Origin": other}).headers
        assert "Access-Control-Allow-Origin" not in refused, other


@pytest.mark.parametrize("path", ["/tasks", "/nowhere", "/health"])
def test_an_answer_may_be_read_even_when_it_is_a_failure(client, path):
    response = client.get(path, headers={"Origin": LISTED})

    assert response.headers["Access-Control-Allow-Origin"] == LISTED
    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert exposed >= {"ETag", "Location", "Link", "Retry-After", "X-Request-ID", "RateLimit"}


@pytest.mark.parametrize(
    "origin", ["http://localhost:9999", "https://localhost:5173", "null", "http://evil.example"]
)
def test_an_origin_that_is_not_listed_gets_no_permission(client, origin):
    for response in (
        client.get("/health", headers={"Origin": origin}),
        client.options(
            "/tasks", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        ),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]


def test_without_an_origin_nothing_is_said_of_it(client):
    assert "Access-Control-Allow-Origin" not in client.get("/health").headers


def test_credentials_are_never_allowed_to_everybody(client):
    response = client.get("/health", headers={"Origin": LISTED})

    assert response.headers["Access-Control-Allow-Origin"] != "*"
