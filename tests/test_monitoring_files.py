"""The dashboard and the alerts of deploy/ speak of metrics that are there."""

import json
import re
import shutil
import subprocess

import pytest
import yaml  # type: ignore[import-untyped]

from taskapi import create_app
from tests.nginx import DEPLOY
from tests.service import make_settings
from tests.test_security_documents import anchors

DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
GROUPS = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]

EXPRESSIONS = [
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]


@pytest.fixture(scope="module")
def samples():
    """The names of all samples that /metrics may show, with the labels of each."""
    # It is answered without a database.
    app = create_app(make_settings(database_url="postgresql+psycopg2://127.0.0.1:9/none"))
    shown = app.test_client().get("/metrics").text
    types = dict(re.findall(r"^# TYPE (taskapi_\w+) (\w+)$", shown, re.MULTILINE))
    names = {name for name, kind in types.items() if kind in ("counter", "gauge")}
    for name, kind in types.items():
        if kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return names


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_metric_that_is_asked_for_is_there(samples, where, expression):
    named = set(re.findall(r"\btaskapi_\w+", expression))

    assert named or "up{" in expression
    assert named <= samples


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_labels_are_those_of_the_metrics(where, expression):
    of_ours = {"method", "route", "status", "sqlstate", "outcome", "bucket", "version", "python"}
    of_prometheus = {"le", "job", "instance"}
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", expression))

    assert {*matched, *re.findall(r"\w+", grouped)} <= of_ours | of_prometheus


def test_the_dashboard_shows_every_metric_there_is(samples):
    asked = " ".join(expression for _, expression in EXPRESSIONS[: -len(RULES)])
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples}
    families -= {name for name in families if name.endswith("_created")}

    assert {name for name in families if name not in asked} == set()


def test_the_dashboard_is_one_that_grafana_takes():
    ids = [panel["id"] for panel in PANELS]

    assert DASHBOARD["schemaVersion"] >= 38
    assert len(set(ids)) == len(ids) >= 11
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_panel_lies_upon_another():
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_what_to_do(rule):
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    [anchor] = re.findall(r"docs/operating\.md#([\w-]+)$", rule["annotations"]["description"])
    assert anchor in anchors(DEPLOY.parent / "docs" / "operating.md")


def test_every_alert_is_one_and_is_explained():
    names = [rule["alert"] for rule in RULES]
    document = (DEPLOY.parent / "docs" / "operating.md").read_text()

    assert len(set(names)) == len(names)
    assert {name for name in names if f"| `{name}` |" not in document} == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules():
    checked = subprocess.run(
        ["promtool", "check", "rules", DEPLOY / "alerts.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
