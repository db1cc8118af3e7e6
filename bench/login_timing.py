"""Whether the time of a refused login tells if the e-mail address has an account.

Starts the service, with an embedded PostgreSQL of its own, and logs in with a wrong password
by turns for addresses that are known and addresses that are not. A report, not a test: prints
the medians and their difference.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

ROOT = Path(__file__).resolve().parent.parent
HASH = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1),)).hash("unused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300, help="of attempts (default: 300)")
    pairs = parser.parse_args().pairs
    with service(pairs) as port:
        times = measure(port, pairs)
    medians = {kind: statistics.median(seconds) * 1000 for kind, seconds in times.items()}
    print(f"Refused logins, {pairs} pairs, milliseconds:")
    for kind, seconds in times.items():
        low, _, high = (value * 1000 for value in statistics.quantiles(seconds, n=4))
        print(f"  {kind:8} median {medians[kind]:7.2f}   quartiles {low:7.2f} {high:7.2f}")
    difference = medians["unknown"] / medians["known"] - 1
    print(f"The medians differ by {difference:+.1%}.")


@contextmanager
def service(accounts: int) -> Iterator[int]:
    """Run the service with accounts known0@example.com, known1@… and yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "EMBEDDED_POSTGRES_DIR": f"{directory}/postgres",
            "PORT": str(port),
            "LOG_LEVEL": "error",
            # Every attempt says that it comes from another address: the throttle is not
            # what is measured.
            "TRUSTED_PROXIES": "1",
        }
        lines = [
            json.dumps({"email": f"known{number}@example.com", "password_hash": HASH})
            for number in range(accounts)
        ]
        subprocess.run(
            [sys.executable, "-m", "flask", "users", "import", "-"],
            cwd=ROOT,
            env=environment,
            input="\n".join(lines),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "taskapi"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The service did not start.")


def measure(port: int, pairs: int) -> dict[str, list[float]]:
    """Time the attempts, in seconds: one of each kind, in an order that chance decides."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(-10, pairs):  # The first ten warm up.
        for kind in random.sample([*times], 2):
            body = json.dumps({"email": f"{kind}{number}@example.com", "password": "wrong words"})
            address = f"198.51.{(number + 10) // 250}.{(number + 10) % 250}"
            headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
            started = time.perf_counter()
            connection.request("POST", "/auth/login", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.UNAUTHORIZED:
                raise SystemExit(f"The service answered {answer.status}.")
            if number >= 0:
                times[kind].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
