"""How much one may ask."""

import shutil
import subprocess
import threading
import time
from typing import Any

import pytest
import requests

from taskapi.http.rate_limits import network_of
from taskapi.http.views import endpoint
from tests.support.people import PASSWORD, assert_problem, bearer, register
from tests.support.service import Caller, free_port, running_service


@pytest.fixture
def limited(app, variant):
    """Make the application with rate limits."""
    return lambda **limits: variant(rate_limit_enabled=True, **limits)


def test_who_reads_too_much_is_told_when_to_go_on(limited):
    alice = register(limited(rate_limit_reads="3/minute"), "alice@example.com")

    left = []
    for _ in range(3):
        answer = alice.get("/tasks")
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"read";q=3;w=60'
        left.append(answer.headers["RateLimit"].partition(";t=")[0])
    refused = alice.get("/tasks")

    assert left == ['"read";r=2', '"read";r=1', '"read";r=0']
    assert_problem(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].startswith('"read";r=0;t=')


def test_writing_is_counted_apart_from_reading(limited):
    alice = register(limited(rate_limit_reads="1/minute"), "alice@example.com")
    assert alice.get("/tasks").status_code == 200

    assert alice.post("/tasks", {"title": "a"}).headers["RateLimit-Policy"] == '"write";q=600;w=60'
    assert_problem(alice.get("/tasks"), 429, "rate_limited")


def test_who_may_write_no_more_has_written_nothing(limited, sql):
    alice = register(limited(rate_limit_writes="2/minute"), "alice@example.com")

    statuses = [alice.post("/tasks", {"title": "a"}).status_code for _ in range(4)]

    assert statuses == [201, 201, 429, 429]
    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 2}]


def test_each_user_has_limits_of_their_own_wherever_they_call_from(limited):
    app = limited(rate_limit_reads="1/minute")
    alice, bob = register(app, "alice@example.com"), register(app, "bob@example.com")
    assert alice.get("/tasks").status_code == 200

    assert bob.get("/tasks").status_code == 200
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert alice.get("/tasks", environ_overrides=elsewhere).status_code == 429


