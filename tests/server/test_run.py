"""`python -m taskapi`: one command from nothing to a working service, and back."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from taskapi import devdb
from taskapi.__main__ import main
from tests.support.service import ROOT, Caller, free_port, run_cli, running_service

pytestmark = pytest.mark.service


def processes_in(directory: Path) -> list[psutil.Process]:
    """Those that work in this directory or were started for it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ().get("EMBEDDED_POSTGRES_DIR", "")
            if process.cwd().startswith(str(directory)) or environment.startswith(str(directory)):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def test_from_nothing_to_tasks_that_are_there_after_a_restart(tmp_path):
    with running_service(tmp_path, from_nothing=True, traced=True) as service:
        ada = Caller(service, "ada@example.com")
        task = ada.call("POST", "/tasks", json={"title": "Buy milk"}).json()
        token = dict(ada.session.headers)
        assert "taskapi 0.1.0 is running" in service.log.read_text()
        assert f"API     {service.url}" in service.log.read_text()
        assert "/docs" in service.log.read_text()

    started = time.monotonic()
    with running_service(tmp_path, traced=True) as service:
        print(f"the second start took {time.monotonic() - started:.1f} s")
        answer = requests.get(f"{service.url}/tasks", headers=token, timeout=10)
        assert answer.json()["tasks"] == [task]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_operator_or_the_end_of_the_terminal_stops_it_too(tmp_path, number):
    with running_service(tmp_path, traced=True) as service:
        service.stop(number)

    assert service.process.returncode == 0
    assert processes_in(tmp_path) == []


