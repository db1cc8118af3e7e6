"""The release before serves on the schema of this one, beside it, while instances are replaced.

Which release that is, git says: the code as it was before the newest migration was added.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from taskapi.db.readiness import MIGRATIONS
from tests.support.service import ROOT, Caller, run_cli, running_service
from tests.support.walk import Walk

pytestmark = pytest.mark.service


def git(*arguments):
    """Ask git; return None where it cannot say."""
    try:
        asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return asked.stdout if asked.returncode == 0 else None


def code_before(revision):
    """Name the commit before that which added a migration; None where git does not know it."""
    script = ScriptDirectory(str(MIGRATIONS)).get_revision(revision)
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", script.path)
    if added is None:
        return None
    # Without one it has not been committed yet, and is what comes after all that has been.
    parent = f"{added.decode().strip()}^" if added.strip() else "HEAD"
    commit = git("rev-parse", "--verify", "--quiet", f"{parent}^{{commit}}")
    return commit.decode().strip() if commit else None


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """The code of the release before, in a directory of its own."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    commit = code_before(head)
    archive = git("archive", commit) if commit else None
    if archive is None:
        pytest.skip("this is no git repository, or its history is not all here")
    directory = tmp_path_factory.mktemp("previous")
    # TarFile.extractall() takes a filter only since Python 3.11.4.
    subprocess.run(["tar", "--extract", "--directory", directory], input=archive, check=True)
    assert not list((directory / "migrations" / "versions").glob(f"{head}*"))
    return directory


@pytest.fixture
def settings(new_database):
    url = make_url(new_database("previous")).set(drivername="postgresql")
    return {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "JWT_SECRET_KEY": "k" * 32,
        "WEB_CONCURRENCY": "2",
    }


def test_it_serves_all_it_has_during_the_migration_and_after_it_and_beside_this_one(
    previous, settings, tmp_path
):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with running_service(tmp_path / "old", root=previous, **settings) as old:
        Walk(old.url).go()
        ada = Caller(old, "ada@example.com")
        task = ada.call("POST", "/tasks", json={"title": "Buy milk"}).json()

        migrated = run_cli("--migrate-only", **settings)
        assert migrated.returncode == 0, migrated.stderr
        # Its connections still have what they had prepared on the schema of before.
        Walk(old.url).go()
        not_again = {**settings, "MIGRATE_ON_START": "no"}
        with running_service(tmp_path / "new", **not_again) as new:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda url: Walk(url).go(), [old.url, new.url]))
            share(ada, Caller(new, "ada@example.com"), task)


def share(old, new, task):
    """Let both write to one task, in turn; each sees what the other has done."""
    path = f"/tasks/{task['id']}"
    for title, (writer, reader) in zip("abcd", [(new, old), (old, new)] * 2, strict=True):
        version = {"If-Match": f'"{reader.call("GET", path).json()["version"]}"'}
        written = writer.call("PATCH", path, json={"title": title}, headers=version)
        assert written.status_code == 200, written.text
        assert reader.call("GET", path).json() == written.json()
        assert reader.call("PATCH", path, json={"title": "x"}, headers=version).status_code == 412
    feed = [one.call("GET", "/tasks/changes").json()["changes"] for one in (old, new)]
    assert feed[0] == feed[1]
    assert new.call("DELETE", path).status_code == 204
    assert old.call("POST", f"/trash/{task['id']}/restore").status_code == 200
    assert old.call("DELETE", path).status_code == 204
    assert new.call("POST", f"/trash/{task['id']}/restore").status_code == 200


def test_it_can_be_started_again_on_the_new_schema(previous, settings, tmp_path):
    """That is what a rollback is; it does not migrate back, nor forward."""
    assert run_cli("--migrate-only", **settings).returncode == 0

    with running_service(tmp_path, root=previous, **settings) as rolled_back:
        Walk(rolled_back.url).go()


def test_this_one_walks_through_all_that_it_documents(settings, tmp_path):
    with running_service(tmp_path, **settings) as service:
        Walk(service.url).go()
