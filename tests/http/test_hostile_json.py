"""Bodies that are meant to hurt, on every route that reads one."""

import pytest

from tests.support.people import assert_problem

ROUTES = [
    ("POST", "/auth/register"),
    ("POST", "/auth/login"),
    ("POST", "/tasks"),
    ("PUT", "/tasks/{id}"),
    ("PATCH", "/tasks/{id}"),
    ("PATCH", "/tasks/{id}/complete"),
]

BODIES = {
    "NaN": (b'{"title": "a", "order": NaN}', 400),
    "infinity": (b'{"title": "a", "order": -Infinity}', 400),
    "200,000 brackets fit in no body": (b"[" * 200_000, 413),
    "30,000 nested arrays": (b"[" * 30_000 + b"]" * 30_000, 400),
    "10,000 nested objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    "500 nested arrays": (b'{"title":' + b"[" * 500 + b"]" * 500 + b"}", 422),
    "a lone surrogate": (b'{"title": "\\ud800"}', 400),
    "a lone surrogate in a name": (b'{"\\udfff": 1, "title": "a"}', 400),
    "a surrogate in bytes": (b'{"title": "\xed\xa0\x80"}', 400),
    "overlong UTF-8": (b'{"title": "\xc0\xaf"}', 400),
    "UTF-16": ('{"title": "a"}'.encode("utf-16"), 400),
    "a byte order mark": (b'\xef\xbb\xbf{"title": "a"}', 400),
    "NUL escaped": (b'{"title": "\\u0000", "email": "\\u0000"}', 422),
    "NUL raw": (b'{"title": "\x00"}', 400),
    "NUL in a name": (b'{"\\u0000": 1}', 422),
    "10^30": (b'{"title": "a", "order": 1000000000000000000000000000000}', 422),
    "1e400": (b'{"title": "a", "order": 1e400}', 400),
    "five thousand digits": (b'{"title": "a", "order": ' + b"9" * 5000 + b"}", 400),
    "3 MB": (b'{"title": "' + b"a" * 3_000_000 + b'"}', 413),
    "a comment": (b'{"title": "a"} // hi', 400),
    "single quotes": (b"{'title': 'a'}", 400),
    "a trailing comma": (b'{"title": "a",}', 400),
    "__proto__": (b'{"__proto__": {"title": "a"}}', 422),
    "_schema": (b'{"_schema": "a"}', 422),
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused_and_changes_nothing(alice, method, path, name):
    body, status = BODIES[name]
    task = alice.creates()

    response = alice.call(
        method, path.format(id=task["id"]), data=body, content_type="application/json"
    )

    # Of a number too large for a float, either refusal is right.
    assert response.status_code in ({status, 422} if name == "1e400" else {status}), response.text
    assert_problem(response, response.status_code, response.json["code"])
    assert alice.get("/tasks").json["tasks"] == [task]


def test_of_a_name_that_comes_twice_the_last_counts(alice):
    response = alice.post(
        "/tasks", data=b'{"title": "a", "title": "b"}', content_type="application/json"
    )

    assert response.json["title"] == "b"
