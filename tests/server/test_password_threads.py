"""Hashing passwords leaves threads for the other requests."""

import threading

from taskapi.auth import passwords
from taskapi.exceptions import Busy


def test_at_most_half_of_the_threads_wait_to_hash(variant, monkeypatch):
    app = variant(threads=8, web_concurrency=1024)
    monkeypatch.setattr(passwords, "_SLOT_TIMEOUT_SECONDS", 60)
    release = threading.Event()
    outcomes: list[str] = []
    lock = threading.Lock()
    refused = threading.Semaphore(0)

    def hash_one():
        with app.app_context():
            try:
                with passwords._hashing_slot():
                    release.wait(60)
                    outcome = "hashed"
            except Busy:
                outcome = "busy"
                refused.release()
        with lock:
            outcomes.append(outcome)

    threads = [threading.Thread(target=hash_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    were_refused = [refused.acquire(timeout=10) for _ in range(4)]
    release.set()
    for thread in threads:
        thread.join()

    assert were_refused == [True] * 4
    assert sorted(outcomes) == ["busy"] * 4 + ["hashed"] * 4
