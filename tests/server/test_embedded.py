"""The embedded PostgreSQL, and what it leaves alone."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import psutil
import psycopg2
import pytest

from taskapi import devdb
from taskapi.devdb import processes, programs

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="is about root")


def ask(url: str, question: str) -> object:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    with connection.cursor() as cursor:
        cursor.execute(question)
        [answer] = cursor.fetchone() or [None]
    connection.close()
    return answer


def test_it_is_a_durable_server_that_listens_on_a_socket_only(tmp_path):
    with devdb.running(tmp_path / "data") as url:
        assert ask(url, "SHOW listen_addresses") == ""
        assert ask(url, "SHOW fsync") == "on"
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert int(str(ask(url, "SHOW server_version_num"))) >= 180000
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0

    assert not devdb.is_running(tmp_path / "data")


def test_whoever_comes_second_shares_it_and_whoever_started_it_stops_it(tmp_path):
    directory = tmp_path / "data"
    with devdb.running(directory) as url:
        processes.starter_file(directory).write_text(str(os.getppid()))
        with devdb.running(directory):
            pass
        assert ask(url, "SELECT 1") == 1
        processes.starter_file(directory).write_text(str(os.getpid()))

    assert not devdb.is_running(directory)


def test_several_that_start_at_once_make_one_server(tmp_path):
    directory = tmp_path / "data"
    starters = [threading.Thread(target=devdb.ensure_running, args=(directory,)) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()

    assert ask(devdb.url(directory), "SELECT 1") == 1
    devdb.stop(directory)


@pytest.mark.parametrize("name", ["it's", "a$(touch intruder)b", "c,d", 'e"f', "g h", "ü"])
def test_a_directory_may_have_any_name(tmp_path, name):
    with devdb.running(tmp_path / name / "data") as url:
        assert ask(url, "SELECT 1") == 1

    assert not list(tmp_path.rglob("intruder"))


def test_an_empty_directory_that_is_there_is_used_in_its_place(tmp_path):
    directory = tmp_path / "volume"
    directory.mkdir(mode=0o755)
    place = directory.stat().st_ino

    with devdb.running(directory) as url:
        assert ask(url, "SELECT 1") == 1

    assert directory.stat().st_ino == place


def test_a_directory_with_other_files_is_refused_and_stays_as_it_is(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir(mode=0o755)
    (directory / "me.jpg").write_text("me")
    before = directory.stat()

    with pytest.raises(devdb.EmbeddedPostgresError, match="EMBEDDED_POSTGRES_DIR"):
        devdb.ensure_running(directory)

    after = directory.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert [path.name for path in directory.iterdir()] == ["me.jpg"]


@as_root
def test_the_data_of_another_user_is_refused(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "PG_VERSION").write_text("18")
    os.chown(directory, 1234, 1234)

    with pytest.raises(devdb.EmbeddedPostgresError, match="another user"):
        devdb.ensure_running(directory)


def test_a_socket_directory_that_somebody_made_before_us_is_refused(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "sockets").symlink_to(victim)
    before = victim.stat()

    with pytest.raises(devdb.EmbeddedPostgresError, match="somebody else's"):
        programs.create_socket_dir(tmp_path / "sockets")

    assert victim.stat().st_uid == before.st_uid


def test_the_processes_are_known_without_the_right_to_look_at_them(tmp_path, monkeypatch):
    def refuse(_process):
        raise psutil.AccessDenied

    with devdb.running(tmp_path / "one"), devdb.running(tmp_path / "other"):
        monkeypatch.setattr(psutil.Process, "cwd", refuse)
        assert devdb.is_running(tmp_path / "one")
        devdb.stop(tmp_path / "one")
        assert not devdb.is_running(tmp_path / "one")
        assert devdb.is_running(tmp_path / "other")


def test_a_signing_key_that_was_cut_short_is_refused(tmp_path):
    (tmp_path / "data.jwt-secret-key").write_text("")

    with pytest.raises(devdb.EmbeddedPostgresError, match="cut short"):
        devdb.load_signing_key(tmp_path / "data")


@pytest.mark.parametrize("suffix", ["lock", "starter-pid", "jwt-secret-key"])
def test_a_link_that_another_user_has_laid_beside_the_data_is_not_followed(tmp_path, suffix):
    victim = tmp_path / "victim"
    victim.write_text("k" * 48)
    (tmp_path / f"data.{suffix}").symlink_to(victim)

    with pytest.raises(devdb.EmbeddedPostgresError, match=f"data.{suffix} .*remove it"):
        _use_all_files(tmp_path / "data")

    assert victim.read_text() == "k" * 48


@as_root
@pytest.mark.parametrize("suffix", ["lock", "starter-pid", "jwt-secret-key"])
def test_a_file_that_another_user_has_laid_beside_the_data_is_not_used(tmp_path, suffix):
    laid = tmp_path / f"data.{suffix}"
    laid.write_text("k" * 48)
    os.chown(laid, 1234, 1234)

    with pytest.raises(devdb.EmbeddedPostgresError, match=f"data.{suffix} .*remove it"):
        _use_all_files(tmp_path / "data")

    assert laid.read_text() == "k" * 48


def _use_all_files(directory):
    devdb.load_signing_key(directory)
    with devdb.running(directory):
        pass


def test_of_many_who_make_the_signing_key_all_get_the_same(tmp_path):
    keys = []
    makers = [
        threading.Thread(target=lambda: keys.append(devdb.load_signing_key(tmp_path / "data")))
        for _ in range(8)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert len(set(keys)) == 1
    assert len(keys) == 8


def test_without_setpriv_root_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(devdb.EmbeddedPostgresError, match="DATABASE_URL"):
        programs.run_program("initdb", "--version")


@as_root
def test_the_postgresql_of_another_user_is_not_taken_for_a_leftover(tmp_path, monkeypatch):
    def refuse(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "cwd", refuse)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        program = shutil.copy("/bin/sleep", Path(name) / "postgres")
        stranger = subprocess.Popen([program, "30"], user=65533, cwd="/")
        try:
            assert not processes.has_leftovers(tmp_path / "data")
        finally:
            stranger.kill()
            stranger.wait()


def test_a_long_recovery_is_not_waited_for_when_nobody_wants_the_server_any_more(tmp_path):
    with devdb.running(tmp_path / "data", should_continue=lambda: False):
        assert not devdb.is_running(tmp_path / "data")
