"""The README's first session, typed as it stands there."""

import json
import re
import shutil
import subprocess

import pytest

from tests.support.service import ROOT, running_service

pytestmark = pytest.mark.service

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("readme")) as service:
        yield service


def run(command: list[str], code: str, url: str) -> str:
    finished = subprocess.run(
        command,
        input=code,
        env={"BASE": url, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_curl_command_does_what_it_says(service):
    output = run(["bash", "-eu"], block("sh"), service.url)

    decoder = json.JSONDecoder()
    answers = []
    while output.strip():
        answer, end = decoder.raw_decode(output.strip())
        answers.append(answer)
        output = output.strip()[end:]
    registered, listed, completed, renamed = answers
    assert registered["user"]["name"] == "Ada"
    assert [task["title"] for task in listed["tasks"]] == ["Buy milk"]
    assert completed["completed"] is True
    assert renamed["title"] == "Buy oat milk"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_fetch_example_does_what_it_says(service):
    output = run(["node", "--input-type=module", "-"], block("js"), service.url)

    assert output == "[x] Buy milk\n"


def test_the_example_of_a_problem_is_a_real_one(alice):
    documented = json.loads(block("json"))
    answered = alice.post("/tasks", {"title": " "}).json

    assert {**answered, "request_id": ""} == {**documented, "request_id": ""}


def test_the_table_names_every_route(app):
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/app", "/docs/", "/js/")):
            continue
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            path = path.replace("{task_id}", "{id}").replace("{session_id}", "{id}")
            assert f"`{method} {path}" in README, f"{method} {path}"


def test_the_make_targets_that_it_names_are_there():
    makefile = (ROOT / "Makefile").read_text()

    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert f"\n{target}:" in makefile, target
