"""Behind a real PgBouncer in transaction mode, where each transaction may be on another server."""

import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg2
import pytest
from sqlalchemy import make_url, text

from taskapi import create_app
from taskapi.auth.modes import acquire_lease_on_startup
from taskapi.db.base import db
from taskapi.db.execute import SYSTEM, ensure_ready, execute
from taskapi.devdb import programs
from taskapi.exceptions import DatabaseNotReady
from tests.support.people import assert_problem, json_of, register
from tests.support.service import Caller, free_port, make_settings, run_cli, running_service

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="pgbouncer is not installed"
)


class PgBouncer:
    """A running PgBouncer with a few servers for all."""

    def __init__(self, direct, directory, mode, servers):
        self._directory = directory
        self._servers = servers
        self._direct = make_url(direct)
        self.port = free_port()
        self.configure(mode)
        # It refuses root, as PostgreSQL does, and reaches its file and the socket in the same way.
        path = str(directory / "pgbouncer.ini")
        self.process = subprocess.Popen([*programs._setpriv_command(), "pgbouncer", "-q", path])
        url = self._direct.set(host="127.0.0.1", port=self.port, database="tasks", query={})
        self.url = url.render_as_string(hide_password=False)
        """As the service's settings have it."""
        self.dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        for _ in range(100):
            try:
                psycopg2.connect(self.dsn, connect_timeout=2).close()
                break
            except psycopg2.OperationalError:
                time.sleep(0.02)

    def configure(self, mode):
        direct = self._direct
        host = direct.query.get("host") or direct.host
        server = f"host={host} port={direct.port or 5432} user={direct.username}"
        (self._directory / "pgbouncer.ini").write_text(
            f"""
            [databases]
            tasks = {server} dbname={direct.database}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = any
            pool_mode = {mode}
            default_pool_size = {self._servers}
            admin_users = {direct.username}
            """.replace("\n            ", "\n")
        )

    def change_mode(self, mode):
        """Change it as its operator would, while it runs."""
        self.configure(mode)
        with closing(psycopg2.connect(self.dsn.replace("/tasks", "/pgbouncer"))) as console:
            console.autocommit = True
            console.cursor().execute("RELOAD")


@pytest.fixture
def direct(new_database):
    """The URL of a migrated database."""
    url = new_database("pooled")
    app = create_app(make_settings(database_url=url))
    assert app.test_client().get("/health").status_code == 200
    with app.app_context():
        db.engine.dispose()
    return url


@pytest.fixture
def pgbouncer(direct, tmp_path):
    """Start PgBouncer in a mode, with so many servers."""
    started = []

    def start(mode, servers=2):
        started.append(PgBouncer(direct, tmp_path, mode, servers))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()
        one.process.wait()


@pytest.fixture
def pooled(pgbouncer):
    """The URLs of a migrated database by way of PgBouncer in transaction mode."""
    pooler = pgbouncer("transaction")
    return pooler.dsn, pooler.url


@pytest.fixture
def pooled_app(pooled):
    app = create_app(make_settings(database_url=pooled[1], prepare_statements=False))
    yield app
    with app.app_context():
        db.engine.dispose()


def test_many_at_once_on_two_servers_keep_what_is_theirs(pooled_app):
    people = [register(pooled_app, f"p{number}@example.com") for number in range(6)]

    def work(person):
        for number in range(15):
            task = person.creates(f"{person.id} {number}")
            assert person.patch(f"/tasks/{task['id']}", {"order": number}).status_code == 200
            done = person.post(f"/tasks/{task['id']}/move", {"after": None})
            assert done.status_code == 200
        return person.get("/tasks?limit=200").json["tasks"]

    with ThreadPoolExecutor(6) as pool:
        lists = list(pool.map(work, people))

    for person, tasks in zip(people, lists, strict=True):
        assert len(tasks) == 15
        assert {task["title"].partition(" ")[0] for task in tasks} == {person.id}


def test_the_limits_hold_for_each_statement_and_stay_with_nobody(pooled, pooled_app):
    with pooled_app.app_context():
        shown = text("SELECT current_setting('statement_timeout') AS it")
        assert execute(shown, acting_as=SYSTEM) == [{"it": "5s"}]

    for _ in range(4):
        other = psycopg2.connect(pooled[0])
        with other.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchall() == [("0",)]
            cursor.execute("SHOW role")
            assert cursor.fetchall() == [("none",)]
            cursor.execute("SELECT current_setting('taskapi.user_id', true)")
            assert cursor.fetchall() in ([("",)], [(None,)])
        other.close()


def test_what_takes_too_long_is_a_503(pooled):
    app = create_app(
        make_settings(database_url=pooled[1], prepare_statements=False, lock_timeout=0.2)
    )
    alice = register(app, "alice@example.com")
    task = alice.creates()
    other = psycopg2.connect(pooled[0])
    with other.cursor() as cursor:
        cursor.execute("SELECT * FROM users FOR UPDATE")

        response = alice.patch(f"/tasks/{task['id']}", {"title": "b"})

    assert_problem(response, 503, "database_unavailable")
    other.close()
    assert alice.get(f"/tasks/{task['id']}").json == task
    with app.app_context():
        db.engine.dispose()


def test_a_request_with_a_key_is_done_once(pooled_app):
    alice = register(pooled_app, "alice@example.com")

    answers = [
        alice.post("/tasks", {"title": "a"}, headers={"Idempotency-Key": "k"}) for _ in range(3)
    ]

    assert len({json_of(answer)["id"] for answer in answers}) == 1
    assert len(json_of(alice.get("/tasks"))["tasks"]) == 1


