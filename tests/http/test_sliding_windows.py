"""Rate limits counted in memory."""

import sys
import threading
import time

import pytest
from limits import parse
from limits.strategies import SlidingWindowCounterRateLimiter

from taskapi.http import sliding_windows
from taskapi.http.sliding_windows import SlidingWindowStorage

LIMIT = parse("10/minute")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at the beginning of a window until it is set."""
    now = [6000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def storage():
    return SlidingWindowStorage()


@pytest.fixture
def limiter(storage):
    return SlidingWindowCounterRateLimiter(storage)


def test_the_limit_is_taken_and_no_more(clock, limiter):
    assert [limiter.hit(LIMIT, "alice") for _ in range(12)] == [True] * 10 + [False] * 2
    assert limiter.get_window_stats(LIMIT, "alice").remaining == 0
    assert limiter.hit(LIMIT, "bob", cost=10)


def test_a_cost_above_what_is_left_counts_nothing(clock, limiter):
    assert limiter.hit(LIMIT, "alice", cost=7)
    assert not limiter.hit(LIMIT, "alice", cost=4)

    assert limiter.get_window_stats(LIMIT, "alice").remaining == 3


def test_what_is_given_back_can_be_taken_again(clock, limiter):
    limiter.hit(LIMIT, "alice", cost=10)
    limiter.hit(LIMIT, "alice", cost=-1)

    assert [limiter.hit(LIMIT, "alice") for _ in range(2)] == [True, False]


def test_nothing_is_given_back_beyond_what_was_counted(clock, limiter):
    limiter.hit(LIMIT, "alice", cost=-1)

    assert limiter.get_window_stats(LIMIT, "alice").remaining == 10


@pytest.mark.parametrize(("seconds", "left"), [(0, 0), (60, 0), (90, 5), (114, 9), (120, 10)])
def test_the_window_before_counts_by_its_share(clock, limiter, seconds, left):
    limiter.hit(LIMIT, "alice", cost=10)

    clock[0] += seconds

    assert limiter.get_window_stats(LIMIT, "alice").remaining == left


def test_what_is_over_leaves_the_memory(clock, limiter, storage):
    for number in range(100):
        limiter.hit(LIMIT, f"user {number}")
    clock[0] += 120
    limiter.hit(LIMIT, "alice")

    assert storage.reset() == 1


def test_a_flood_of_addresses_is_bounded_and_evicts_no_user_before_it(
    clock, limiter, storage, monkeypatch
):
    monkeypatch.setattr(sliding_windows, "MAX_KEYS_PER_WINDOW", 10)
    limiter.hit(LIMIT, "alice", cost=10)
    for number in range(1000):
        limiter.hit(LIMIT, f"address {number}")

    assert not limiter.hit(LIMIT, "alice")
    assert storage.reset() == 10


def test_the_cost_does_not_grow_with_the_number_of_users(clock, limiter):
    def lines_of_one_request():
        lines = 0

        def trace(_frame, event, _argument):
            nonlocal lines
            lines += event == "line"
            return trace

        sys.settrace(trace)
        try:
            limiter.hit(LIMIT, "alice")
            limiter.get_window_stats(LIMIT, "alice")
        finally:
            sys.settrace(None)
        return lines

    limiter.hit(LIMIT, "alice")
    with_one = lines_of_one_request()
    for number in range(20_000):
        limiter.hit(LIMIT, f"user {number}")

    assert with_one > 0
    assert lines_of_one_request() == with_one


def test_threads_together_take_no_more_than_the_limit(limiter):
    limit = parse("1000/day")
    taken: list[bool] = []

    def take():
        taken.extend(limiter.hit(limit, "alice") for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count(True) == 1000


def test_clearing_forgets_one_key(clock, limiter):
    limiter.hit(LIMIT, "alice", cost=10)
    limiter.hit(LIMIT, "bob", cost=10)
    limiter.clear(LIMIT, "alice")

    assert limiter.hit(LIMIT, "alice")
    assert not limiter.hit(LIMIT, "bob")
