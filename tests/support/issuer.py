"""An issuer of tokens that does what a test wants: rotates, hangs, goes away, lies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://auth.example.com"
AUDIENCE = "https://tasks.example.com"


class Issuer:
    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.published: list[Any] = []
        self.asked = 0
        self.hangs = threading.Event()
        self.may_go_on = threading.Event()
        self.answer: bytes | None = None
        self.drips = False
        self.location = ""
        self.url = ""
        self._server: ThreadingHTTPServer | None = None

    def add_key(self, key_id: str, algorithm: str = "EdDSA", **members: Any) -> None:
        key: Any
        public: Any
        if algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        elif algorithm == "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            key = rsa.generate_private_key(65537, members.pop("bits", 2048))
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            public.pop("key_ops", None)
        self.keys[key_id] = (algorithm, key)
        self.published.append({**public, "kid": key_id, "alg": algorithm, **members})

    def withdraw(self, key_id: str) -> None:
        self.published = [jwk for jwk in self.published if jwk["kid"] != key_id]

    def sign(self, key_id: str, user_id: Any = "ada", header: Any = None, **claims: Any) -> str:
        algorithm, key = self.keys[key_id]
        now = int(time.time())
        body = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 900, "sub": user_id}
        body = {name: value for name, value in (body | claims).items() if value is not ...}
        header = {"kid": key_id} if header is None else header
        return jwt.encode(body, key, algorithm, headers=header)

    def start(self, port: int = 0) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                if issuer.hangs.is_set():
                    issuer.may_go_on.wait(20)
                body = issuer.answer or json.dumps({"keys": issuer.published}).encode()
                self.send_response(302 if issuer.location else 200)
                if issuer.location:
                    self.send_header("Location", issuer.location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):  # Whoever asked may not have waited.
                    for drop in (body[at : at + 1] for at in range(len(body))):
                        self.wfile.write(drop if issuer.drips else body)
                        if not issuer.drips:
                            break
                        time.sleep(0.1)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/jwks"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.may_go_on.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()
