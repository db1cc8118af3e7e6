"""How workers keep connections: nothing sent is lost, and nobody waits for the idle."""

import re
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.service import ROOT, Service, free_port, running_service

pytestmark = pytest.mark.service
needs_epoll = pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="there is epoll on Linux only; gunicorn's own way serves"
)

GET = b"GET /health/live HTTP/1.1\r\nHost: taskapi\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("worker")
    with running_service(directory, THREADS="4") as service:
        yield service


def connect(service):
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answers(connection, count):
    received = b""
    while len(re.findall(rb'"status":"alive"}', received)) < count:
        data = connection.recv(65536)
        assert data, received
        received += data
    return received


def test_a_connection_serves_one_request_after_the_other(service):
    with connect(service) as connection:
        for _ in range(50):
            connection.sendall(GET)
            assert read_answers(connection, 1).startswith(b"HTTP/1.1 200 ")


@needs_epoll
def test_it_says_that_it_is_alive_while_all_threads_wait(service):
    body = b'{"email": "nobody@example.com", "password": "correct horse battery"}'
    head = b"POST /auth/login HTTP/1.1\r\nHost: taskapi\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(service)) for _ in range(4)]
        for connection in slow:
            connection.sendall(head + body[:10])
        with connect(service) as connection:
            for _ in range(3):
                connection.sendall(GET)
                assert read_answers(connection, 1).startswith(b"HTTP/1.1 200 ")
            # Whatever else is asked waits for a thread.
            connection.sendall(GET.replace(b"/health/live", b"/health"))
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        for connection in slow:
            connection.sendall(body[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_requests_that_come_together_are_all_answered(service):
    with connect(service) as connection:
        connection.sendall(GET * 5)
        assert read_answers(connection, 5).count(b"HTTP/1.1 200 ") == 5
        connection.sendall(GET)
        read_answers(connection, 1)


def test_a_request_that_comes_in_pieces_is_answered(service):
    with connect(service) as connection:
        for piece in (GET[:3], GET[3:30], GET[30:]):
            connection.sendall(piece)
            time.sleep(0.1)
        read_answers(connection, 1)


@needs_epoll
def test_who_says_nothing_keeps_nobody_waiting(service):
    silent = [connect(service) for _ in range(400)]
    started = time.monotonic()
    try:
        for _ in range(20):
            assert requests.get(f"{service.url}/health/live", timeout=4).status_code == 200
        for connection in silent:
            connection.sendall(GET)
        for connection in silent:
            read_answers(connection, 1)
    finally:
        for connection in silent:
            connection.close()
    assert time.monotonic() - started < 20


@needs_epoll
def test_who_does_not_hang_up_keeps_nobody_waiting(service):
    closing = [connect(service) for _ in range(3)]  # And a fourth thread is left.
    for connection in closing:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    for connection in closing:
        read_answers(connection, 1)
    try:
        assert requests.get(f"{service.url}/health/live", timeout=4).status_code == 200
    finally:
        for connection in closing:
            connection.close()


def test_more_idle_connections_than_are_kept_shut_nobody_out(tmp_path):
    arguments = "--worker-connections 20"
    with running_service(tmp_path, THREADS="4", GUNICORN_CMD_ARGS=arguments) as service:
        connections = []
        for _ in range(60):
            connections.append(connect(service))
            connections[-1].sendall(GET)
            read_answers(connections[-1], 1)
        for connection in connections:
            connection.close()


def breaking_app(environ, start_response):
    """Break off in the middle of every answer but that for /whole."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "20")])
    yield b"0123456789"
    if environ["PATH_INFO"] != "/whole":
        raise ZeroDivisionError
    yield b"0123456789"


@contextmanager
def serving_broken_answers(*options):
    """Let gunicorn serve `breaking_app`; give its address and its processes."""
    port = free_port()
    options += ("--bind", f"127.0.0.1:{port}", "--config", "/dev/null")
    app = ["--worker-class", "taskapi.server.epoll.EpollWorker", f"{__name__}:breaking_app"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, *app],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        service = Service(process, port, Path("/dev/null"))
        service.wait_until("/whole", 200)
        yield service, psutil.Process(process.pid).children
    finally:
        process.terminate()
        process.wait(20)


@needs_epoll
def test_answers_that_break_off_cost_neither_a_thread_nor_the_process():
    with serving_broken_answers("--threads", "2") as (service, workers):
        before = workers()
        for _ in range(6):
            with pytest.raises(requests.RequestException):
                requests.get(f"{service.url}/broken", timeout=5)
        assert requests.get(f"{service.url}/whole", timeout=5).text == "0123456789" * 2
        assert workers() == before


@needs_epoll
def test_a_worker_ends_after_as_many_requests_as_its_operator_has_chosen():
    with serving_broken_answers("--max-requests", "3") as (service, workers):
        before = workers()
        for _ in range(2):
            answer = requests.get(f"{service.url}/whole", timeout=5)
        assert answer.headers["Connection"] == "close"
        psutil.wait_procs(before, timeout=20)
        service.wait_until("/whole", 200)
        assert not set(workers()) & set(before)