def test_it_stops_within_ten_seconds_and_leaves_no_process_behind(tmp_path):
    with running_service(tmp_path, traced=True) as service:
        ada = Caller(service, "ada@example.com")  # Its connection stays open.
        slow = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
        slow.sendall(b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert processes_in(tmp_path)

        seconds = service.stop(signal.SIGINT)

    slow.close()
    ada.session.close()
    assert seconds < 10
    assert service.process.returncode == 0
    assert processes_in(tmp_path) == []
    assert "Traceback" not in service.log.read_text()


# A background job of a shell without job control has SIGINT ignored (POSIX, 2.11), and so has what
# it starts: until the service has set its own handler nothing would stop it.
WITH_SIGINT = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("taskapi", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("tenths", range(4, 24, 4))
def test_a_stop_in_the_middle_of_the_first_start_leaves_nothing_behind(tmp_path, tenths):
    environment = {
        **os.environ,
        "EMBEDDED_POSTGRES_DIR": str(tmp_path / "postgres"),
        "PORT": str(free_port()),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_SIGINT], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    time.sleep(tenths / 10)  # Wherever it is by then: that is what this is about.
    # While it imports, Python may lose the exception in a finaliser; then Ctrl-C is pressed again.
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            break
    process.wait(timeout=0)

    assert processes_in(tmp_path) == []
    assert not list(tmp_path.glob(".initdb-*"))


def hears_sigint(process, _directory):
    """Whether a handler has taken the place of being ignored (proc(5), SigCgt)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [caught] = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return int(caught, 16) >> (signal.SIGINT - 1) & 1


def makes_its_data(_process, directory):
    return list(directory.glob(".initdb-*"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("has_come_so_far", [hears_sigint, makes_its_data])
def test_a_background_job_is_stopped_by_sigint_in_the_middle_of_its_first_start(
    tmp_path, has_come_so_far
):
    environment = {
        **os.environ,
        "EMBEDDED_POSTGRES_DIR": str(tmp_path / "postgres"),
        "PORT": str(free_port()),
    }
    # What a shell without job control starts with & has SIGINT ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$0" -m taskapi', sys.executable]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not has_come_so_far(process, tmp_path):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert processes_in(tmp_path) == []
    assert not makes_its_data(process, tmp_path)


def test_it_comes_back_after_everything_was_killed(tmp_path):
    with running_service(tmp_path, traced=True) as service:
        ada = Caller(service, "ada@example.com")
        task = ada.call("POST", "/tasks", json={"title": "Buy milk"}).json()
        service.process.kill()
        for process in processes_in(tmp_path):
            process.kill()
        service.process.wait()
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    # The number of the dead server now is another program's.
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    with running_service(tmp_path, traced=True) as service:
        ada = Caller(service, "ada@example.com")
        assert ada.call("GET", f"/tasks/{task['id']}").json() == task


def test_a_server_whose_starter_was_killed_is_taken_over(tmp_path):
    with running_service(tmp_path, traced=True) as service:
        gunicorn = psutil.Process(service.process.pid).children()
        service.process.kill()
        service.process.wait()
        for process in gunicorn:
            for child in [*process.children(), process]:
                child.kill()
        assert devdb.is_running(tmp_path / "postgres")

    with running_service(tmp_path, traced=True):
        pass
    assert not devdb.is_running(tmp_path / "postgres")


def test_a_second_service_on_the_same_data_shares_the_server(tmp_path):
    with (
        running_service(tmp_path, traced=True) as first,
        running_service(tmp_path, traced=True) as second,
    ):
        assert Caller(second, "ada@example.com").call("GET", "/tasks").status_code == 200
        first.stop()
        second.wait_until("/health", 200)
    assert processes_in(tmp_path) == []


def test_the_first_goes_on_when_the_second_ends(tmp_path):
    with running_service(tmp_path, traced=True) as first:
        ada = Caller(first, "ada@example.com")
        with running_service(tmp_path, traced=True):
            pass
        assert ada.call("GET", "/tasks").status_code == 200


def test_a_port_that_is_taken_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = run_cli(PORT=port, EMBEDDED_POSTGRES_DIR=str(tmp_path / "postgres"))

    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert f"port {port}" in line
    assert "PORT=" in line
    assert not (tmp_path / "postgres").exists()


def test_a_host_that_is_unknown_is_one_clear_line(tmp_path):
    run = run_cli(HOST="nowhere.invalid", EMBEDDED_POSTGRES_DIR=str(tmp_path / "postgres"))

    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert "HOST nowhere.invalid" in line


def test_wrong_settings_are_a_line_each():
    run = run_cli(PORT="x", THREADS="0")

    assert run.returncode == 2
    assert [line.partition(":")[0] for line in run.stderr.splitlines()[1:]] == ["PORT", "THREADS"]
    assert "Traceback" not in run.stderr


def test_without_the_wheel_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(tmp_path / "postgres"))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setattr("taskapi.devdb.programs.find_spec", lambda _name: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    assert main([]) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert "DATABASE_URL" in line
    assert "requirements-dev.txt" in line


def test_a_directory_with_other_files_is_one_clear_line(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    (directory / "photo.jpg").write_text("me")
    run = run_cli(PORT=str(free_port()), EMBEDDED_POSTGRES_DIR=str(directory))

    assert run.returncode == 2
    assert "EMBEDDED_POSTGRES_DIR" in run.stderr.splitlines()[-1]
    assert list(tmp_path.rglob("*")) == [directory, directory / "photo.jpg"]


def test_a_place_where_nothing_can_be_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    run = run_cli(PORT=str(free_port()), EMBEDDED_POSTGRES_DIR=str(tmp_path / "file" / "below"))

    assert run.returncode == 2
    assert str(tmp_path / "file") in run.stderr.splitlines()[-1]


def test_an_address_of_another_machine_is_one_clear_line(tmp_path):
    run = run_cli(HOST="203.0.113.9", EMBEDDED_POSTGRES_DIR=str(tmp_path / "postgres"))

    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert "HOST must be an address of this machine" in line


def test_gunicorn_alone_says_what_is_wrong_with_the_settings(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env={**os.environ, "THREADS": "many"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert run.returncode != 0
    assert run.stderr.splitlines()[-1].startswith("THREADS: ")
    assert "Traceback" not in run.stderr


def test_help_explains_itself():
    run = run_cli("--help")

    assert run.returncode == 0
    for word in ("DATABASE_URL", "HOST", "PORT", "JWT_SECRET_KEY", "Ctrl-C", "--migrate-only"):
        assert word in run.stdout


def test_migrating_only_does_no_more(tmp_path):
    run = run_cli("--migrate-only", EMBEDDED_POSTGRES_DIR=str(tmp_path / "postgres"))

    assert run.returncode == 0, run.stderr
    assert not devdb.is_running(tmp_path / "postgres")


def test_a_refused_migration_stops_the_start_with_its_reason(new_database, tmp_path):
    import psycopg2
    from sqlalchemy import make_url

    url = make_url(new_database("refused"))
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {"DATABASE_URL": dsn, "JWT_SECRET_KEY": "k" * 32, "PORT": str(free_port())}
    assert run_cli("--migrate-only", **settings).returncode == 0
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("ALTER TABLE tasks DISABLE ROW LEVEL SECURITY")
    connection.close()

    run = run_cli(**settings)

    assert run.returncode == 1
    assert "row-level security is not in force on tasks" in run.stderr.splitlines()[-1]


def test_migrating_a_database_that_is_away_is_a_failure():
    run = run_cli(
        "--migrate-only",
        DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing",
        JWT_SECRET_KEY="k" * 32,
    )

    assert run.returncode == 1
    assert "refused" in run.stderr


def test_it_stops_in_order_when_nobody_reads_what_it_says(tmp_path):
    with running_service(tmp_path, traced=True, http_proxy="http://127.0.0.1:9") as service:
        assert "is running" in service.log.read_text()
    log = tmp_path / "service.log"
    log.unlink()
    log.symlink_to("/dev/full")

    with running_service(tmp_path, traced=True) as service:
        ada = Caller(service, "ada@example.com")
        assert ada.call("POST", "/tasks", json={"title": "a"}).status_code == 201

    assert processes_in(tmp_path) == []


def test_when_gunicorn_dies_all_of_it_ends_with_a_word(tmp_path):
    with running_service(tmp_path, traced=True) as service:
        [gunicorn] = [
            process
            for process in psutil.Process(service.process.pid).children()
            if "gunicorn" in " ".join(process.cmdline())
        ]
        gunicorn.kill()
        assert service.process.wait(timeout=15) == 1

    assert "gunicorn has ended by itself, with status -9" in service.log.read_text()
    assert processes_in(tmp_path) == []


def test_it_starts_without_its_database_and_goes_on_when_that_is_there(tmp_path):
    directory = tmp_path / "elsewhere"
    url = devdb.url(directory)

    with running_service(
        tmp_path, "/health/live", DATABASE_URL=url, JWT_SECRET_KEY="k" * 32
    ) as service:
        answer = requests.get(f"{service.url}/health", timeout=10)
        assert answer.status_code == 503
        assert answer.json()["database"] == "disconnected"
        assert "cannot be reached yet" in service.log.read_text()

        with devdb.running(directory):
            service.wait_until("/health", 200, seconds=5)
            ada = Caller(service, "ada@example.com")
            assert ada.call("POST", "/tasks", json={"title": "a"}).status_code == 201


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="is about root")
def test_root_may_keep_its_data_where_only_root_may_enter(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    with running_service(private) as service:
        assert Caller(service, "ada@example.com").call("GET", "/tasks").status_code == 200

    assert private.stat().st_mode & 0o777 == 0o700
