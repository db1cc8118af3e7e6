"""What an import takes of a worker's memory, and gives back."""

import orjson
import psutil
import pytest

from tests.service import Caller, running_service

pytestmark = pytest.mark.service

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("service")
    with running_service(directory, WEB_CONCURRENCY="1", THREADS="2") as service:
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
