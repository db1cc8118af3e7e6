"""How often somebody may try to log in: by address and e-mail, by address, by e-mail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from taskapi.auth import passwords, throttle
from tests.support.people import PASSWORD, assert_problem

WRONG = "wrong password"


@pytest.fixture(autouse=True)
def _a_thread_for_each_attempt(app, monkeypatch):
    """More of them come at once than half of the threads, and are to be decided."""
    monkeypatch.setitem(app.extensions, "taskapi.password_threads", threading.BoundedSemaphore(32))


@pytest.fixture
def attempt(app):
    def attempt(email="alice@example.com", password=WRONG, address="198.51.100.1"):
        return app.test_client().post(
            "/auth/login",
            json={"email": email, "password": password},
            environ_base={"REMOTE_ADDR": address},
        )

    return attempt


@pytest.fixture
def attempt_with(variant):
    """Make attempts at one address that may fail at a rate."""

    def attempt_with(failures):
        app = variant(login_failures_per_address=failures, threads=32)

        def attempt(email, password=WRONG):
            body = {"email": email, "password": password}
            return app.test_client().post("/auth/login", json=body)

        return attempt

    return attempt_with


@pytest.fixture
def time_passes(sql):
    """Let time pass for the counts without waiting for it."""

    def time_passes(seconds):
        sql(
            "UPDATE login_attempts SET counted_since = counted_since - :past, "
            "last_at = last_at - :past",
            past=timedelta(seconds=seconds),
        )

    return time_passes


def wait_of(response):
    assert_problem(response, 429, "too_many_attempts")
    return int(response.headers["Retry-After"])


def test_after_five_failures_the_next_attempt_waits(attempt, alice):
    for _ in range(5):
        assert_problem(attempt(), 401, "credentials_invalid")

    assert 0 < wait_of(attempt()) <= 5
    # The right password waits as well, or an attacker could tell.
    assert 0 < wait_of(attempt(password=PASSWORD)) <= 5


def test_the_wait_doubles_up_to_fifteen_minutes(attempt, alice, time_passes):
    for _ in range(5):
        attempt()
    waits = []
    for _ in range(10):
        waits.append(wait_of(attempt()))
        time_passes(waits[-1] + 1)
        assert_problem(attempt(), 401, "credentials_invalid")

    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_after_the_wait_the_right_password_is_taken_and_the_count_begins_anew(
    attempt, alice, time_passes
):
    for _ in range(5):
        attempt()
    time_passes(6)

    assert attempt(password=PASSWORD).status_code == 200
    for _ in range(5):
        assert_problem(attempt(), 401, "credentials_invalid")
    assert wait_of(attempt()) <= 5


def test_an_attempt_that_had_to_wait_makes_the_wait_no_longer(attempt, alice, time_passes):
    for _ in range(5):
        attempt()
    for _ in range(20):
        wait_of(attempt())
    time_passes(6)

    assert attempt(password=PASSWORD).status_code == 200


def test_the_owner_logs_in_from_an_address_that_did_not_fail(attempt, alice):
    for _ in range(6):
        attempt(address="198.51.100.66")

    assert wait_of(attempt(password=PASSWORD, address="198.51.100.66"))
    assert attempt(password=PASSWORD, address="203.0.113.5").status_code == 200


def test_another_account_from_the_same_address_does_not_wait(attempt, alice, bob):
    for _ in range(6):
        attempt()

    assert attempt("bob@example.com", PASSWORD).status_code == 200


def test_every_spelling_of_an_address_counts_as_one(attempt, alice):
    for email in ("alice@example.com", "ALICE@example.com", " Alice@Example.COM ") * 2:
        last = attempt(email)

    assert wait_of(last)


def test_an_unknown_address_waits_like_a_known_one(attempt, alice):
    def answers(email, address):
        found = [attempt(email, address=address) for _ in range(7)]
        return [
            (one.status_code, one.json["code"], one.headers.get("Retry-After")) for one in found
        ]

    assert answers("nobody@example.com", "198.51.100.7") == answers(
        "alice@example.com", "198.51.100.8"
    )


def test_an_address_may_fail_a_hundred_times_a_minute(attempt, alice, time_passes):
    for number in range(100):
        assert attempt(f"user{number}@example.com").status_code == 401

    assert 0 < wait_of(attempt("another@example.com")) <= 60
    assert 0 < wait_of(attempt(password=PASSWORD)) <= 60
    assert attempt("another@example.com", address="203.0.113.5").status_code == 401
    time_passes(61)
    assert attempt("another@example.com").status_code == 401


def test_how_often_an_address_may_fail_is_a_setting(attempt_with, time_passes):
    attempt = attempt_with("2/hour")
    for number in range(2):
        assert attempt(f"user{number}@example.com").status_code == 401

    assert 3500 < wait_of(attempt("another@example.com")) <= 3600
    time_passes(3601)
    assert attempt("another@example.com").status_code == 401


def test_right_passwords_of_many_behind_one_address_do_not_count(attempt_with, alice, bob):
    attempt = attempt_with("5/minute")
    for _ in range(10):
        assert attempt("alice@example.com", PASSWORD).status_code == 200
        assert attempt("bob@example.com", PASSWORD).status_code == 200


def test_a_right_password_leaves_the_failures_of_others_at_its_address(attempt_with, alice):
    attempt = attempt_with("3/minute")
    for number in range(3):
        assert attempt(f"user{number}@example.com").status_code == 401
        # Who knows one password cannot guess others for free by it.
        if number < 2:
            assert attempt("alice@example.com", PASSWORD).status_code == 200

    assert wait_of(attempt("another@example.com"))


def test_many_wrong_passwords_at_the_same_time_are_no_way_around_the_address(attempt_with):
    attempt = attempt_with("5/minute")

    with ThreadPoolExecutor(16) as pool:
        emails = [f"user{number}@example.com" for number in range(16)]
        statuses = [answer.status_code for answer in pool.map(attempt, emails)]

    assert statuses.count(401) == 5
    assert set(statuses) <= {401, 429, 503}


def test_a_right_password_takes_nothing_from_a_count_that_began_after_it(app, sql, time_passes):
    count = "SELECT max(attempts) AS it FROM login_attempts"
    with app.app_context():
        counted_at = throttle.record_attempt("alice@example.com", "198.51.100.1", is_known=False)
        time_passes(61)
        throttle.record_attempt("user@example.com", "198.51.100.1", is_known=False)
        assert sql(count) == [{"it": 1}]

        throttle.record_success(
            "alice@example.com", "198.51.100.1", counted_at - timedelta(seconds=61)
        )

    assert sql(count) == [{"it": 1}]
    # Only the e-mail address of the failure, its address and both are left.
    assert sql("SELECT count(*) AS it FROM login_attempts WHERE attempts = 1") == [{"it": 3}]


def test_nobody_fails_more_than_a_hundred_times_in_a_row(attempt, alice):
    def fail(address):
        return [attempt(address=address).status_code for _ in range(4)]

    statuses = [status for place in range(30) for status in fail(f"198.51.100.{place}")]
    assert statuses.count(401) == 95
    # The last are kept for places that the owner has logged in from: the tests' own address.
    statuses += [status for _ in range(2) for status in fail("127.0.0.1")]

    assert statuses.count(401) == 100
    assert set(statuses) == {401, 429}
    assert wait_of(attempt(password=PASSWORD, address="203.0.113.5")) > 80_000


def test_after_ninety_the_owner_still_logs_in_from_an_address_that_did_not_fail(attempt, alice):
    for place in range(23):
        for _ in range(4):
            attempt(address=f"198.51.100.{place}")

    assert wait_of(attempt(password=PASSWORD, address="198.51.100.1")) > 80_000
    assert attempt(password=PASSWORD, address="203.0.113.5").status_code == 200


def test_nobody_is_kept_out_for_longer_than_a_day(attempt, alice, time_passes):
    for place in range(30):
        for _ in range(4):
            attempt(address=f"198.51.100.{place}")
    wait = wait_of(attempt(password=PASSWORD, address="203.0.113.5"))
    time_passes(wait + 1)

    assert attempt(password=PASSWORD, address="203.0.113.5").status_code == 200


def test_who_is_logged_in_can_confirm_with_their_password_from_anywhere(attempt, alice):
    for place in range(30):
        for _ in range(4):
            attempt(address=f"198.51.100.{place}")

    body = {"current_password": PASSWORD, "new_password": "a longer horse, stapled"}
    moved = {"REMOTE_ADDR": "203.0.113.9"}
    assert alice.post("/auth/password", body, environ_base=moved).status_code == 204


def test_a_network_of_ipv6_counts_as_one_address(attempt, alice):
    for number in range(5):
        attempt(address=f"2001:db8:1:2::{number}")

    assert wait_of(attempt(address="2001:db8:1:2:ffff::1"))
    assert attempt(address="2001:db8:1:3::1").status_code == 401


@pytest.mark.parametrize(
    "said",
    ["198.51.100.1:{}", "[2001:db8::1]:{}", "unknown{}", "z" * 100 + "{}", "fe80::1%eth{}", "_{}"],
)
def test_a_port_or_nonsense_in_the_address_is_no_way_around(attempt, alice, said):
    for number in range(5):
        assert attempt(address=said.format(4000 + number)).status_code == 401

    assert wait_of(attempt(address=said.format(5000)))


def test_an_attempt_that_could_not_be_decided_is_not_counted(app, attempt, alice, monkeypatch):
    monkeypatch.setitem(app.extensions, "taskapi.passwords", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_SLOT_TIMEOUT_SECONDS", 0.01)
    with app.app_context(), passwords._hashing_slot():
        for _ in range(6):
            assert_problem(attempt(password=PASSWORD), 503, "busy")

    assert attempt(password=PASSWORD).status_code == 200


def test_the_owner_still_logs_in_from_where_they_have_before(attempt, alice, sql):
    for place in range(30):
        for _ in range(4):
            attempt(address=f"198.51.100.{place}")

    assert attempt(password=PASSWORD, address="127.0.0.1").status_code == 200
    # The row has ended.
    assert_problem(attempt(address="203.0.113.5"), 401, "credentials_invalid")


def test_a_place_is_known_by_its_network(attempt, alice, sql):
    def fail_elsewhere():
        subject = throttle._digest_subjects("alice@example.com", "").email
        sql("UPDATE login_attempts SET attempts = 96 WHERE subject = :subject", subject=subject)

    assert attempt(password=PASSWORD, address="2001:db8:1:2::a").status_code == 200
    fail_elsewhere()
    assert attempt(password=PASSWORD, address="2001:db8:1:2::b").status_code == 200
    fail_elsewhere()
    assert wait_of(attempt(password=PASSWORD, address="2001:db8:1:3::b")) > 3600


def test_a_clock_that_ran_ahead_makes_no_wait_longer_than_its_rule(attempt, alice, time_passes):
    for _ in range(throttle.MAX_FAILURES_WITHOUT_WAIT):
        attempt()
    time_passes(-8 * 3600)

    assert wait_of(attempt()) <= 5
    time_passes(6)
    assert attempt(password=PASSWORD).status_code == 200


def test_also_a_known_place_ends_at_a_hundred(attempt, alice, sql):
    for place in range(23):
        for _ in range(4):
            attempt(address=f"198.51.100.{place}")
    sql("UPDATE login_attempts SET attempts = 99 WHERE attempts >= 90")

    assert_problem(attempt(address="127.0.0.1"), 401, "credentials_invalid")
    assert wait_of(attempt(password=PASSWORD, address="127.0.0.1")) > 3600


def test_an_operator_lets_somebody_try_again(app, attempt, alice, sql):
    sql("INSERT INTO login_attempts (subject) VALUES ('\\x00')")  # Of nobody.
    attempt(address="198.51.100.1")
    sql("UPDATE login_attempts SET attempts = 100 WHERE attempts = 1")
    assert wait_of(attempt(password=PASSWORD, address="203.0.113.5")) > 3600

    run = app.test_cli_runner().invoke(args=["users", "unlock", "ALICE@example.com"])

    assert (run.exit_code, run.output) == (0, "Done.\n")
    assert attempt(password=PASSWORD, address="203.0.113.5").status_code == 200


def test_a_hundred_attempts_at_the_same_time_are_no_way_around(attempt, alice):
    statuses = []

    def try_it():
        statuses.append(attempt().status_code)

    threads = [threading.Thread(target=try_it) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses.count(401) == 5
    assert statuses.count(429) + statuses.count(401) + statuses.count(503) == 16


def test_many_addresses_at_the_same_time_do_not_wait_in_a_circle(app, attempt):
    """Everybody locks the rows of two counts that the others lock as well."""
    statuses = []

    def try_it(number):
        for turn in range(4):
            email = f"user{(number + turn) % 3}@example.com"
            address = f"198.51.100.{(number * turn) % 3}"
            statuses.append(attempt(email, address=address).status_code)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(statuses) == 24
    assert set(statuses) <= {401, 429}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (
            "POST",
            "/auth/password",
            {"current_password": WRONG, "new_password": "a longer horse, stapled"},
        ),
        ("DELETE", "/auth/me", {"password": WRONG}),
        ("PATCH", "/auth/me", {"email": "new@example.com", "password": WRONG}),
    ],
)
def test_asking_for_the_password_again_is_an_attempt_as_well(alice, method, path, body):
    for _ in range(5):
        assert_problem(alice.call(method, path, body), 403, "password_wrong")

    assert wait_of(alice.call(method, path, body))


def test_failures_are_forgotten_after_a_day(attempt, alice, time_passes):
    for _ in range(5):
        attempt()
    time_passes(86401)

    for _ in range(5):
        assert_problem(attempt(), 401, "credentials_invalid")
    assert wait_of(attempt()) <= 5


def test_the_counts_name_nobody(attempt, alice, sql):
    attempt()

    for row in sql("SELECT subject FROM login_attempts"):
        assert len(bytes(row["subject"])) == 32


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(variant, alice):
    def attempt(app, forwarded):
        return app.test_client().post(
            "/auth/login",
            json={"email": "alice@example.com", "password": WRONG},
            headers={"X-Forwarded-For": forwarded},
        )

    behind = variant(trusted_proxies=1)
    for number in range(6):
        last = attempt(behind, f"10.0.0.{number}, 198.51.100.1")  # The first is made up.
    assert wait_of(last)
    assert attempt(behind, "198.51.100.2").status_code == 401

    direct = variant(trusted_proxies=0)
    for number in range(6):
        last = attempt(direct, f"198.51.100.{number}")
    assert wait_of(last)


def test_the_figures_are_those_that_are_promised():
    assert throttle.MAX_FAILURES_WITHOUT_WAIT == 5
    assert (100, timedelta(minutes=15)) == (throttle.MAX_CONSECUTIVE_FAILURES, throttle.MAX_WAIT)
