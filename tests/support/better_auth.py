"""Better Auth itself, run by Node: an issuer as contract C's clients know it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.support import npm
from tests.support.service import ROOT, free_port

FOLDER = ROOT / "tests" / "clients" / "better-auth"


class BetterAuth:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def tell(self, number: signal.Signals, answer: str) -> None:
        """Send a signal and wait for the word that it has been followed."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == answer


class Browser:
    """Somebody with a page of their own, who signs up and takes tokens as a browser does."""

    def __init__(self, issuer: BetterAuth, name: str) -> None:
        self.issuer = issuer
        self.session = requests.Session()
        self.session.headers["Origin"] = issuer.url
        answer = self.session.post(
            f"{issuer.url}/api/auth/sign-up/email",
            json={"name": name, "email": f"{name}@example.com", "password": "correct horse"},
            timeout=20,
        )
        answer.raise_for_status()
        self.id = answer.json()["user"]["id"]

    def take_token(self) -> str:
        answer = self.session.get(f"{self.issuer.url}/api/auth/token", timeout=20)
        answer.raise_for_status()
        return str(answer.json()["token"])


@contextmanager
def running_better_auth() -> Iterator[BetterAuth]:
    npm.install(FOLDER)
    port = free_port()
    process = subprocess.Popen(
        ["node", "server.mjs", str(port)],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield BetterAuth(process, f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate(timeout=20)
