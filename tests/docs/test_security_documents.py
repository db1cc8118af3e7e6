"""What SECURITY.md, the threat model and the operator's page name is there."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from taskapi.http.problems import catalogue
from tests.support.service import ROOT

DOCS = ROOT / "docs"
SECURITY = (ROOT / "SECURITY.md").read_text()
THREATS = (DOCS / "threat-model.md").read_text()
OPERATING = (DOCS / "operating.md").read_text()

NAMED = sorted(set(re.findall(r"`(test_\w+)(?:::(test_\w+))?`", SECURITY + THREATS)))
PAGES = [ROOT / "SECURITY.md", ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names of the headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", _CODE.sub("", page.read_text()), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        times = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", one) is not None for one in found)
        found.add(f"{name}-{times}" if times else name)
    return found


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(((?!https?:|mailto:)[^)\s]+)\)", _CODE.sub("", page.read_text()))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_they_name_is_there(file, test):
    [path] = (ROOT / "tests").glob(f"*/{file}.py")
    source = path.read_text()

    assert not test or re.search(rf"^def {test}\(", source, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_links_are_found_at_all():
    assert "threat-model.md#from-whom" in " ".join(links(ROOT / "SECURITY.md"))
    assert "the-doctor" in anchors(DOCS / "operating.md")


@pytest.mark.parametrize("number", range(1, 11))
def test_every_risk_of_an_api_has_a_row_with_a_test(number):
    [row] = re.findall(rf"^\| API{number} .*\|$", THREATS, re.MULTILINE)

    assert row.count(" | ") == 3
    assert re.search(r"`test_\w+::test_\w+`", row.rpartition(" | ")[2])


@pytest.mark.parametrize("number", range(1, 17))
def test_every_chapter_of_the_standard_has_a_row_with_a_test(number):
    [row] = re.findall(rf"^\| V{number} .*\|$", THREATS, re.MULTILINE)
    _, done, shown, not_done = row.strip("| ").split(" | ")

    assert done and not_done
    assert re.search(r"`test_\w+::test_\w+`", shown)


def test_every_reason_for_a_503_is_explained():
    codes = {code for code, (status, _) in catalogue().items() if status == 503}

    assert codes >= {"busy", "database_unavailable"}
    for code in codes | {"service_unavailable"}:
        assert re.search(rf"^\| `{code}` \| \d+ \| .+ \| .+ \|$", OPERATING, re.MULTILINE), code


def test_every_metric_is_explained():
    families = {one.name: one.type for one in REGISTRY.collect() if one.name.startswith("taskapi_")}

    assert len(families) >= 9
    for name, kind in families.items():
        shown = f"{name}_total" if kind == "counter" else name
        assert f"| `{shown}` |" in OPERATING, shown


def test_every_event_that_is_named_is_one():
    source = "".join(path.read_text() for path in (ROOT / "taskapi").rglob("*.py"))
    _, _, rest = OPERATING.partition("Events of accounts:")
    events, _, _ = rest.partition("Commands\nwrite")

    assert len(re.findall(r"`(\w+)`", events)) > 25
    for event in re.findall(r"`(\w+)`", events):
        assert f'"{event}"' in source, event
