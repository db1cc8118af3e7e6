"""One account does its worst; another one notices nothing. `make abuse` takes a minute for each."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product

import orjson
import pytest

from tests.support.abuse import AT_LENGTH, CONNECTIONS, PASSWORD, Request, scene
from tests.support.nginx import needs_nginx

pytestmark = [pytest.mark.service, pytest.mark.abuse, needs_nginx]

UPLOAD_BYTES = 16 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
READS_PER_MINUTE = 1200
ACCOUNT_TASKS = 1_000_000 if AT_LENGTH else 20_000
SEARCHED_TASKS = 90_000 if AT_LENGTH else 10_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with scene(tmp_path_factory.mktemp("abuse")) as made:
        yield made


@pytest.fixture
def abuser(stage):
    return stage.new_abuser()


@functools.cache
def nested_lists(size: int) -> bytes:
    return b"[" + b"[[]]," * ((size - 8) // 5) + b"[[]]]"


@functools.cache
def empty_operations(size: int) -> bytes:
    return b'{"operations":[' + b"[]," * ((size - 20) // 3) + b"[]]}"


@functools.cache
def wrong_tasks() -> bytes:
    return orjson.dumps([{"title": "a", **{f"x{n}": 1 for n in range(150)}}] * 10_000)


def times(count: int, request: Request) -> Iterator[Request]:
    for _ in range(count):
        yield request


def test_imports_of_nested_lists(stage, abuser):
    file = Request("POST", "/tasks/import", nested_lists(UPLOAD_BYTES))
    outcome = stage.abuse(abuser["access_token"], lambda _: times(1, file))

    stage.check(outcome)
    assert outcome.statuses()[422] > 0
    assert outcome.statuses()[200] == 0


def test_batches_of_what_is_no_operation(stage, abuser):
    batch = Request("POST", "/tasks/batch", empty_operations(BATCH_BYTES))
    outcome = stage.abuse(abuser["access_token"], lambda _: times(2, batch))

    stage.check(outcome)
    assert outcome.statuses()[422] > 0
    assert outcome.statuses()[207] == 0


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["bare", "keyed"])
def test_imports_of_tasks_with_unknown_fields(stage, abuser, headers):
    file = Request("POST", "/tasks/import", wrong_tasks(), headers=headers)
    outcome = stage.abuse(abuser["access_token"], lambda _: times(1, file))

    stage.check(outcome)
    assert outcome.statuses()[200] > 0


def test_searches_through_many_tasks(stage, abuser):
    stage.fill(abuser["user"]["id"], SEARCHED_TASKS)
    stage.sql("ANALYZE tasks")
    search = Request("GET", "/tasks?q=nothing+has+these+words&sort=title&limit=200")
    outcome = stage.abuse(abuser["access_token"], lambda _: times(3, search))

    stage.check(outcome)
    assert outcome.statuses()[200] > 0


def test_reads_as_quick_as_can_be(stage, abuser):
    limit = READS_PER_MINUTE * len(stage.workers())
    read = Request("GET", "/tasks?limit=1")
    outcome = stage.abuse(
        abuser["access_token"], lambda _: times(limit * 3 // 2 // CONNECTIONS, read)
    )

    stage.check(outcome)
    assert outcome.statuses()[429] > 0
    assert 0 < outcome.statuses()[200] <= limit * (1 + outcome.seconds / 60)


def test_lists_of_every_shape(stage, abuser):
    paths = [
        f"/tasks?limit=1&sort={sort}&{one}&{other}"
        for sort, one, other in product(
            ("title", "-title", "order", "-order", "updated_at", "-completed_at"),
            ("completed=true", "completed=false", "q=milk", "include=total"),
            ("created_after=2020-01-01T00:00:00Z", "updated_before=2040-01-01T00:00:00Z"),
        )
    ]
    outcome = stage.abuse(
        abuser["access_token"], lambda _: (Request("GET", path) for path in paths)
    )

    stage.check(outcome)
    assert outcome.statuses()[200] > len(paths)


def test_registrations_all_at_once(stage):
    turns = iter(range(10**9))

    def register(number: int) -> Iterator[Request]:
        for _ in range(2):
            body = {"email": f"robot-{number}-{next(turns)}@example.com", "password": PASSWORD}
            yield Request("POST", "/auth/register", orjson.dumps(body))

    outcome = stage.abuse("", register)

    stage.check(outcome)
    assert outcome.statuses()[201] > 0


def test_an_account_of_many_tasks_is_deleted(stage):
    owner = stage.register("owner", "127.0.5.1")
    stage.fill(owner["user"]["id"], ACCOUNT_TASKS)
    stage.sql("ANALYZE tasks")
    deletion = Request("DELETE", "/auth/me", orjson.dumps({"password": PASSWORD}))
    read = Request("GET", "/tasks?limit=1")
    # The others keep it busy, but for the password only one connection asks.
    outcome = stage.abuse(
        owner["access_token"], lambda number: times(20, read if number else deletion)
    )

    stage.check(outcome)
    assert outcome.statuses()[204] == 1
    # Under contention the rows may be left to `flask purge`; the person is gone at once.
    open_accounts = "SELECT count(*) FROM users WHERE id = %(id)s AND email IS NOT NULL"
    assert stage.sql(open_accounts, id=owner["user"]["id"]) == [(0,)]
