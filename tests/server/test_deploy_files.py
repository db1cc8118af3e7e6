"""The files of deploy/ fit the service, and one another; what can run here is run."""

import configparser
import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
import yaml  # type: ignore[import-untyped]
from sqlalchemy import make_url, text

from taskapi import create_app, devdb, settings
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, ensure_ready, execute
from taskapi.devdb import programs
from taskapi.http.problems import catalogue
from tests.support.nginx import (
    DEPLOY,
    check_configuration,
    needs_nginx,
    running_nginx,
    write_configuration,
    write_main,
    write_tls_configuration,
)
from tests.support.service import ROOT, free_port, make_settings, running_service

NGINX = (DEPLOY / "nginx-site.conf").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
UNITS = ["taskapi.service", "taskapi.socket", "taskapi-purge.service", "taskapi-purge.timer"]
GUNICORN = (ROOT / "gunicorn.conf.py").read_text()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


def read_unit(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # as Python's docs say
    parser.read(DEPLOY / name)
    return parser


def gunicorn_setting(name):
    found = re.search(rf"^{name} = (\d+)$", GUNICORN, re.MULTILINE)
    assert found
    return int(found[1])


def seconds(directive):
    found = re.search(rf"\b{directive} (\d+)s;", NGINX)
    assert found, directive
    return int(found[1])


# --- nginx -----------------------------------------------------------------------------------


@needs_nginx
def test_nginx_takes_its_configuration(tmp_path):
    listen = f"listen 127.0.0.1:{free_port()};"
    said = check_configuration(write_configuration(tmp_path, listen, tmp_path / "socket"))

    assert "test is successful" in said
    assert "warn" not in said


@needs_nginx
def test_the_site_serves_beside_another_one(tmp_path):
    port = free_port()
    write_configuration(tmp_path, f"listen 127.0.0.1:{port};", tmp_path / "nobody.sock")
    (tmp_path / "other.conf").write_text(f"""
        map $https $hsts {{ default "theirs"; }}
        server {{ listen 127.0.0.1:{port} default_server; server_name other.example;
                  return 200 theirs; }}
    """)
    main = write_main(tmp_path, f"{tmp_path}/other.conf; include {tmp_path}/nginx-site.conf")

    with running_nginx(main, port) as nginx:
        theirs = nginx.ask("GET", "/tasks", headers={"Host": "other.example"})
        ours = nginx.ask("GET", "/tasks", headers={"Host": "taskapi"})

    assert theirs.body == b"theirs"
    assert (ours.status, ours.json()["code"]) == (503, "service_unavailable")


@needs_nginx
def test_nginx_takes_its_configuration_with_tls(tmp_path):
    said = check_configuration(write_tls_configuration(tmp_path, free_port(), tmp_path / "socket"))

    # Since 1.25 it warns of how HTTP/2 is asked for, which versions before take no other way.
    assert "test is successful" in said


def test_nginx_has_the_limits_of_the_service():
    units = {"k": 1024, "m": 1024**2}
    found = re.findall(r"(?:location = (\S+) \{\n\s+)?client_max_body_size (\d+)([km]);", NGINX)
    limits = {path: int(number) * units[unit] for path, number, unit in found}

    assert limits == {
        "": settings.BODY_LIMIT,
        "/tasks/batch": settings.BATCH_LIMIT,
        "/tasks/import": settings.IMPORT_LIMIT,
    }
    # The line and its end fill one buffer.
    assert "large_client_header_buffers 4 8k;" in NGINX
    assert gunicorn_setting("limit_request_line") + len("\r\n") == 8 * 1024


def test_nginx_is_more_patient_than_the_feed_and_less_than_gunicorn():
    from taskapi.changes.schemas import MAX_WAIT_SECONDS

    assert seconds("proxy_read_timeout") > MAX_WAIT_SECONDS + 5
    assert seconds("keepalive_timeout") < gunicorn_setting("keepalive")


def test_the_problems_of_nginx_have_the_codes_of_the_service():
    table = re.search(r"map \$status \$taskapi_problem_code \{(.*?)\}", NGINX, re.DOTALL)
    assert table
    codes = {code: status for status, code in re.findall(r"(\w+) (\w+);", table[1])}

    of_nginx = {"service_unavailable": "503"}  # Only who stands before it can say that.
    of_service = {code: str(status) for code, (status, _) in catalogue().items()}
    of_service["internal_error"] = "default"
    assert codes.items() <= (of_service | of_nginx).items()
    for name in ("title", "detail"):
        other = re.search(rf"map \$status \$taskapi_problem_{name} \{{(.*?)\n\}}", NGINX, re.DOTALL)
        assert other
        assert set(re.findall(r"^\s+(\w+) \"", other[1], re.MULTILINE)) == set(codes.values())


# --- systemd ---------------------------------------------------------------------------------


def here(text):
    """Let a unit's commands be the ones of this environment."""
    return text.replace("/opt/taskapi/.venv/bin", str(Path(sys.executable).parent))


@needs_systemd
def test_systemd_takes_the_units(tmp_path):
    for name in UNITS:
        (tmp_path / name).write_text(here((DEPLOY / name).read_text()))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *(tmp_path / one for one in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )

    # What it says of units of the machine is none of ours.
    said = [line for line in verified.stderr.splitlines() if "taskapi" in line]
    assert said == []
    assert verified.returncode == 0, verified.stderr


@needs_systemd
@pytest.mark.parametrize("name", ["taskapi.service", "taskapi-purge.service"])
def test_systemd_finds_little_that_is_exposed(tmp_path, name):
    (tmp_path / name).write_text(here((DEPLOY / name).read_text()))
    # Of ten points, in tenths; the network, which it needs, is most of the rest.
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", tmp_path / name],
        capture_output=True,
        text=True,
        check=False,
    )

    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr


def test_both_services_are_shut_in_alike():
    service, purge = (
        read_unit(f"{name}.service")["Service"] for name in ("taskapi", "taskapi-purge")
    )
    own = {"Type", "ExecStart", "ExecReload", "KillMode", "Restart", "RestartSec", "Nice"}
    own |= {"TimeoutStartSec", "TimeoutStopSec", "LimitNOFILE", "MemoryMax", "OOMPolicy"}

    assert {k: v for k, v in service.items() if k not in own} == {
        k: v for k, v in purge.items() if k not in own
    }
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.parametrize("name", ["taskapi.service", "taskapi-purge.service"])
def test_a_unit_has_a_limit_of_memory(name):
    assert read_unit(name)["Service"]["MemoryMax"] not in ("", "infinity")


def test_a_worker_beyond_the_limit_of_memory_does_not_stop_the_service():
    assert read_unit("taskapi.service")["Service"]["OOMPolicy"] == "continue"


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_a_limit_of_memory(name):
    assert COMPOSE["services"][name]["mem_limit"]


def test_the_units_fit_gunicorn_and_nginx():
    service = read_unit("taskapi.service")["Service"]

    assert int(service["TimeoutStopSec"]) > gunicorn_setting("graceful_timeout")
    assert (service["KillMode"], service["Type"]) == ("mixed", "notify")
    listens = read_unit("taskapi.socket")["Socket"]
    assert f"server unix:{listens['ListenStream']};" in NGINX
    assert (listens["SocketMode"], listens["SocketGroup"]) == ("0660", "www-data")
    assert listens["SocketGroup"] == "www-data"  # As whom Debian's nginx serves.
    assert read_unit("taskapi-purge.timer")["Timer"]["Persistent"] == "true"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The settings of a file /etc/taskapi/env, with a database to go with them."""
    directory = tmp_path_factory.mktemp("deploy")
    with running_service(directory, THREADS="2") as service:
        yield {
            "DATABASE_URL": _url_of(directory),
            "JWT_SECRET_KEY": "k" * 32,
            "TRUSTED_PROXIES": "1",
            "LOG_FORMAT": "json",
            "HEALTH_PORT": service.url.rpartition(":")[2],
        }


def _url_of(directory):
    from taskapi import devdb

    return devdb.url(directory / "postgres").replace("+psycopg2", "")


LAUNCHER = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
prctl(38, 1, 0, 0, 0)  # NoNewPrivileges=yes
prctl(65, 1, 0, 0, 0)  # MemoryDenyWriteExecute=yes, where the kernel knows it
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.service
@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_the_unit_starts_reloads_and_stops_as_systemd_asks(tmp_path, database):
    """As systemd does it: the socket is handed over, and the service tells when it is ready."""
    unit = read_unit("taskapi.service")["Service"]
    command = here(unit["ExecStart"])
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        listener.bind(str(tmp_path / "taskapi.sock"))
        listener.listen()
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(listener.fileno()), command],
            cwd=ROOT,
            env={
                **os.environ,
                **database,
                "LISTEN_FDS": "1",
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WEB_CONCURRENCY": "1",
                "PORT": str(free_port()),
            },
            pass_fds=(listener.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        try:
            assert b"READY=1" in notified.recv(1024)
            assert ask_socket(tmp_path / "taskapi.sock", "/health") == 200
            # Hashing is where code might be made while the service runs.
            account = b'{"email": "ada@example.com", "password": "correct horse battery"}'
            assert ask_socket(tmp_path / "taskapi.sock", "/auth/register", account) == 201
            reload = shlex.split(unit["ExecReload"].replace("$MAINPID", str(process.pid)))
            subprocess.run(reload, check=True)
            assert ask_socket(tmp_path / "taskapi.sock", "/health") == 200
        finally:
            process.terminate()
            assert process.wait(timeout=int(unit["TimeoutStopSec"])) == 0
        # It is systemd's, and there for the next start.
        assert (tmp_path / "taskapi.sock").exists()


def ask_socket(path, target, body=b""):
    method = "POST" if body else "GET"
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(head.encode() + body)
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.status


@pytest.mark.service
def test_the_purge_runs(database):
    command = here(read_unit("taskapi-purge.service")["Service"]["ExecStart"])
    purged = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env={**os.environ, **database},
        capture_output=True,
        text=True,
        check=False,
    )

    assert purged.returncode == 0, purged.stderr


# --- Containers ------------------------------------------------------------------------------


def instructions():
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def values_of(name):
    return [value for found, value in instructions() if found == name]


HADOLINT = Path(sys.executable).parent / "hadolint"


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint comes for Linux on x86-64 alone")
def test_hadolint_finds_nothing_in_the_dockerfile():
    linted = subprocess.run(
        [HADOLINT, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_compose_file_is_one_by_the_schema_of_compose():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_is_small_pinned_and_nobodys():
    assert all(re.fullmatch(r"python:3\.11-slim-\w+( AS \w+)?", one) for one in values_of("FROM"))
    assert len(values_of("FROM")) == 2
    [install] = [one for one in values_of("RUN") if "pip install" in one]
    assert "--require-hashes" in install and "--no-cache-dir" in install
    assert values_of("ADD") == []
    assert not re.search(r"\b(curl|wget|apt-get|sudo)\b", DOCKERFILE)
    last = instructions()[-5:]
    [user] = values_of("USER")
    assert int(user.split(":")[0]) >= 1000
    # After it nothing is done that would need more.
    assert [name for name, _ in last] == ["ENV", "USER", "EXPOSE", "HEALTHCHECK", "CMD"]
    for name, value in instructions():
        if name == "CMD":
            assert orjson.loads(value) == ["gunicorn"]
        assert not re.search(r"(SECRET|PASSWORD|TOKEN)\w*=", value)


def test_the_image_gets_what_it_needs_and_no_more(tmp_path):
    copied = [one.split() for one in values_of("COPY") if not one.startswith("--from")]
    sources = {source for *some, _ in copied for source in some}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]

    assert sources == {
        *("requirements.txt", "wsgi.py", "gunicorn.conf.py", "migrations", "taskapi"),
        *("clients/js", "clients/web"),
    }
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == sources
    # It is enough: what is started there imports nothing from elsewhere.
    for source in sources - {"requirements.txt"}:
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    checked = subprocess.run(
        [sys.executable, "-P", "-m", "gunicorn", "--check-config"],
        cwd=tmp_path,
        env={"DATABASE_URL": "postgresql://a@127.0.0.1:1/b", "JWT_SECRET_KEY": "k" * 32},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.service
def test_the_health_check_of_the_image_tells(database):
    [check] = values_of("HEALTHCHECK")
    command = orjson.loads(check[check.index("[") :])
    assert command[0] == "python"

    def run(port):
        environment = {**os.environ, "PORT": port}
        started = time.monotonic()
        finished = subprocess.run(
            [sys.executable, *command[1:]], env=environment, capture_output=True, check=False
        )
        assert time.monotonic() - started < 5
        return finished.returncode

    assert run(database["HEALTH_PORT"]) == 0
    assert run(str(free_port())) != 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_little(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[a-z]+:\d[\w.-]*", service["image"])
    assert service["tmpfs"]
    # The service's is in its image.
    assert "healthcheck" in service or "build" in service
    assert ("ports" in service) == (name == "nginx")
    assert service.get("privileged") is None
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


def test_the_containers_fit_together():
    service = SERVICES["taskapi"]
    environment = service["environment"]

    assert set(SERVICES) == {"nginx", "taskapi", "postgres", "redis"}
    socket_path = re.search(r"server unix:(\S+);", NGINX)
    assert socket_path
    assert f"unix:{socket_path[1]}" in service["command"]
    assert "socket:/run/taskapi" in service["volumes"]
    assert "socket:/run/taskapi:ro" in SERVICES["nginx"]["volumes"]
    assert environment["TRUSTED_PROXIES"] == 1
    # Where the health check of the image asks, whatever PORT is in .env.
    assert f"127.0.0.1:{environment['PORT']}" in service["command"]
    assert environment["RATE_LIMIT_STORAGE_URL"].startswith("redis://redis:")
    assert service["image"] == f"taskapi:{settings.VERSION}"
    assert int(service["stop_grace_period"][:-1]) > gunicorn_setting("graceful_timeout")
    waits = {name: set(one.get("depends_on", ())) for name, one in SERVICES.items()}
    assert waits["nginx"] == {"taskapi"} and waits["taskapi"] == {"postgres", "redis"}
    # The database is in no network from which there is a way out.
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["data"]
    assert COMPOSE["networks"]["data"] == {"internal": True}


def test_the_database_of_the_containers_is_an_ordinary_roles(tmp_path, monkeypatch):
    monkeypatch.setattr(devdb, "_SUPERUSER", "postgres")
    assert (
        "./postgres-init.sh:/docker-entrypoint-initdb.d/taskapi.sh:ro"
        in (SERVICES["postgres"]["volumes"])
    )
    # As the image runs it: as the superuser, by the socket of a server that is being set up.
    with devdb.running(tmp_path / "data") as url:
        socket_directory = make_url(url).query["host"]
        subprocess.run(
            [DEPLOY / "postgres-init.sh"],
            env={
                "PATH": f"{programs.program_dir()}:{os.environ['PATH']}",
                "PGHOST": str(socket_directory),
                "POSTGRES_PASSWORD": "a 'quoted' word",
            },
            check=True,
        )
        own = make_url(url).set(username="taskapi", database="taskapi")
        app = create_app(make_settings(database_url=own.render_as_string(hide_password=False)))
        with app.app_context():
            ensure_ready()
            [role] = execute(
                text("""
                    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls
                      FROM pg_roles WHERE rolname = current_user
                """),
                acting_as=SYSTEM,
            )
            db.engine.dispose()

    assert [*role.values()] == ["taskapi", False, False, False, False]


def test_no_secret_has_a_default():
    text = (DEPLOY / "compose.yaml").read_text()
    named = re.findall(r"\$\{(\w+)([^}]*)\}", text)

    free = {"TASKAPI_PORT", "TASKAPI_MEMORY"}

    assert {name for name, _ in named} == {"POSTGRES_PASSWORD", "JWT_SECRET_KEY"} | free
    for name, rest in named:
        assert name in free or rest.startswith(":?")


def test_every_setting_that_is_named_is_one():
    known = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    image = set(re.findall(r"(\w+)=", " ".join(values_of("ENV"))))

    assert set(SERVICES["taskapi"]["environment"]) <= known
    assert {name for name in image if not name.startswith("PYTHON")} <= known