def test_without_a_user_the_address_is_counted(limited):
    client = limited(rate_limit_reads="2/minute").test_client()

    def ask(address):
        return client.get("/", environ_overrides={"REMOTE_ADDR": address}).status_code

    assert [ask("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert ask("192.0.2.2") == 200
    # Who has one address of IPv6 has all of its network.
    assert [ask(f"2001:db8::{number}") for number in (1, 2, 3)] == [200, 200, 429]


def test_a_forged_address_changes_nothing(limited):
    client = limited(rate_limit_reads="2/minute").test_client()
    statuses = [
        client.get("/", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
        for n in range(4)
    ]

    assert statuses == [200, 200, 429, 429]


def test_behind_a_proxy_the_client_is_whom_the_proxy_names(limited):
    client = limited(rate_limit_reads="1/minute", trusted_proxies=1).test_client()

    def ask(forwarded):
        return client.get("/", headers={"X-Forwarded-For": forwarded}).status_code

    assert ask("203.0.113.1, 192.0.2.1") == 200
    assert ask("203.0.113.2, 192.0.2.1") == 429
    assert ask("203.0.113.1, 192.0.2.2") == 200


def test_what_has_not_changed_is_free(limited):
    alice = register(limited(rate_limit_reads="2/minute"), "alice@example.com")
    etag = alice.get("/tasks").headers["ETag"]

    for _ in range(5):
        assert alice.get("/tasks", headers={"If-None-Match": etag}).status_code == 304
    assert alice.get("/tasks").status_code == 200


def test_concurrent_reads_do_not_exceed_the_limit(limited):
    app = limited(rate_limit_reads="2/minute")
    statuses: list[int] = []

    def ask():
        statuses.append(app.test_client().get("/nested").status_code)

    others = [threading.Thread(target=ask) for _ in range(3)]

    @endpoint(access="public", is_documented=False)
    def ask_within_a_request():
        if others:
            other = others.pop()
            other.start()
            other.join()
        return "", 204

    app.add_url_rule("/nested", view_func=ask_within_a_request)
    ask()

    assert statuses == [429, 204, 204]


def test_a_read_that_is_refused_for_its_size_counts_as_nothing(limited):
    alice = register(limited(rate_limit_reads="2/minute"), "alice@example.com")
    task = {"op": "create", "data": {"title": "a"}}
    for _ in range(5):
        assert alice.post("/tasks/batch", {"operations": [task] * 100}).status_code == 207

    assert_problem(alice.get("/tasks"), 429, "rate_limited")

    assert alice.get("/tasks?limit=1").headers["RateLimit"].startswith('"read";r=1')


def test_counting_starts_no_thread(limited, monkeypatch):
    alice = register(limited(), "alice@example.com")
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)

    statuses = {alice.get("/tasks").status_code for _ in range(5)}

    assert (statuses, started) == ({200}, [])


def test_a_batch_counts_as_its_operations(limited, sql):
    alice = register(limited(rate_limit_writes="10/minute"), "alice@example.com")
    create = {"op": "create", "data": {"title": "a"}}

    assert alice.post("/tasks/batch", {"operations": [create] * 6}).status_code == 207
    assert_problem(alice.post("/tasks/batch", {"operations": [create] * 6}), 429, "rate_limited")

    assert sql("SELECT count(*) AS count FROM tasks") == [{"count": 6}]


def test_logins_and_refreshes_have_limits_of_their_own(limited):
    app = limited(rate_limit_logins="3/minute", rate_limit_refreshes="1/minute")
    alice = register(app, "alice@example.com")
    client = app.test_client()
    credentials = {"email": "alice@example.com", "password": PASSWORD}

    statuses = [client.post("/auth/login", json=credentials).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]  # Registering was the first of three.
    assert alice.get("/tasks").status_code == 200

    answer = client.post("/auth/refresh", headers=bearer(alice.tokens["refresh_token"]))
    assert answer.status_code == 200
    again = client.post("/auth/refresh", headers=bearer(answer.json["refresh_token"]))
    assert_problem(again, 429, "rate_limited")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_whoever_watches_is_not_counted(limited, path):
    client = limited(rate_limit_reads="1/minute").test_client()

    for _ in range(3):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def test_a_preflight_is_not_counted(limited):
    client = limited(rate_limit_writes="1/minute", rate_limit_reads="1/minute").test_client()
    asked = {"Origin": "http://localhost:5173", "Access-Control-Request-Method": "POST"}

    assert {client.options("/tasks", headers=asked).status_code for _ in range(5)} == {200}


def test_switched_off_nothing_is_counted_but_the_throttle_holds(variant, alice):
    client = variant(rate_limit_enabled=False, rate_limit_logins="1/minute").test_client()
    wrong = {"email": "alice@example.com", "password": "not this one"}

    answers = [client.post("/auth/login", json=wrong) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert_problem(answers[-1], 429, "too_many_attempts")
    assert "RateLimit" not in answers[0].headers


def test_without_redis_each_process_counts_for_itself(limited):
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    app = limited(rate_limit_reads="2/minute", rate_limit_storage_url=nobody)
    alice = register(app, "alice@example.com")

    assert [alice.get("/tasks").status_code for _ in range(3)] == [200, 200, 429]


@pytest.fixture
def redis(tmp_path):
    """A way to start a real Redis, and where it is then."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    running = []

    def start():
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        running.append(process)
        for _ in range(200):
            answer = subprocess.run(
                ["redis-cli", "-p", str(port), "ping"], capture_output=True, check=False
            )
            if answer.stdout.strip() == b"PONG":
                return process
            time.sleep(0.02)
        raise AssertionError("Redis did not start")

    yield start, f"redis://127.0.0.1:{port}/0"
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.service
def test_with_redis_all_processes_count_together_and_outlive_it(tmp_path, redis):
    start, url = redis
    server = start()
    settings: dict[str, Any] = {
        "RATE_LIMIT_ENABLED": "yes",
        "RATE_LIMIT_STORAGE_URL": url,
        "RATE_LIMIT_READS": "10/minute",
        "WEB_CONCURRENCY": "2",
    }
    with running_service(tmp_path, **settings) as service:
        alice = Caller(service, "alice@example.com")
        token = alice.session.headers["Authorization"]

        def ask():
            # A new connection each time, so that both processes are asked.
            headers = {"Authorization": token}
            return requests.get(f"{service.url}/tasks", headers=headers, timeout=10)

        answers = [ask() for _ in range(12)]
        assert [one.status_code for one in answers] == [200] * 10 + [429] * 2
        assert answers[9].headers["RateLimit"].startswith('"read";r=0')

        server.kill()
        server.wait()
        statuses = [ask().status_code for _ in range(40)]
        assert set(statuses) <= {200, 429}
        assert 10 <= statuses.count(200) <= 20  # Ten of each process that was asked.
        assert alice.call("POST", "/tasks", json={"title": "a"}).status_code == 201


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address, counted):
    assert network_of(address) == counted
