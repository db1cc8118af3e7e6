"""All threads and connections are busy: who comes then is told so, and does not wait with them."""

import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
import requests
from sqlalchemy import make_url

from taskapi import devdb
from tests.support.service import Caller, running_service

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        not hasattr(select, "epoll"), reason="without epoll gunicorn's threads are all there are"
    ),
]

STUCK = 2


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(directory):
    # Longer than any of these tests: nobody who is stuck gives up.
    with running_service(
        directory, THREADS=str(STUCK), LOCK_TIMEOUT="90", STATEMENT_TIMEOUT="90"
    ) as service:
        yield service


@pytest.fixture(scope="module")
def headers(service):
    account = {"email": "ada@example.com", "password": "correct horse battery"}
    pair = requests.post(f"{service.url}/auth/register", json=account, timeout=20).json()
    return {"Authorization": f"Bearer {pair['access_token']}"}


@pytest.fixture
def stuck(service, headers, directory):
    """As many requests as there are threads, which wait for a lock until this is called."""
    url = make_url(devdb.url(directory / "postgres")).set(drivername="postgresql")
    with (
        closing(psycopg2.connect(url.render_as_string(hide_password=False))) as blocker,
        closing(psycopg2.connect(url.render_as_string(hide_password=False))) as observer,
        ThreadPoolExecutor(STUCK) as pool,
    ):
        observer.autocommit = True
        blocker.cursor().execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        waiting = [pool.submit(create, service, headers) for _ in range(STUCK)]
        wait_until_locked(observer)

        def let_go():
            assert not any(one.done() for one in waiting)
            blocker.rollback()
            return [one.result() for one in waiting]

        try:
            yield let_go
        finally:
            blocker.rollback()


def wait_until_locked(observer):
    deadline = time.monotonic() + 30
    with observer.cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone() == (STUCK,):
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def create(service, headers, body=None):
    body = body or {"title": "Buy milk"}
    return requests.post(f"{service.url}/tasks", json=body, headers=headers, timeout=80)


def test_who_needs_a_connection_is_refused_and_nobody_who_has_one(service, headers, stuck):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(service, headers), range(8)))

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "1"
    assert [answer.status_code for answer in stuck()] == [201] * STUCK
    assert create(service, headers).status_code == 201


def test_who_needs_none_is_answered(service, stuck):
    assert requests.get(f"{service.url}/openapi.json", timeout=80).status_code == 200
    health = requests.get(f"{service.url}/health", timeout=80)
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")


def test_a_connection_that_was_refused_on_serves_on(service, headers, stuck):
    with requests.Session() as session:
        session.headers.update(headers)
        assert session.get(f"{service.url}/tasks", timeout=80).status_code == 503
        stuck()
        assert session.get(f"{service.url}/tasks", timeout=80).status_code == 200


def test_an_upload_that_is_not_read_is_no_next_request(service, headers, stuck):
    with requests.Session() as session:
        session.headers.update(headers)
        body = {"title": "x", "description": "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 40}
        answer = session.post(f"{service.url}/tasks", json=body, timeout=80)
        assert answer.status_code == 503
        stuck()
        assert session.get(f"{service.url}/tasks", timeout=80).status_code == 200


def test_who_waits_for_long_where_work_goes_on_is_served(service):
    ada = Caller(service, "grace@example.com")
    tasks = [{"title": f"Task {number}"} for number in range(10_000)]
    assert ada.call("POST", "/tasks/import", json=tasks).status_code == 200
    headers = {"Authorization": str(ada.session.headers["Authorization"])}

    def read_all(_number):
        return requests.get(f"{service.url}/tasks", headers=headers, timeout=80).status_code

    # Reading so much so often takes a while, for all but the first ones.
    with ThreadPoolExecutor(160) as pool:
        answers = list(pool.map(read_all, range(160)))

    # A disk that holds everybody up for long enough looks like a stuck database.
    assert set(answers) <= {200, 503}
    assert answers.count(200) > 140
