"""How many requests of one user are answered at a time, and how long a search may take."""

from contextlib import ExitStack

import pytest

from taskapi.tasks import service
from tests.support.people import Caller, assert_problem, json_of, register


@pytest.fixture
def narrow_app(variant):
    """The application where one user may occupy one of two threads."""
    return variant(threads=2, user_threads_share=0.5)


@pytest.fixture
def alice(narrow_app):
    return register(narrow_app, "alice@example.com")


def another(app, person):
    return Caller(app.test_client(), person.id, person.token)


def test_what_exceeds_a_users_share_of_the_threads_is_refused(narrow_app, alice, monkeypatch):
    task, answers = alice.creates(), []
    bob = register(narrow_app, "bob@example.com")
    get_task = service.get_task

    def ask_meanwhile(actor, task_id):
        if actor.user_id == alice.id:
            answers.append(another(narrow_app, alice).get("/tasks"))
            answers.append(bob.get("/tasks"))
        return get_task(actor, task_id)

    monkeypatch.setattr(service, "get_task", ask_meanwhile)

    assert alice.get(f"/tasks/{task['id']}").status_code == 200

    assert_problem(answers[0], 429, "too_many_concurrent_requests")
    assert answers[0].headers["Retry-After"] == "1"
    assert answers[1].status_code == 200
    assert alice.get("/tasks").status_code == 200


def test_a_stream_occupies_its_thread_until_it_is_read_or_closed(narrow_app, alice):
    for _ in range(6):
        alice.post("/tasks/import", [{"title": "a"}] * 500)

    with alice.get("/tasks", buffered=False) as stream:
        next(stream.iter_encoded())
        assert another(narrow_app, alice).get("/tasks?limit=1").status_code == 429

    assert another(narrow_app, alice).get("/tasks?limit=1").status_code == 200


@pytest.mark.parametrize("search", ["/tasks?q=milk", "by path"])
def test_a_user_searches_with_a_third_of_that_share(variant, search):
    app = variant(threads=8, user_threads_share=0.75)
    alice, bob = register(app, "alice@example.com"), register(app, "bob@example.com")
    path = f"{alice.path}?q=milk" if search == "by path" else search
    for _ in range(6):
        alice.post("/tasks/import", [{"title": "Milk"}] * 500)

    with ExitStack() as stack:
        for _ in range(2):
            stream = stack.enter_context(another(app, alice).get(path, buffered=False))
            next(stream.iter_encoded())
        refused = another(app, alice).get("/tasks?q=milk&limit=1")
        without_words = another(app, alice).get("/tasks?limit=1")
        of_bob = bob.get("/tasks?q=milk&limit=1")

    problem = assert_problem(refused, 429, "too_many_concurrent_requests")
    assert "searches" in problem["detail"]
    assert refused.headers["Retry-After"] == "1"
    assert (without_words.status_code, of_bob.status_code) == (200, 200)
    # What was refused, and what was read, occupies nothing.
    answers = [another(app, alice).get("/tasks?q=milk&limit=1") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("path", ["/tasks/nonsense", "/tasks?limit=0", "/nowhere"])
def test_a_refused_request_leaves(alice, path):
    statuses = {alice.get(path).status_code for _ in range(3)}

    assert statuses <= {404, 422}


def test_a_fault_leaves(alice, monkeypatch):
    monkeypatch.setattr(service, "get_task", lambda *_: 1 / 0)

    task = alice.creates()
    assert {alice.get(f"/tasks/{task['id']}").status_code for _ in range(3)} == {500}


def test_a_search_that_takes_too_long_is_ended(variant, sql):
    app = variant(search_timeout=0.1)
    alice = register(app, "alice@example.com")
    alice.creates()
    # The look at each row takes longer than a search may.
    sql("""
        CREATE POLICY slow ON tasks AS RESTRICTIVE FOR SELECT
          USING ((SELECT true FROM pg_sleep(1)))
    """)
    try:
        answers = [
            alice.get("/tasks?q=milk"),
            alice.get("/tasks?q=milk&limit=1&include=total"),
            alice.get(f"{alice.path}?q=milk"),
        ]
        whole = alice.get("/tasks")
    finally:
        sql("DROP POLICY slow ON tasks")

    for answer in answers:
        assert_problem(answer, 503, "search_timeout")
        assert answer.headers["Retry-After"] == "5"
    assert whole.status_code == 200
    assert json_of(alice.get("/tasks?q=milk"))["count"] == 1
