"""PostgreSQL killed under load: nothing that was acknowledged is lost."""

import os
import signal
import threading
import time

import pytest
import requests

from tests.support.service import Caller, running_service

pytestmark = pytest.mark.service


def test_what_was_acknowledged_survives_a_kill_of_the_database_under_load(tmp_path):
    acknowledged: dict[str, str] = {}
    refused: list[requests.Response] = []
    successes: list[float] = []
    stop = threading.Event()

    def write(writer: Caller, name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            title = f"{name}-{number}"
            answer = writer.call("POST", "/tasks", json={"title": title})
            if answer.status_code == 201:
                acknowledged[answer.json()["id"]] = title
                successes.append(time.monotonic())
            else:
                refused.append(answer)
                time.sleep(0.02)

    with running_service(tmp_path, WEB_CONCURRENCY="2") as service:
        writers = [Caller(service, f"writer{name}@example.com") for name in range(6)]
        threads = [
            threading.Thread(target=write, args=(writer, name))
            for name, writer in enumerate(writers)
        ]
        for thread in threads:
            thread.start()
        kills = []
        for _ in range(3):
            time.sleep(1.2)
            pid = int((tmp_path / "postgres/postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            kills.append(time.monotonic())
            back = service.wait_until("/health", 503, 5) + service.wait_until("/health", 200, 20)
            print(f"answered again {back:.1f} s after the kill")
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()

        kept: dict[str, str] = {}
        for writer in writers:
            query = "?limit=200"
            while query:
                page = writer.call("GET", f"/tasks{query}").json()
                kept |= {task["id"]: task["title"] for task in page["tasks"]}
                query = page["next_cursor"] and f"?limit=200&cursor={page['next_cursor']}"

    assert len(acknowledged) > 100
    assert acknowledged.items() <= kept.items()
    assert refused
    for answer in refused:
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"]
        assert answer.json()["code"] in {"database_unavailable", "database_not_ready", "busy"}
    for kill in kills:
        assert any(moment > kill for moment in successes)
