"""docs/contracts.md names tests that exist, and every endpoint."""

import re

import pytest

from tests.service import ROOT

DOCUMENT = (ROOT / "docs" / "contracts.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)(?:::(test_\w+))?`", DOCUMENT)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_it_names_is_there(file, test):
    source = (ROOT / "tests" / f"{file}.py").read_text()

    assert not test or f"def {test}(" in source


def test_it_names_every_endpoint_that_is_about_accounts_or_tasks(app):
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/auth", "/tasks", "/api")):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).replace("{session_id}", "{id}")
        assert re.search(rf"{re.escape(path)}[`,]", DOCUMENT), path
