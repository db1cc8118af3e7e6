"""Contract A: what its client cannot see, a restart."""

import pytest
import requests

from tests.support.contracts import running

pytestmark = pytest.mark.service


def test_ten_thousand_tasks_come_as_one_array_and_are_there_after_a_restart(tmp_path):
    with running("path", tmp_path) as server:
        server.fill(server.new_owner("ada"), 10_000)
        before = requests.get(f"{server.url}/api/ada/tasks", timeout=60).json()
    with running("path", tmp_path) as server:
        after = requests.get(f"{server.url}/api/ada/tasks", timeout=60).json()

    assert len({task["id"] for task in before}) == 10_000
    assert after == before
