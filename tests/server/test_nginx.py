"""The service behind a real nginx with deploy/nginx-site.conf, as clients and attackers meet it."""

import gzip
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import quote

import orjson
import pytest

from taskapi.settings import BATCH_LIMIT, BODY_LIMIT, IMPORT_LIMIT
from tests.http import test_caches
from tests.support.nginx import (
    needs_nginx,
    nginx_before,
    running_nginx,
    service_behind_nginx,
    write_tls_configuration,
)
from tests.support.service import free_port
from tests.support.upstream import listening_upstream

pytestmark = [pytest.mark.service, needs_nginx]

PASSWORD = "correct horse battery"
THREADS = 4
OUTSIDE = "127.0.0.2"
"""An address that is not the one of loopback that may see /metrics."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    with service_behind_nginx(tmp_path_factory.mktemp("service"), THREADS=str(THREADS)) as both:
        yield both


@pytest.fixture(scope="module")
def service(deployed):
    return deployed[0]


@pytest.fixture(scope="module")
def nginx(deployed):
    return deployed[1]


@pytest.fixture(scope="module")
def token(nginx):
    return register(nginx, "alice@example.com")


@pytest.fixture(scope="module")
def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    with listening_upstream(tmp_path_factory.mktemp("upstream") / "socket") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def recorded(upstream, tmp_path_factory):
    """nginx in front of a server that keeps what reaches it."""
    impatient = {"proxy_read_timeout 60s": "proxy_read_timeout 300ms"}
    with nginx_before(upstream.path, tmp_path_factory.mktemp("recorded"), impatient) as nginx:
        yield nginx


def register(nginx, email, **options):
    answer = nginx.ask("POST", "/auth/register", {"email": email, "password": PASSWORD}, **options)
    assert answer.status == 201, answer.body
    return answer.json()["access_token"]


def assert_problem(answer, status, code):
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:problem-type:taskapi:{code}"
    assert problem["title"]
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_all("Cache-Control") == ["no-store"]


def service_lines(service, request_id):
    """What the service has logged of a request."""
    return [line for line in service.log.read_text().splitlines() if request_id in line]


# --- What is served --------------------------------------------------------------------------


def test_a_whole_session_works(nginx):
    token = register(nginx, "ada@example.com")
    bearer = {"Authorization": f"Bearer {token}"}
    user_id = nginx.ask("GET", "/auth/me", headers=bearer).json()["id"]

    created = nginx.ask("POST", "/tasks", {"title": "Buy milk"}, bearer)
    assert created.status == 201
    path = created.headers["Location"]
    task_id = created.json()["id"]
    assert nginx.ask("GET", path, headers=bearer).json() == created.json()
    stale = {**bearer, "If-Match": '"0"'}
    assert nginx.ask("PATCH", path, {"title": "Buy oat milk"}, stale).status == 412
    assert nginx.ask("PATCH", path, {"title": "Buy oat milk"}, bearer).status == 200
    assert nginx.ask("PATCH", f"{path}/complete", headers=bearer).json()["completed"] is True
    batch = {"operations": [{"op": "create", "data": {"title": "Call Bob"}}]}
    assert nginx.ask("POST", "/tasks/batch", batch, bearer).status == 207
    first = nginx.ask("GET", "/tasks?limit=1", headers=bearer)
    link = re.fullmatch(r'<(.*)>; rel="next"', first.headers["Link"])
    assert link
    second = nginx.ask("GET", link[1], headers=bearer)
    titles = [one.json()["tasks"][0]["title"] for one in (first, second)]
    assert titles == ["Call Bob", "Buy oat milk"]
    exported = nginx.ask("GET", "/tasks/export", headers=bearer).json()
    assert len(exported) == len(nginx.ask("GET", f"/api/{user_id}/tasks", headers=bearer).json())
    assert nginx.ask("POST", "/tasks/import", exported, bearer).status == 200
    assert nginx.ask("DELETE", path, headers=bearer).status == 204
    assert nginx.ask("POST", f"/trash/{task_id}/restore", headers=bearer).status == 200
    assert nginx.ask("POST", "/auth/logout", headers=bearer).status == 204
    assert nginx.ask("GET", "/tasks", headers=bearer).status == 401


def test_user_ids_with_encoded_slashes_arrive_as_they_were_sent(nginx, bearer):
    answer = nginx.ask("GET", "/api/a%2Fb/tasks", headers=bearer)

    assert_problem(answer, 403, "user_mismatch")


def test_the_feed_answers_as_soon_as_something_changes(nginx, bearer):
    since = nginx.ask("GET", "/tasks/changes", headers=bearer).json()["next"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(
            nginx.ask, "GET", f"/tasks/changes?since={since}&wait=25", headers=bearer
        )
        time.sleep(0.5)
        assert not waiting.done()
        nginx.ask("POST", "/tasks", {"title": "Call Bob"}, bearer)
        made_at = time.monotonic()
        changes = waiting.result(timeout=10).json()["changes"]

    assert [change["task"]["title"] for change in changes] == ["Call Bob"]
    assert time.monotonic() - made_at < 2


def test_a_compressed_answer_has_a_weak_tag_that_is_taken_back(nginx, bearer):
    task = {"title": "Buy milk", "description": "oat " * 400}
    path = nginx.ask("POST", "/tasks", task, bearer).headers["Location"]
    whole = nginx.ask("GET", path, headers=bearer)
    squeezed = nginx.ask("GET", path, headers={**bearer, "Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in whole.headers
    assert squeezed.headers["Content-Encoding"] == "gzip"
    assert len(squeezed.body) < len(whole.body) / 2
    tag = squeezed.headers["ETag"]
    assert tag == f"W/{whole.headers['ETag']}"
    for place in (path, "/tasks"):
        asked = {**bearer, "Accept-Encoding": "gzip"}
        asked["If-None-Match"] = nginx.ask("GET", place, headers=asked).headers["ETag"]
        again = nginx.ask("GET", place, headers=asked)
        assert (again.status, again.body) == (304, b"")
    written = nginx.ask("PATCH", path, {"title": "Oat"}, {**bearer, "If-Match": tag})
    assert written.status == 200


def test_answers_beside_tokens_are_not_compressed(nginx, bearer):
    login = {"email": "alice@example.com", "password": PASSWORD}
    for _ in range(8):
        assert nginx.ask("POST", "/auth/login", login).status == 200
    answer = nginx.ask("GET", "/auth/sessions", headers={**bearer, "Accept-Encoding": "gzip"})

    assert len(answer.body) > 1024
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/tasks", "/app/", "/js/taskapi.js"])
def test_no_header_comes_twice(nginx, path):
    headers = nginx.ask("GET", path).headers

    once = [name.lower() for name in headers if name.lower() != "vary"]
    assert sorted(once) == sorted(set(once))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "nginx"
    assert "Strict-Transport-Security" not in headers


def test_over_tls_the_service_knows_and_the_browser_is_told_to_stay(upstream, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    port = free_port()
    configuration = write_tls_configuration(directory, port, upstream.path)
    trusted = ssl.create_default_context(cafile=str(directory / "fullchain.pem"))
    before = len(upstream.requests)

    with running_nginx(configuration, port) as nginx:
        answer = nginx.ask("GET", "/", headers={"X-Forwarded-Proto": "http"}, context=trusted)
        in_clear = nginx.ask("GET", "/")

    [request] = upstream.requests[before:]
    assert header(request, "X-Forwarded-Proto") == ["https"]
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert_problem(in_clear, 400, "malformed_request")


# --- Limits ----------------------------------------------------------------------------------

PADDED = [
    ("/tasks", b'{"title": "Buy milk"}', BODY_LIMIT, 201),
    ("/auth/login", b'{"email": "alice@example.com", "password": "wrong"}', BODY_LIMIT, 401),
    (
        "/tasks/batch",
        b'{"operations": [{"op": "create", "data": {"title": "a"}}]}',
        BATCH_LIMIT,
        207,
    ),
    ("/tasks/import", b'[{"title": "Buy milk"}]', IMPORT_LIMIT, 200),
]


@pytest.mark.parametrize(("path", "body", "limit", "status"), PADDED)
def test_a_body_passes_up_to_the_limit(nginx, service, bearer, path, body, limit, status):
    headers = {**bearer, "Content-Type": "application/json"}

    at_limit = nginx.ask("POST", path, body.ljust(limit), headers)
    over = nginx.ask("POST", path, body.ljust(limit + 1), headers)

    assert at_limit.status == status, at_limit.body
    assert_problem(over, 413, "body_too_large")
    assert service_lines(service, over.json()["request_id"]) == []


def test_a_body_in_chunks_is_passed_on_whole(nginx, bearer):
    chunks = iter([b'{"title": ', b'"Buy milk"}'])

    answer = nginx.ask("POST", "/tasks", chunks, {**bearer, "Content-Type": "application/json"})
    too_long = nginx.ask("POST", "/tasks", iter([b"a" * 60_000] * 2), bearer)

    assert (answer.status, answer.json()["title"]) == (201, "Buy milk")
    assert_problem(too_long, 413, "body_too_large")


def test_what_would_unpack_into_fifty_megabytes_is_not_unpacked(nginx, bearer):
    bomb = gzip.compress(b" " * 50_000_000)
    packed = {**bearer, "Content-Type": "application/json", "Content-Encoding": "gzip"}

    refused = nginx.ask("POST", "/tasks", bomb, packed)

    assert len(bomb) < BODY_LIMIT
    assert_problem(refused, 415, "content_encoding_unsupported")
    assert refused.headers["Accept-Encoding"] == "identity"


def test_a_request_line_passes_up_to_the_services_limit(nginx, bearer):
    longest = 8190 - len("GET /tasks?q= HTTP/1.1")

    at_limit = nginx.ask("GET", f"/tasks?q={'a' * longest}", headers=bearer)
    over = nginx.ask("GET", f"/tasks?q={'a' * (longest + 1)}", headers=bearer)

    assert_problem(at_limit, 422, "validation_failed")  # The service says so: it has read it.
    assert_problem(over, 414, "uri_too_long")


def test_headers_pass_up_to_the_services_limit(nginx):
    assert nginx.ask("GET", "/health/live", headers={"X-Long": "a" * 8000}).status == 200
    assert_problem(
        nginx.ask("GET", "/health/live", headers={"X-Long": "a" * 9000}), 431, "headers_too_large"
    )
    many = {f"X-{number}": "a" * 4000 for number in range(10)}
    assert_problem(nginx.ask("GET", "/health/live", headers=many), 431, "headers_too_large")


def test_a_method_that_nothing_takes_is_refused_like_one_that_the_url_does_not_take(nginx):
    answer = nginx.ask("TRACE", "/tasks", headers={"X-Secret": "mine"})

    assert_problem(answer, 405, "method_not_allowed")
    assert "PATCH" in answer.headers["Allow"]
    assert "TRACE" not in answer.headers["Allow"]
    assert b"mine" not in answer.body
    assert "Allow" not in nginx.ask("GET", "/nowhere").headers


def test_addresses_of_one_network_of_ipv6_ask_as_one(tmp_path):
    """The addresses come in a header, as by a proxy before it: loopback has no network."""
    changes = {
        "limit_conn taskapi_clients 100;": "limit_conn taskapi_clients 1;"
        " set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;"
    }
    with nginx_before(tmp_path / "nobody.sock", tmp_path, changes) as nginx:

        def status_of(address):
            return nginx.ask("GET", "/tasks", headers={"X-Real-IP": address}).status

        def begin(address):
            head = "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
            waiting = nginx.dial()
            waiting.sendall(f"{head}X-Real-IP: {address}\r\n\r\n".encode())
            while status_of(address) != 429:  # Until its head has been read.
                pass
            return waiting

        with begin("2001:db8:a0a:2::a"), begin("198.51.100.1"):
            assert status_of("2001:db8:a0a:2:ffff::b") == 429
            # There is nothing behind nginx: who gets through is told so.
            assert status_of("2001:db8:a0a:3::a") == 503
            assert status_of("198.51.100.2") == 503


def test_one_address_may_ask_a_hundred_things_at_a_time(nginx, bearer):
    begun = b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(nginx.dial("127.0.0.9")).sendall(begun)
        deadline = time.monotonic() + 5
        refused = nginx.ask("GET", "/tasks", headers=bearer, address="127.0.0.9")
        while refused.status == 200 and time.monotonic() < deadline:
            refused = nginx.ask("GET", "/tasks", headers=bearer, address="127.0.0.9")
        others = nginx.ask("GET", "/tasks", headers=bearer, address="127.0.0.10")

    assert_problem(refused, 429, "rate_limited")
    assert refused.headers["Retry-After"] == "1"
    assert others.status == 200


LARGE = ["/tasks", "/tasks/export?format=csv", "/trash?include=total", "/api/ada%2Fb%0A/tasks"]


@pytest.fixture(scope="module")
def counting(upstream, tmp_path_factory):
    """nginx that lets one network read two whole lists and ask ten things at a time."""
    fewer = {
        "limit_conn taskapi_readers_of_all 10;": "limit_conn taskapi_readers_of_all 2;",
        "limit_conn taskapi_clients 100;": "limit_conn taskapi_clients 10;",
    }
    with nginx_before(upstream.path, tmp_path_factory.mktemp("counting"), fewer) as nginx:
        yield nginx


@pytest.mark.parametrize("path", LARGE)
def test_one_address_reads_few_whole_lists_at_a_time(counting, upstream, path):
    before = len(upstream.requests)
    silent = {"X-Be-Silent": "yes"}
    # Of its own, since nginx may still count the readers of the test before.
    address = f"127.0.1.{1 + LARGE.index(path)}"
    with ExitStack() as stack:
        for _ in range(2):
            reader = stack.enter_context(closing(counting.connection(address)))
            reader.request("GET", path, headers=silent)
        upstream.wait_for(before + 2)

        assert_problem(counting.ask("GET", path, address=address), 429, "rate_limited")
        assert counting.ask("GET", path, address="127.0.0.10").status == 200
        for other in ("/tasks?limit=20", "/tasks?cursor=a", "/tasks/changes", "/tasks/1"):
            assert counting.ask("GET", other, address=address).status == 200
        assert counting.ask("POST", "/tasks", {}, address=address).status == 200


def test_what_waits_for_a_slow_reader_takes_a_bounded_file(tmp_path, upstream):
    small = {"proxy_max_temp_file_size 64m;": "proxy_max_temp_file_size 1m;"}
    with (
        nginx_before(upstream.path, tmp_path, small) as nginx,
        nginx.dial(receive_buffer=4096) as reader,
    ):
        reader.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")

        sent = upstream.stalled_after()

    # The file, nginx's buffers, and those of the sockets between.
    assert 1 << 20 < sent < 16 << 20


# --- When the service is away ----------------------------------------------------------------


def test_a_service_that_is_away_is_a_503(tmp_path, recorded):
    with nginx_before(tmp_path / "nobody.sock", tmp_path) as lonely:
        away = lonely.ask("GET", "/tasks", headers={"Origin": "http://localhost:5173"})
        head = lonely.ask("HEAD", "/tasks")

    assert_problem(away, 503, "service_unavailable")
    assert (head.status, head.body) == (503, b"")
    assert_problem(recorded.ask("POST", "/break-off", {}), 503, "service_unavailable")
    assert_problem(recorded.ask("GET", "/be-silent"), 503, "service_unavailable")
    assert int(away.headers["Retry-After"]) > 0
    # A page of another origin learns of it as well.
    assert away.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"


def test_a_write_is_never_sent_twice(recorded, upstream):
    connection = recorded.connection()
    connection.request("GET", "/")
    connection.getresponse().read()
    before = len(upstream.requests)
    # By the connection upstream that is kept now, which nginx would take for a stale one.
    connection.request("POST", "/break-off", b"{}")
    assert connection.getresponse().status == 503
    connection.close()

    assert len(upstream.requests) == before + 1


def test_connections_to_the_service_are_kept(recorded, upstream):
    before = upstream.connections
    connection = recorded.connection()
    for _ in range(50):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()

    # Those of before may have been kept as well.
    assert upstream.connections <= before + 1


# --- Who the client is -----------------------------------------------------------------------

FORGED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": "203.0.113.7",
    "Forwarded": "for=203.0.113.7;proto=https",
    "X_Forwarded_For": "203.0.113.7",
    "Script_Name": "/evil",
}


def header(request, name):
    """The values of a header in what has reached the upstream."""
    lines = [line.partition(": ") for line in request.split("\r\n")[1:]]
    return [value for found, _, value in lines if found.lower() == name.lower()]


def test_what_a_client_says_of_itself_goes_no_further(recorded, upstream):
    before = len(upstream.requests)
    recorded.ask("GET", "/x%2Fy?q=%20a", headers={**FORGED, "Connection": "keep-alive, X-Extra"})

    [request] = upstream.requests[before:]
    assert request.startswith("GET /x%2Fy?q=%20a HTTP/1.1\r\n")
    assert header(request, "X-Forwarded-For") == ["127.0.0.1"]
    assert header(request, "X-Forwarded-Proto") == ["http"]
    assert header(request, "Host") == [f"127.0.0.1:{recorded.port}"]
    assert "203.0.113.7" not in request
    assert "evil" not in request
    for name in ("Forwarded", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP", "Connection"):
        assert header(request, name) == []


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/tasks?limit=1", "/nowhere", "/tasks/"])
def test_what_a_client_says_of_host_path_and_method_changes_nothing(nginx, bearer, path):
    for title in "ab":
        nginx.ask("POST", "/tasks", {"title": title}, bearer)
    plain, forged = (
        nginx.ask("GET", path, headers={**bearer, **forgery, "X-Request-ID": "a"})
        for forgery in ({}, {**FORGED, **test_caches.FORGED})
    )

    assert (forged.status, forged.body) == (plain.status, plain.body)
    assert forged.headers["Link"] == plain.headers["Link"]
    assert "evil" not in str(forged.headers)


def test_the_log_has_the_address_that_nginx_saw(nginx, service):
    answer = nginx.ask("GET", "/health/live", headers=FORGED, address=OUTSIDE)

    [line] = service_lines(service, answer.headers["X-Request-ID"])
    assert orjson.loads(line)["client"] == OUTSIDE


def test_attempts_to_log_in_are_counted_by_the_real_address(nginx):
    register(nginx, "grace@example.com", address="127.0.0.5")

    def log_in(password, address, forged):
        body = {"email": "grace@example.com", "password": password}
        return nginx.ask("POST", "/auth/login", body, {"X-Forwarded-For": forged}, address)

    attempts = [log_in("wrong", "127.0.0.4", f"203.0.113.{number}") for number in range(8)]
    owner = log_in(PASSWORD, "127.0.0.5", "127.0.0.4")

    assert [attempt.status for attempt in attempts][:5] == [401] * 5
    assert_problem(attempts[-1], 429, "too_many_attempts")
    assert owner.status == 200


def test_a_request_has_one_id_everywhere(nginx, service, bearer):
    own = nginx.ask("GET", "/tasks?q=secret", headers={**bearer, "X-Request-ID": "mine-1"})
    made = nginx.ask("GET", "/tasks?q=secret", headers=bearer)
    cleaned = nginx.ask("GET", "/nowhere", headers={"X-Request-ID": 'a"b'})

    assert own.headers.get_all("X-Request-ID") == ["mine-1"]
    assert cleaned.headers["X-Request-ID"] != 'a"b'
    for answer in (own, made, cleaned):
        request_id = answer.headers["X-Request-ID"]
        line = nginx.logged(request_id)
        assert (line["status"], line["upstream_status"]) == (answer.status, str(answer.status))
        assert len(service_lines(service, request_id)) == 1
    assert "secret" not in str(nginx.log())


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/%6detrics", "/a/../metrics", "/metrics?x", "/./metrics"]
)
def test_only_this_machine_sees_the_metrics(nginx, path):
    outside = nginx.ask("GET", path, headers={"X-Forwarded-For": "127.0.0.1"}, address=OUTSIDE)
    inside = nginx.ask("GET", path)

    assert_problem(outside, 404, "route_not_found")
    assert nginx.logged(outside.headers["X-Request-ID"])["upstream_status"] == ""
    assert nginx.logged(inside.headers["X-Request-ID"])["upstream_status"] != ""


def test_a_page_may_read_what_nginx_refuses(nginx):
    origin = {"Origin": "https://app.example.com"}

    too_long = nginx.ask("POST", "/tasks", b"x" * (BODY_LIMIT + 1), origin)
    unreadable = nginx.ask("GET", "/tasks?q=" + "x" * 9000, headers=origin)

    for answer, status, readers in (
        # By its name, since the page may have sent its cookie, and * is for requests without.
        (too_long, 413, [origin["Origin"]]),
        # Its headers were not read.
        (unreadable, 414, ["*"]),
    ):
        assert answer.status == status
        assert answer.headers.get_all("Access-Control-Allow-Origin") == readers
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After, X-Request-ID"
        assert "Origin" in answer.headers.get_all("Vary")
    assert too_long.headers["Access-Control-Allow-Credentials"] == "true"
    assert unreadable.headers["Access-Control-Allow-Credentials"] is None


def test_the_page_of_the_problems_is_none(nginx):
    assert_problem(nginx.ask("GET", "/.problem"), 404, "route_not_found")


# --- Slow clients ----------------------------------------------------------------------------

POST_TASKS = b"POST /tasks HTTP/1.1\r\nHost: x\r\n"


def assert_served(nginx, bearer):
    started = time.monotonic()
    for _ in range(20):
        assert nginx.ask("GET", "/tasks?limit=1", headers=bearer).status == 200
    print(f"20 of 20 served in {time.monotonic() - started:.2f} s")


def test_400_slow_headers_and_400_slow_bodies_keep_nobody_waiting(nginx, bearer):
    in_chunks = b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n"
    begun = [
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n\r\n", b" 200 "),
        (POST_TASKS + b"Content-Length: 2000\r\n\r\n", b"", b" 401 "),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n\r\n", b" 200 "),
        (POST_TASKS + in_chunks, b"\r\n0\r\n\r\n", b" 401 "),
    ]
    started = time.monotonic()
    with ExitStack() as stack:
        senders = []
        for number in range(800):
            # From 200 addresses, so that it is not their number that saves us.
            sender = stack.enter_context(nginx.dial(f"127.0.1.{number // 4 + 1}"))
            head, end, status = begun[number % 4]
            sender.sendall(head)
            senders.append((sender, end, status))
        for _ in range(4):  # All the while each says a little.
            for sender, _, _ in senders:
                sender.sendall(b"a")
            assert_served(nginx, bearer)
        # None was sent away: whoever comes to an end is answered.
        for sender, end, _ in senders:
            sender.sendall(b"a" * 1996 + end)
        answered = [status in sender.recv(65536) for sender, _, status in senders]
        # Who is not done with the headers after ten seconds is let go.
        assert all(answered) or time.monotonic() - started > 10


def test_slow_readers_of_long_lists_hold_no_thread(nginx):
    token = register(nginx, "reader@example.com")
    bearer = {"Authorization": f"Bearer {token}"}
    tasks = [{"title": "Long", "description": "\N{MUSICAL SYMBOL G CLEF}" * 2000}] * 1000
    assert nginx.ask("POST", "/tasks/import", tasks, bearer).json()["created"] == 1000
    user_id = nginx.ask("GET", "/auth/me", headers=bearer).json()["id"]
    request = (
        f"GET /api/{user_id}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    )

    with ExitStack() as stack:
        readers = []
        for number in range(THREADS + 2):
            reader = stack.enter_context(nginx.dial(f"127.0.2.{number + 1}", receive_buffer=4096))
            reader.sendall(request.encode())
            readers.append(reader)
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        time.sleep(0.5)
        assert_served(nginx, bearer)


def test_who_is_too_slow_is_let_go(tmp_path, upstream):
    hasty = {
        "client_header_timeout 10s": "client_header_timeout 300ms",
        "client_body_timeout 15s": "client_body_timeout 300ms",
    }
    with nginx_before(upstream.path, tmp_path, hasty) as nginx:
        for begun in (
            b"GET / HTTP/1.1\r\nHost",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ):
            with nginx.dial() as slow:
                slow.sendall(begun)
                slow.settimeout(5)
                assert slow.recv(1) == b""  # Nothing is said, and nothing was asked upstream.


# --- Requests that two servers could read differently ----------------------------------------

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH_OF_HIDDEN = b"Content-Length: %d\r\n" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
LAST = b"0\r\n\r\n"

AMBIGUOUS = {
    "CL.TE": POST + LENGTH_OF_HIDDEN + CHUNKED + b"\r\n" + LAST + HIDDEN,
    "TE.CL": POST + CHUNKED + b"Content-Length: 4\r\n\r\n23\r\n" + HIDDEN + b"\r\n" + LAST,
    "CL 0 and TE": POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n23\r\n" + HIDDEN + b"\r\n",
    "two lengths": POST + b"Content-Length: 0\r\n" + LENGTH_OF_HIDDEN + b"\r\n" + HIDDEN,
    "the same length twice": POST + LENGTH_OF_HIDDEN * 2 + b"\r\n" + HIDDEN,
    "list of lengths": POST + b"Content-Length: 0, 35\r\n\r\n" + HIDDEN,
    "length with a sign": POST + b"Content-Length: +35\r\n\r\n" + HIDDEN,
    "negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "hexadecimal length": POST + b"Content-Length: 0x23\r\n\r\n" + HIDDEN,
    "empty length": POST + b"Content-Length:\r\n\r\n" + HIDDEN,
    "huge length": POST + b"Content-Length: 99999999999999999999\r\n\r\n" + HIDDEN,
    "TE twice": POST + CHUNKED * 2 + b"\r\n" + LAST,
    "TE of two": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + LAST + HIDDEN,
    "TE unknown": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + LAST + HIDDEN,
    "TE unknown and CL": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n"
    + LAST
    + HIDDEN,
    "TE behind a tab": POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n" + LAST,
    "TE behind a VT": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST + HIDDEN,
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\n" + CHUNKED + b"\r\n" + LAST + HIDDEN,
    "space before colon": POST + b"Content-Length : 35\r\n\r\n" + HIDDEN,
    "TE, space before colon": POST
    + b"Transfer-Encoding : chunked\r\nContent-Length: 35\r\n\r\n"
    + HIDDEN,
    "underscore": POST + b"Transfer_Encoding: chunked\r\nContent-Length: 35\r\n\r\n" + HIDDEN,
    "folded": GET + b"X-Folded: a\r\n Content-Length: 35\r\n\r\n",
    "folded TE": POST + b"Content-Length: 35\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + HIDDEN,
    "first header folded": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF in headers": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 0\r\n\r\n",
    "bare CR": GET + b"X: a\rGET /smuggled HTTP/1.1\r\n\r\n",
    "chunk extension": POST + CHUNKED + b"\r\n2;x=y\r\n{}\r\n" + LAST,
    "chunk extension with LF": POST + CHUNKED + b"\r\n2;x\n{}\r\n" + LAST,
    "chunk ends with LF": POST + CHUNKED + b"\r\n2\n{}\n0\n\n",
    "chunk too short": POST + CHUNKED + b"\r\n1\r\n{}\r\n" + LAST,
    "chunk of no size": POST + CHUNKED + b"\r\n\r\n" + HIDDEN,
    "huge chunk": POST + CHUNKED + b"\r\nFFFFFFFFFFFFFFFFF\r\n" + HIDDEN,
    "signed chunk": POST + CHUNKED + b"\r\n-2\r\n{}\r\n" + LAST,
    "trailers": POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 35\r\nHost: evil\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 and more": b"GET /\r\n" + HIDDEN,
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two versions": b"GET / HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute": b"GET http://other.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute, no path": b"GET http://other.example HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0Y: a\r\n\r\n",
    "NUL in the path": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL, encoded": b"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no colon": GET + b"nonsense\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "length is the connection's": POST
    + b"Connection: Content-Length\r\nContent-Length: 35\r\n\r\n"
    + HIDDEN,
    "upgrade": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "continue": POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "above the root": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\r\n\r\n",
}


def exchange(nginx, request):
    """Send bytes; return all that comes until the connection is over or has nothing to say."""
    received = b""
    with nginx.dial() as sock:
        sock.sendall(request)
        sock.settimeout(2)
        try:
            while data := sock.recv(65536):
                received += data
                sock.settimeout(0.4)  # Time enough for a second answer.
        except (TimeoutError, ConnectionResetError):
            return received
    return received


def test_no_request_hides_another(nginx, recorded, upstream):
    before = len(upstream.requests)
    with ThreadPoolExecutor(32) as pool:
        of_service = dict(
            zip(AMBIGUOUS, pool.map(exchange, [nginx] * 99, AMBIGUOUS.values()), strict=False)
        )
        of_upstream = dict(
            zip(AMBIGUOUS, pool.map(exchange, [recorded] * 99, AMBIGUOUS.values()), strict=False)
        )

    for answers in (of_service, of_upstream):
        for name, received in answers.items():
            final = re.findall(rb"(?<![\w])HTTP/1\.[01] ([2-5]\d\d) ", received)
            if name.startswith("HTTP/0.9"):
                assert len(final) <= 1 and received.count(b'"name"') <= 1, (name, received)
            else:
                assert len(final) == 1, (name, received)
    for request in upstream.requests[before:]:
        assert "/smuggled" not in request, request
        assert len(header(request, "Content-Length")) <= 1, request
        assert header(request, "Transfer-Encoding") == [], request
        assert len(header(request, "Host")) <= 1, request
        assert "\0" not in request and "\n " not in request
        assert request.count("\n") == request.count("\r\n") == request.count("\r")
    refused = {name for name, received in of_service.items() if b" 400 " in received[:20]}
    assert {"CL.TE", "TE.CL", "two lengths", "folded", "space before colon"} <= refused


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/1%0d%0aX-Injected:%20yes",
        "/tasks/%0d%0a%0d%0aHTTP/1.1%20200%20OK",
        "/api/a%0d%0aX-Injected:%20yes/tasks",
        "/tasks?q=%0d%0aX-Injected:%20yes",
        "/tasks?cursor=%0aSet-Cookie:%20a=b",
        f"/trash/{quote(chr(0x560A) + 'X-Injected: yes')}",
    ],
)
def test_no_header_is_made_by_a_url(nginx, bearer, path):
    answer = nginx.ask("GET", path, headers=bearer)

    assert answer.status in {200, 400, 403, 404, 405, 422}
    assert "X-Injected" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert b"HTTP/1.1 200" not in answer.body
