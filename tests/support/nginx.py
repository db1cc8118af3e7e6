"""nginx with the site of deploy/nginx-site.conf, as an ordinary process on loopback."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from tests.support.service import ROOT, Service, free_port, running_service

DEPLOY = ROOT / "deploy"
BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

needs_nginx = pytest.mark.skipif(
    not (BINARY and shutil.which("openssl") and sys.platform == "linux"),
    reason="there is no nginx here, no openssl, or not all of 127.0.0.0/8",
)


MAIN = """
{user}
worker_processes auto;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;

events {{
    worker_connections 4096;
}}

http {{
    {temporary}
    access_log {directory}/other.log;
    include {site};
}}
"""


def write_configuration(
    directory: Path, listen: str, upstream: Path, changes: Mapping[str, str] | None = None
) -> Path:
    """Write an nginx.conf with the site, at other paths and another address; return where it is."""
    places = {
        "/var/log/nginx/": f"{directory}/",
        "/run/taskapi/taskapi.sock": str(upstream),
        "listen 80;": listen,
        "listen [::]:80;": "",
    }
    site = _rewrite(DEPLOY / "nginx-site.conf", directory, {**places, **(changes or {})})
    return write_main(directory, f"{site}")


def write_main(directory: Path, sites: str) -> Path:
    """Write an nginx.conf that includes sites, by their paths; return where it is."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    main = directory / "nginx.conf"
    main.write_text(
        MAIN.format(
            # Whoever runs the tests; only root may say so.
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            temporary=" ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds),
            site=sites,
        )
    )
    return main


def write_tls_configuration(directory: Path, port: int, upstream: Path) -> Path:
    """Do the same with TLS, and make a certificate for localhost."""
    certificate = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", f"{directory}/privkey.pem", "-out", f"{directory}/fullchain.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, *certificate, *files], check=True, capture_output=True
    )
    places = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "/etc/nginx/tls/": f"{directory}/",
    }
    tls = _rewrite(DEPLOY / "nginx-tls.conf", directory, places)
    include = {"#include /etc/nginx/taskapi-tls.conf;": f"include {tls};"}
    return write_configuration(directory, "", upstream, include)


def _rewrite(source: Path, directory: Path, changes: Mapping[str, str]) -> Path:
    text = source.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    copy = directory / source.name
    copy.write_text(text)
    return copy


def check_configuration(configuration: Path) -> str:
    """Let nginx read it; return what it says, which ends in whether it is good."""
    assert BINARY
    command = [BINARY, "-t", "-p", str(configuration.parent), "-c", str(configuration)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


class Nginx:
    """nginx on a configuration that listens on this port of loopback."""

    def __init__(self, configuration: Path, port: int) -> None:
        self.configuration = configuration
        self.port = port
        self.directory = configuration.parent
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start it; return when it listens."""
        assert BINARY
        command = [BINARY, "-p", str(self.directory), "-c", str(self.configuration)]
        with (self.directory / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=stderr)
        deadline = time.monotonic() + 10
        while True:
            assert self.process.poll() is None, (self.directory / "stderr").read_text()
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except ConnectionError:
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, without waiting for anybody."""
        self.process.terminate()
        self.process.wait(timeout=20)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send a request by a connection of its own, from an address of this machine."""
        values = dict(headers or {})
        if isinstance(body, dict | list):
            values = {"Content-Type": "application/json", **values}
            body = orjson.dumps(body)
        connection = self.connection(address, context)
        try:
            connection.request(method, path, body, values)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def connection(
        self, address: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> http.client.HTTPConnection:
        where: dict[str, Any] = {"timeout": 20, "source_address": (address, 0)}
        if context:
            return http.client.HTTPSConnection("localhost", self.port, context=context, **where)
        return http.client.HTTPConnection("127.0.0.1", self.port, **where)

    def dial(self, address: str = "127.0.0.1", receive_buffer: int = 0) -> socket.socket:
        """Open a connection for what is no proper HTTP."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind((address, 0))
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def log(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._access_log().read_bytes().splitlines()]

    def logged(self, request_id: str) -> dict[str, Any]:
        """Wait for the line of a request: it is written after the answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for line in self.log():
                if line["request_id"] == request_id:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{request_id} is not in {self._access_log().read_text()}")

    def reload(self) -> None:
        """Take the configuration anew; return when the workers of before are gone."""
        master = psutil.Process(self.process.pid)
        before = set(master.children())
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while before & set(master.children()):
            assert time.monotonic() < deadline, (self.directory / "error.log").read_text()
            time.sleep(0.05)

    def _access_log(self) -> Path:
        return self.directory / "access.log"


@contextmanager
def running_nginx(configuration: Path, port: int) -> Iterator[Nginx]:
    """Run nginx on a configuration that listens on this port of loopback."""
    nginx = Nginx(configuration, port)
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.stop()


@contextmanager
def nginx_before(
    upstream: Path, directory: Path, changes: Mapping[str, str] | None = None
) -> Iterator[Nginx]:
    """Run nginx, without TLS, in front of whatever listens at a path."""
    port = free_port()
    listen = f"listen 127.0.0.1:{port};"
    with running_nginx(write_configuration(directory, listen, upstream, changes), port) as nginx:
        yield nginx


@contextmanager
def service_behind_nginx(
    directory: Path, changes: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[tuple[Service, Nginx]]:
    """Run the service as it is deployed: on a socket, with nginx in front of it."""
    port = free_port()
    arguments = f"--bind 127.0.0.1:{port} --bind unix:{directory}/taskapi.sock"
    values: dict[str, Any] = {"TRUSTED_PROXIES": "1", "LOG_FORMAT": "json", **settings}
    (directory / "nginx").mkdir()
    with (
        running_service(
            directory, PORT=str(port), GUNICORN_CMD_ARGS=arguments, **values
        ) as service,
        nginx_before(directory / "taskapi.sock", directory / "nginx", changes) as nginx,
    ):
        yield service, nginx