ADVICE = "set PREPARE_STATEMENTS=no"


@pytest.fixture
def preparing_app(pgbouncer):
    """Make an application that prepares statements behind PgBouncer in a mode."""
    made = []

    def make(mode):
        made.append(create_app(make_settings(database_url=pgbouncer(mode).url, threads=1)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


def test_in_session_mode_statements_may_be_prepared(preparing_app):
    app = preparing_app("session")

    alice = register(app, "alice@example.com")
    task = alice.creates()

    assert [alice.get(f"/tasks/{task['id']}").json for _ in range(8)] == [task] * 8


def test_in_transaction_mode_what_prepares_is_not_served(preparing_app):
    app = preparing_app("transaction")

    with app.app_context(), pytest.raises(DatabaseNotReady) as refusal:
        ensure_ready()

    assert ADVICE in str(refusal.value.__cause__)
    assert app.test_client().get("/health").status_code == 503


def test_in_transaction_mode_the_start_says_which_setting_is_wrong(pooled):
    started = run_cli("--migrate-only", DATABASE_URL=pooled[0], JWT_SECRET_KEY="k" * 32)

    assert started.returncode == 1
    assert ADVICE in started.stderr


def test_the_doctor_says_which_setting_is_wrong(preparing_app):
    examined = preparing_app("transaction").test_cli_runner().invoke(args=["doctor"])

    assert examined.exit_code == 1
    [wrong] = [line for line in examined.output.splitlines() if line.startswith("WRONG")]
    assert wrong.startswith("WRONG database: A pooler hands out another server")
    assert ADVICE in wrong


def test_the_doctor_sees_the_pooler_that_the_settings_fit(pooled_app):
    examined = pooled_app.test_cli_runner().invoke(args=["doctor"])

    assert "OK    pooler: another server for each transaction" in examined.output


@pytest.mark.service
def test_a_pooler_that_is_changed_under_the_service_mixes_nothing_up(pgbouncer, tmp_path):
    pooler = pgbouncer("session", servers=4)
    settings = {"DATABASE_URL": pooler.dsn, "JWT_SECRET_KEY": "k" * 32, "THREADS": "1"}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with (
        running_service(tmp_path / "first", **settings) as first,
        running_service(tmp_path / "second", **settings) as second,
    ):
        ada, bob = Caller(first, "ada@example.com"), Caller(second, "bob@example.com")
        of_ada = ada.call("POST", "/tasks", json={"title": "a"}).json()
        of_bob = bob.call("POST", "/tasks", json={"title": "b"}).json()
        # Each prepares its statements in an order of its own.
        orders = [
            (ada, of_ada, ["title", "description"]),
            (bob, of_bob, ["description", "title"]),
        ]
        for person, task, names in orders:
            for name in names:
                for _ in range(6):
                    written = person.call("PATCH", f"/tasks/{task['id']}", json={name: name})
                    assert written.status_code == 200

        pooler.change_mode("transaction")

        answers: Counter[int] = Counter()
        for number in range(30):
            for person, task, names in orders:
                for name in names:
                    body = {name: f"{name} {number}"}
                    written = person.call("PATCH", f"/tasks/{task['id']}", json=body)
                    answers[written.status_code] += 1
                    if written.status_code == 200:
                        other = {"title": "description", "description": "title"}[name]
                        assert written.json()[name] == body[name]
                        assert written.json()[other].startswith(other)
    assert answers == {200: 120}


@pytest.mark.service
def test_a_pooler_that_is_changed_under_the_service_is_noticed(pgbouncer, tmp_path):
    pooler = pgbouncer("session")
    settings = {"DATABASE_URL": pooler.dsn, "JWT_SECRET_KEY": "k" * 32, "THREADS": "1"}
    with running_service(tmp_path, **settings) as service:
        ada = Caller(service, "ada@example.com")
        task = ada.call("POST", "/tasks", json={"title": "a"}).json()
        for _ in range(6):
            assert ada.call("GET", f"/tasks/{task['id']}").json() == task

        pooler.change_mode("transaction")
        assert ada.call("GET", f"/tasks/{task['id']}").json() == task
        with holding_the_server_that_has_prepared(pooler.dsn):
            lost = ada.call("GET", f"/tasks/{task['id']}")
        after = ada.call("GET", f"/tasks/{task['id']}")

        assert (lost.status_code, lost.json()["code"]) == (503, "database_unavailable")
        assert (after.status_code, after.json()["code"]) == (503, "database_not_ready")
        assert ADVICE in service.log.read_text()


@contextmanager
def holding_the_server_that_has_prepared(dsn):
    """Keep the one of the two servers on which statements are prepared from everybody else."""
    with closing(psycopg2.connect(dsn)) as one, closing(psycopg2.connect(dsn)) as other:
        for connection in (one, other):
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            [[count]] = cursor.fetchall()
            if not count:
                connection.rollback()
        yield


def test_one_mode_at_a_time_serves_also_through_the_pooler(pooled, pooled_app):
    by_path = create_app(
        make_settings(database_url=pooled[1], prepare_statements=False, auth_mode="path")
    )
    acquire_lease_on_startup(pooled_app, may_wait=False)
    acquire_lease_on_startup(by_path, may_wait=False)
    assert pooled_app.test_client().get("/health").status_code == 200

    assert by_path.test_client().get("/health").status_code == 503

    with pooled_app.app_context():
        lapse = "UPDATE auth_mode_lease SET renewed_at = renewed_at - interval '1 minute'"
        execute(text(lapse), acting_as=SYSTEM)
    assert by_path.test_client().get("/health").status_code == 200
    with by_path.app_context():
        db.engine.dispose()
