"""A large body that is refused before it is read: the refusal reaches the client all the same."""

import socket
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any

import orjson
import pytest

from tests.support.nginx import needs_nginx, nginx_before, service_behind_nginx
from tests.support.people import bearer

pytestmark = [pytest.mark.service, needs_nginx]

UPLOAD = b" " * (16 * 1024 * 1024)
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    # The first upload takes all that a minute has, and more than it is not refused for.
    settings: dict[str, Any] = {"RATE_LIMIT_ENABLED": "yes", "RATE_LIMIT_WRITES": "3/minute"}
    with service_behind_nginx(tmp_path_factory.mktemp("service"), **settings) as pair:
        yield pair


@pytest.fixture
def token(running, request):
    account = {"email": f"{abs(hash(request.node.name))}@example.com", "password": "correct horse"}
    answer = running[1].ask("POST", "/auth/register", account)
    assert answer.status == 201, answer.body
    return answer.json()["access_token"]


def port_of(running, through):
    url = running[1].url if through == "nginx" else running[0].url
    return int(url.rpartition(":")[2])


def ask(connection, path, headers):
    """Send the whole of an upload before the answer is looked at, as many clients do."""
    connection.request("POST", path, UPLOAD, headers)
    with connection.getresponse() as response:
        return response.status, response.headers, orjson.loads(response.read())


@pytest.mark.parametrize("through", ["nginx", "service"])
@pytest.mark.parametrize(
    ("status", "code", "path", "media", "has_token"),
    [
        (401, "token_missing", "/tasks/import", LINES, False),
        (415, "unsupported_media_type", "/tasks/import", "text/plain", True),
        (422, "validation_failed", "/tasks/import?colour=blue", LINES, True),
        (413, "body_too_large", "/tasks", "application/json", True),
    ],
)
def test_it_is_told_why_it_is_refused(
    running, token, through, status, code, path, media, has_token
):
    headers = {"Content-Type": media, **(bearer(token) if has_token else {})}
    with closing(HTTPConnection("127.0.0.1", port_of(running, through), timeout=30)) as client:
        found, _, problem = ask(client, path, headers)

        assert (found, problem["code"]) == (status, code)


def test_the_connection_goes_on_behind_it(running, token):
    with closing(HTTPConnection("127.0.0.1", port_of(running, "service"), timeout=30)) as client:
        assert ask(client, "/tasks/import", {"Content-Type": LINES})[0] == 401
        kept = client.sock
        client.request("GET", "/health/live")

        assert client.getresponse().status == 200
        assert client.sock is kept


@pytest.mark.parametrize("through", ["nginx", "service"])
def test_it_is_told_that_it_was_too_much(running, token, through):
    headers = {"Content-Type": LINES, **bearer(token)}
    with closing(HTTPConnection("127.0.0.1", port_of(running, through), timeout=30)) as client:
        assert ask(client, "/tasks/import", headers)[0] == 200
        status, sent, problem = ask(client, "/tasks/import", headers)

    assert (status, problem["code"]) == (429, "rate_limited")
    assert int(sent["Retry-After"]) >= 1


def test_of_a_body_without_an_end_no_more_is_read_than_of_the_longest(running):
    sent = 0
    with socket.create_connection(("127.0.0.1", port_of(running, "service")), timeout=10) as sock:
        sock.sendall(
            b"POST /tasks/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        with suppress(OSError):
            while sent < 100_000_000:
                sock.sendall(b" " * 65_536)
                sent += 65_536

    assert sent < 50_000_000


def test_where_the_service_is_away_a_large_body_is_told_so(tmp_path):
    (tmp_path / "nginx").mkdir()
    with nginx_before(tmp_path / "nothing.sock", tmp_path / "nginx") as nginx:
        answer = nginx.ask("POST", "/tasks/import", UPLOAD, {"Content-Type": LINES})

    assert answer.status == 503
    assert answer.headers.get_content_type() == "application/problem+json"
    assert answer.json()["code"] == "service_unavailable"
