"""The Postman collection: newman runs all of it, in its order, against the real service."""

import json
import re
import subprocess

import pytest

from tests import npm
from tests.service import ROOT, running_service

pytestmark = [pytest.mark.service, npm.needs_node]

COLLECTION = ROOT / "postman" / "taskapi.postman_collection.json"
ENVIRONMENT = ROOT / "postman" / "taskapi.postman_environment.json"


@pytest.fixture(scope="module")
def newman(tmp_path_factory):
    """Run the collection; return what became of it."""
    program = npm.install() / "newman"
    reports = tmp_path_factory.mktemp("newman")

    def run(service):
        report = reports / "report.json"
        subprocess.run(
            [
                *(program, "run", COLLECTION, "--environment", ENVIRONMENT),
                *("--env-var", f"baseUrl={service.url}", "--timeout-request", "20000"),
                *("--reporters", "json", "--reporter-json-export", report),
            ],
            cwd=reports,
            check=False,
            timeout=120,
        )
        return json.loads(report.read_text())["run"]

    return run


def assert_all_went_well(run):
    assert run["failures"] == []
    assert run["stats"]["assertions"]["total"] >= 2 * len(requests_of_the_collection())
    assert run["stats"]["assertions"]["failed"] == 0
    assert run["stats"]["items"]["total"] == len(requests_of_the_collection())


def requests_of_the_collection():
    collection = json.loads(COLLECTION.read_text())
    return [item["request"] for folder in collection["item"] for item in folder["item"]]


def test_it_has_every_operation():
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    described = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }

    asked = set()
    for request in requests_of_the_collection():
        path = re.sub(r":(\w+)", r"{\1}", "/".join(request["url"]["path"]))
        asked.add(f"{request['method']} /{path}")

    assert asked == described


def test_all_of_it_succeeds_and_again_on_the_same_database(tmp_path, newman):
    with running_service(tmp_path, RATE_LIMIT_ENABLED="yes") as service:
        assert_all_went_well(newman(service))
    # And with tokens that have expired, or are about to, whenever they are to be used.
    with running_service(tmp_path, ACCESS_TOKEN_LIFETIME="25") as service:
        before = refreshed(service)
        assert_all_went_well(newman(service))
        after = refreshed(service)

    assert before == 1  # By itself in the collection.
    assert after - before > len(requests_of_the_collection()) / 2


def refreshed(service):
    return service.log.read_text().count('"route":"/auth/refresh"')
