"""What large bodies take of a worker's memory, and give back."""

from concurrent.futures import ThreadPoolExecutor

import orjson
import psutil
import pytest
import requests

from tests.support.service import Caller, running_service

pytestmark = pytest.mark.service

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("service")
    with running_service(directory, WEB_CONCURRENCY="1", THREADS="8") as service:
        yield service


def test_memory_is_given_back_after_a_large_file(service):
    alice = Caller(service, "alice@example.com")
    # One character beyond the others makes four bytes of each. One task too many: none is added.
    task = {"title": "a" * 400 + "\U0001f600", "description": "b" * 1100 + "\U0001f600"}
    body = orjson.dumps([task] * 10_001)
    assert len(body) < 16 * MIB
    headers = {"Content-Type": "application/json"}
    [worker] = service.master().children()
    assert alice.call("POST", "/tasks/import", data=b"[]", headers=headers).status_code == 200
    before = worker.memory_info().rss

    assert alice.call("POST", "/tasks/import", data=body, headers=headers).status_code == 422

    assert psutil.Process(worker.pid).memory_info().rss - before < 24 * MIB


def test_memory_is_given_back_after_large_batches(service):
    bob = Caller(service, "bob@example.com")
    # One character beyond the others makes four bytes of each; one too many in each description.
    create = {"op": "create", "data": {"title": "a", "description": "b" * 9800 + "\U0001f600"}}
    body = orjson.dumps({"operations": [create] * 100})
    headers = {"Content-Type": "application/json", **bob.session.headers}
    [worker] = service.master().children()

    def refuse(_):
        url = f"{service.url}/tasks/batch"
        return requests.post(url, data=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(refuse, range(4))) == {207}
        before = worker.memory_info().rss
        assert set(pool.map(refuse, range(48))) == {207}

    assert worker.memory_info().rss - before < 24 * MIB
