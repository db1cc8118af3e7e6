"""Measure what counting a request costs: `python -m bench.rate_limits`."""

from __future__ import annotations

import random
import time
from typing import Final

from limits import parse
from limits.strategies import SlidingWindowCounterRateLimiter

from taskapi.http.sliding_windows import SlidingWindowStorage

_REQUESTS: Final = 100_000


def main() -> None:
    """Print the CPU time per request, by the number of active users."""
    limit = parse("1200/minute")
    for users in (1, 10_000, 100_000):
        limiter = SlidingWindowCounterRateLimiter(SlidingWindowStorage())
        names = [f"user 0191f0c0-0000-7000-8000-{number:012d}" for number in range(users)]
        for name in names:
            limiter.hit(limit, "read", name)
        asked = random.choices(names, k=_REQUESTS)
        start = time.process_time()
        for name in asked:
            limiter.hit(limit, "read", name)
            limiter.get_window_stats(limit, "read", name)
        microseconds = (time.process_time() - start) / _REQUESTS * 1e6
        print(f"{users:>7,} active users: {microseconds:.1f} µs")


if __name__ == "__main__":
    main()
