"""docs/contracts.md names tests that exist, and every endpoint, field, limit and status."""

import re
from http import HTTPStatus

import pytest

from tests.support.service import ROOT

DOCUMENT = (ROOT / "docs" / "contracts.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)(?:::(test_\w+))?`", DOCUMENT)))
CONTRACTS = {
    name.lower(): text
    for name, text in re.findall(r"(?ms)^## Contract (\w)(.*?)(?=^## )", DOCUMENT)
}
STATUSES = {str(status.value) for status in HTTPStatus}

# What each contract's own document says, beside its endpoints and statuses.
FACTS = {
    "a": [
        *("`id`", "UUID", "`user_id`", "`title`", "`description`", "`completed`"),
        *("`created_at`", "`updated_at`", "1–500", "2000", "newest first", "bare array", "`[]`"),
        *("flipped", "malformed JSON", "expired", "`detail`"),
    ],
    "b": [
        *("`id`", "integers", "`user_id`", "`title`", "`description`", "`is_completed`"),
        *("`created_at`", "`updated_at`", "1–255", "10,000 characters", "newest first"),
        *("`{tasks, total}`", "`email`", "`password`", "8–100", "`{id, email, created_at}`"),
        *("`access_token`", "`token_type`", "`bearer`", "HS256", "24 hours", "`{message}`"),
        *("one message for both causes", "malformed JSON", "an empty title", "null keeps"),
        *("`detail`", "`{loc, msg, type}`", "bcrypt", "escap", "logged", "a lost connection"),
        *("200 ms", "100 users", "credential", "`GET /docs`"),
    ],
    "c": [
        *("`id`", "version 7", "`user_id`", "`text`", "1–500", "`completed`", "`completed_at`"),
        *("`order`", "`created_at`", "`updated_at`", "`{tasks, count}`", "both required"),
        *("`{text?, completed?}`", "final for the client", "without grace", "`GET /docs`"),
        *("healthy", "connected", "version", "unhealthy", "disconnected"),
        *("`{error, message, details?}`", "UNAUTHORIZED", "NOT_FOUND", "VALIDATION_ERROR"),
        *("`detail`", "200 ms", "500", "in 50", "100 concurrent", "Correlation", "90 %", "CORS"),
    ],
}


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_it_names_is_there(file, test):
    [path] = (ROOT / "tests").glob(f"*/{file}.py")
    source = path.read_text()

    assert not test or f"def {test}(" in source


def test_it_names_every_endpoint_that_is_about_accounts_or_tasks(app):
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/auth", "/tasks", "/api")):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).replace("{session_id}", "{id}")
        assert re.search(rf"{re.escape(path)}[`,]", DOCUMENT), path


@pytest.mark.parametrize("contract", FACTS)
def test_it_names_every_field_limit_and_promise_of_a_contract(contract):
    text = CONTRACTS[contract].lower()

    assert [fact for fact in FACTS[contract] if fact.lower() not in text] == []


@pytest.mark.parametrize("contract", FACTS)
def test_it_names_every_status_that_the_client_of_a_contract_expects(contract):
    client = (ROOT / "tests" / "clients" / f"contract_{contract}.mjs").read_text()
    expected = STATUSES & set(re.findall(r"\b(?:[24]\d\d|503)\b", client))

    assert expected >= {"201", "204", "401", "404", "422", "503"}
    assert [status for status in sorted(expected) if status not in CONTRACTS[contract]] == []


def test_a_cell_has_at_most_twenty_words():
    rows = [line.strip("|") for line in DOCUMENT.splitlines() if line.startswith("|")]
    cells = [cell for row in rows for cell in re.split(r"(?<!\\)\|", row)]

    assert [cell for cell in cells if len(cell.split()) > 20] == []


def test_every_link_within_it_leads_to_a_heading():
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT)) <= anchors
