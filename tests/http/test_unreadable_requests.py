"""What is no HTTP, sent to a running gunicorn: the same shape, and nothing of it in the log."""

import json
import socket

import pytest

from tests.support.service import Caller, running_service

pytestmark = pytest.mark.service

SMUGGLED = (
    b"POST /tasks HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
SECRET = '{"email":"leak@example.com","password":"SECRETPASSWORD1"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("unreadable"), LOG_FORMAT="json") as service:
        yield service


def send(service, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return the last answer that comes: status, headers, body."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as sock:
        sock.settimeout(10)
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    answer = received[received.rindex(b"HTTP/1.1 ") :]
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nContent-Length: abc\r\n\r\n", 400, "malformed_request"),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "malformed_request",
        ),
        (SMUGGLED, 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nExpect: coffee\r\n\r\n", 417, "expectation_failed"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: magic\r\n\r\n", 501, "transfer_coding_unsupported"),
    ],
)
def test_a_request_that_cannot_be_read_gets_a_problem_document(
    service, request_bytes, status, code
):
    answered, headers, body = send(service, request_bytes)

    assert answered == status
    assert headers["Content-Type"] == "application/problem+json"
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == headers["X-Request-ID"]
    assert problem["detail"].endswith(".")
    # There is nothing of anybody in it, and whose page asked could not be read.
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Request-ID" in headers["Access-Control-Expose-Headers"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_of_it_is_logged(service):
    before = len(service.log.read_text())
    send(service, f"POST /auth/login HTTP/1.1\r\nHost: x\r\n\r\n{SECRET}\r\n\r\n".encode())
    send(service, b"GET /tasks HTTP/1.1\r\nAuthorization Bearer SECRETTOKEN3\r\n\r\n")

    log = service.log.read_text()[before:]
    assert "request_unreadable" in log
    assert "SECRET" not in log
    assert "leak@" not in log


def test_a_client_cannot_say_where_the_service_is_mounted(service):
    request = b"GET /x/health HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /x\r\nConnection: close\r\n\r\n"

    assert send(service, request)[0] in {400, 404}


def test_a_chunked_body_is_refused_and_the_connection_goes_on(service):
    ada = Caller(service, "ada@example.com")

    def chunks():
        yield b'{"title": '
        yield b'"Buy milk"}'

    answer = ada.call("POST", "/tasks", data=chunks(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 411
    assert answer.json()["code"] == "length_required"
    assert ada.call("GET", "/tasks").json()["tasks"] == []


def test_a_body_that_is_too_long_is_refused_and_the_connection_goes_on(service):
    ada = Caller(service, "ada@example.com")

    assert ada.call("POST", "/tasks", data=b"x" * 3_000_000).status_code == 413
    assert ada.call("GET", "/tasks").status_code == 200


@pytest.mark.parametrize(
    ("path", "media", "arrived"),
    [
        ("/tasks", "application/json", b'{"title": "Buy milk"}'),
        ("/tasks/import", "application/x-ndjson", b'{"title": "Buy milk"}\n'),
    ],
)
def test_what_arrived_of_a_body_is_not_taken_for_all_of_it(service, path, media, arrived):
    caller = Caller(service, "cut@example.com")
    authorization = caller.session.headers["Authorization"]
    assert isinstance(authorization, str)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nContent-Length: 1000\r\n"
        f"Authorization: {authorization}\r\n\r\n"
    )

    status, _, body = send(service, head.encode() + arrived)

    assert (status, json.loads(body)["code"]) == (400, "malformed_request")
    assert caller.call("GET", "/tasks").json()["tasks"] == []
