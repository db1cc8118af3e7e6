"""The path of a request is decoded once, in whatever spelling its target comes."""

from urllib.parse import unquote

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import run_wsgi_app

from taskapi.tasks.exceptions import TaskNotFound

ORIGINS = ["", "http://x", "HTTPS://x:8000", "h2://x", "http://u:p@x", "svn+ssh://[::1]:80"]


@pytest.fixture
def ask(variant):
    """Send a request line to the application that believes the path; returns what it answers."""
    app = variant(auth_mode="path")

    def ask(target: str, method: str = "GET"):
        parser = RequestParser(Config(), iter([f"{method} {target} HTTP/1.1\r\n\r\n".encode()]), 1)
        request = next(parser)
        _, environ = create(request, None, ("127.0.0.1", 1), ("127.0.0.1", 80), Config())
        chunks, status, headers = run_wsgi_app(app, environ)
        return app.response_class(b"".join(chunks), status, headers)

    return ask


@pytest.fixture
def seen(monkeypatch):
    """Whose tasks were listed, without looking for any."""
    users: list[str] = []

    def list_nothing(actor, *_args, **_kwargs):
        users.append(actor.user_id)
        raise TaskNotFound

    monkeypatch.setattr("taskapi.tasks.routes.list_tasks", list_nothing)
    return users


def escaped(text: str) -> st.SearchStrategy[str]:
    """Spell a text as a path may: each byte as it is where that is allowed, or escaped."""

    def spell(byte: int) -> st.SearchStrategy[str]:
        ways = [f"%{byte:02X}", f"%{byte:02x}"]
        if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~!$&'()*+,;=:@"):
            ways.append(chr(byte))
        return st.sampled_from(ways)

    return st.tuples(*map(spell, text.encode())).map("".join)


def targets(segment: str) -> st.SearchStrategy[str]:
    """Spell `/api/{segment}/tasks`."""
    return st.builds(
        lambda origin, slashes, api, tasks, query: (
            f"{origin}{slashes}{api}/{segment}/{tasks}{query}"
        ),
        st.sampled_from(ORIGINS),
        st.sampled_from(["/", "//", "///"]),
        escaped("api"),
        escaped("tasks"),
        st.sampled_from(["", "?", "?q=%2561", "?sort=title#%25"]),
    )


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
ANY_SEGMENT = st.lists(
    st.sampled_from(
        ["%", "%2", "%25", "%2525", "%2F", "%2f", "%61", "%C3", "%A9", "25", "a", "2F"]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES.flatmap(escaped) | NAMES.flatmap(escaped).flatmap(escaped) | ANY_SEGMENT, st.data())
def test_the_user_is_what_the_target_says_decoded_once(ask, seen, segment, data):
    target = data.draw(targets(segment))
    seen.clear()

    answer = ask(target)

    user = unquote(segment, errors="surrogateescape")
    if seen:
        assert seen == [user]
    else:
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "target",
    [
        "/api/%2562ob/tasks",
        "//api/%2562ob/tasks",
        "///api/%2562ob/tasks",
        "/%61pi/%2562ob/tasks",
        "http://x//api/%2562ob/tasks",
        "h2://x/api/%2562ob/tasks",
        "//%61pi/%2562ob/t%61sks",
    ],
)
def test_an_escaped_percent_sign_is_part_of_the_name(ask, seen, target):
    ask(target)

    assert seen == ["%62ob"]


def test_a_percent_sign_that_escapes_nothing_stands_for_itself(ask, seen):
    ask("/api/%%32%35b/tasks")

    assert seen == ["%25b"]


def test_paths_beside_those_of_users_are_found_in_every_spelling(ask):
    for target in ("/health/live", "/%68ealth/live", "//health/live", "http://x/health/l%69ve"):
        assert ask(target).status_code == 200
    assert ask("/health%2Flive").status_code == 404
    assert ask("/%2568ealth/live").status_code == 404
