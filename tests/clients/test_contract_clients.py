"""The contracts' clients, written from their documents alone, against every way of running.

In the mode of their contract they run as they are; natively with a table of what differs.
"""

import shutil
from typing import Any

import pytest
import requests

from tests.support.contracts import MODES, NO_DATABASE, Owner, Server, expire, running, sign

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
]


@pytest.fixture(scope="module", params=MODES)
def server(request, tmp_path_factory):
    with running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.mark.parametrize("name", ["user-1", "a/b|c d@100%", "用户 👩‍💻"])
@pytest.mark.parametrize("server", ["path", "external", "c"], indirect=True)
def test_client_a_works_for_users_of_any_name(server: Server, name):
    owner = server.new_owner(name)

    held = server.run_client(
        "a", USER_ID=owner.id, TOKEN=owner.token, EXPIRED_TOKEN=expire(owner.token)
    )

    assert held == "contract A holds"


@pytest.mark.parametrize("server", ["native", "b"], indirect=True)
def test_client_a_works_with_an_account_here(server: Server):
    owner = server.new_owner("account")

    held = server.run_client(
        "a", USER_ID=owner.id, TOKEN=owner.token, EXPIRED_TOKEN=expire(owner.token)
    )

    assert held == "contract A holds"


@pytest.mark.parametrize("server", ["b"], indirect=True)
def test_client_b_works_unmodified(server: Server):
    expired = expire(server.new_owner("expired").token)

    assert server.run_client("b", EXPIRED_TOKEN=expired) == "contract B holds"


@pytest.mark.parametrize("server", ["native"], indirect=True)
def test_client_b_works_natively_by_its_table(server: Server):
    expired = expire(server.new_owner("expired").token)

    assert server.run_client("b", EXPIRED_TOKEN=expired, NAMES="native") == "contract B holds"


@pytest.mark.parametrize("server", ["c"], indirect=True)
def test_client_c_works_unmodified(server: Server):
    ada, grace = server.new_owner("ada"), server.new_owner("grace")

    held = server.run_client(
        "c", TOKEN=ada.token, OTHER_TOKEN=grace.token, EXPIRED_TOKEN=expire(ada.token)
    )

    assert held == "contract C holds"
    assert '"request_id":"from-the-frontend-1"' in server.service.log.read_text()


@pytest.mark.parametrize("server", ["external"], indirect=True)
def test_client_c_works_natively_by_its_table(server: Server):
    ada, grace = server.new_owner("ada"), server.new_owner("grace")

    held = server.run_client(
        "c",
        TOKEN=ada.token,
        OTHER_TOKEN=grace.token,
        EXPIRED_TOKEN=expire(ada.token),
        NAMES="native",
    )

    assert held == "contract C holds"


@pytest.mark.parametrize("count", [60, 250, 10_000])
def test_a_client_that_knows_no_cursor_sees_all_tasks(server: Server, count):
    owner = server.new_owner(f"owner-of-{count}")
    server.fill(owner, count)

    seen = [read_list(server, path, owner) for path in paths_of_lists(server, owner)]

    for tasks in seen:
        assert len({task["id"] for task in tasks}) == len(tasks) == count
        newest = [(task["created_at"], task["id"]) for task in tasks]
        assert newest == sorted(newest, reverse=True)


def test_a_list_that_breaks_off_is_a_failed_request(server: Server):
    owner = server.new_owner("broken-off")
    server.fill(owner, 20_000)

    for path in paths_of_lists(server, owner):
        url = server.url + path
        with requests.get(url, headers=owner.headers, stream=True, timeout=30) as answer:
            assert answer.status_code == 200
            chunks = answer.iter_content(1024)
            assert next(chunks)
            server.sql("ALTER TABLE tasks RENAME TO elsewhere")
            try:
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    b"".join(chunks)
            finally:
                server.sql("ALTER TABLE elsewhere RENAME TO tasks")


@pytest.mark.parametrize(("mode", "contract"), [("path", "a"), ("b", "b"), ("c", "c")])
def test_a_client_is_told_that_the_database_is_away(tmp_path, mode, contract):
    token = sign("ada") if contract == "c" else None
    with running(mode, tmp_path, **NO_DATABASE) as server:
        held = server.run_client(contract, DATABASE="away", USER_ID="ada", TOKEN=token)

    assert held == f"contract {contract.upper()} holds without its database"


@pytest.mark.parametrize(
    ("server", "error"), [("b", "uri_too_long"), ("c", "URI_TOO_LONG")], indirect=["server"]
)
def test_a_request_that_cannot_be_read_is_refused_as_the_contract_has_it(server: Server, error):
    answer = requests.get(f"{server.url}/{'a' * 9000}", timeout=20)

    assert (answer.status_code, answer.headers["Content-Type"]) == (414, "application/json")
    assert answer.json()["error"] == error
    assert answer.json()["detail"]


def paths_of_lists(server: Server, owner: Owner) -> list[str]:
    paths = [f"/api/{owner.id}/tasks", "/tasks"]
    return paths[:1] if server.mode == "path" else paths


def read_list(server: Server, path: str, owner: Owner) -> list[dict[str, Any]]:
    answer = requests.get(server.url + path, headers=owner.headers, timeout=60)
    assert answer.status_code == 200
    listed: Any = answer.json()
    if path == "/tasks":
        assert listed["total"] == listed["count"] == len(listed["tasks"])
        listed = listed["tasks"]
    assert isinstance(listed, list)
    return listed
