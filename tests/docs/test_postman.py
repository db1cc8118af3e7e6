"""The Postman collections: newman runs all of each, in its order, against the real service."""

import json
import re
import subprocess

import pytest

from taskapi.openapi import build_document
from tests.support import npm
from tests.support.contracts import application, running, sign
from tests.support.service import ROOT, running_service

pytestmark = [pytest.mark.service, npm.needs_node]

COLLECTIONS = {
    "native": ROOT / "postman" / "taskapi.postman_collection.json",
    "b": ROOT / "postman" / "taskapi-contract-b.postman_collection.json",
    "c": ROOT / "postman" / "taskapi-contract-c.postman_collection.json",
}
ENVIRONMENT = ROOT / "postman" / "taskapi.postman_environment.json"


@pytest.fixture(scope="module")
def newman(tmp_path_factory):
    """Run a collection with further variables; return what became of it."""
    program = str(npm.install() / "newman")
    reports = tmp_path_factory.mktemp("newman")

    def run(service, contract="native", **variables):
        report = reports / "report.json"
        given = {"baseUrl": service.url, **variables}
        options = [f"--env-var={name}={value}" for name, value in given.items()]
        subprocess.run(
            [
                *(program, "run", COLLECTIONS[contract], "--environment", ENVIRONMENT),
                *("--timeout-request", "20000", *options),
                *("--reporters", "json", "--reporter-json-export", report),
            ],
            cwd=reports,
            check=False,
            timeout=120,
        )
        return json.loads(report.read_text())["run"]

    return run


def assert_all_went_well(run, contract="native"):
    assert run["failures"] == []
    assert run["stats"]["assertions"]["total"] >= 2 * len(requests_of(contract))
    assert run["stats"]["assertions"]["failed"] == 0
    assert run["stats"]["items"]["total"] == len(requests_of(contract))


def requests_of(contract):
    collection = json.loads(COLLECTIONS[contract].read_text())
    return [item["request"] for folder in collection["item"] for item in folder["item"]]


@pytest.mark.parametrize("contract", COLLECTIONS)
def test_it_has_every_operation(contract):
    with application("postgresql+psycopg2://127.0.0.1:9/none", contract) as app:
        document = build_document(app)
    described = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }

    asked = set()
    for request in requests_of(contract):
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
    assert after - before > len(requests_of("native")) / 2


def test_contract_bs_collection_succeeds(tmp_path, newman):
    with running("b", tmp_path) as server:
        assert_all_went_well(newman(server, "b"), "b")


def test_contract_cs_collection_succeeds_with_a_token_of_the_issuer(tmp_path, newman):
    with running("c", tmp_path) as server:
        run = newman(server, "c", access_token=sign("ada"), user_id="ada")

    assert_all_went_well(run, "c")


def refreshed(service):
    return service.log.read_text().count('"route":"/auth/refresh"')
