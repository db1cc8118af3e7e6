"""The dashboard and the alerts of deploy/ speak of metrics that are there."""

import json
import re
import shutil
import subprocess

import pytest
import yaml  # type: ignore[import-untyped]

from taskapi import create_app
from tests.docs.test_security_documents import anchors
from tests.support.nginx import DEPLOY
from tests.support.service import make_settings

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


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed"
)


def check_rules(file):
    checked = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    return checked.returncode, checked.stdout + checked.stderr


@needs_promtool
def test_prometheus_takes_the_rules():
    status, said = check_rules(DEPLOY / "alerts.yaml")

    assert status == 0, said
    assert f"{len(RULES)} rules found" in said


@needs_promtool
def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path):
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    rules = [
        # Grafana puts the range in, by the width of the picture.
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )

    status, said = check_rules(tmp_path / "rules.yaml")

    assert status == 0, said
    assert f"{len(expressions)} rules found" in said


@needs_promtool
def test_prometheus_takes_what_the_service_shows(samples):
    app = create_app(make_settings(database_url="postgresql+psycopg2://127.0.0.1:9/none"))
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=app.test_client().get("/metrics").text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


UP = {'up{job="taskapi"}': "1x1600"}
REQUESTS = "taskapi_request_duration_seconds"
WAITS = "taskapi_database_pool_wait_seconds"
FAILURES = 'taskapi_logins_total{outcome="failed"}'
CALM = {
    f'{REQUESTS}_count{{status="200"}}': "0+1000x1600",
    f'{REQUESTS}_count{{status="503"}}': "0+1x1600",
    f'{REQUESTS}_bucket{{route="/tasks",le="0.5"}}': "0+99x1600",
    f'{REQUESTS}_bucket{{route="/tasks",le="1"}}': "0+100x1600",
    f'{REQUESTS}_bucket{{route="/tasks",le="+Inf"}}': "0+100x1600",
    f'{REQUESTS}_bucket{{route="/tasks/changes",le="0.5"}}': "0x1600",
    f'{REQUESTS}_bucket{{route="/tasks/changes",le="1"}}': "0+900x1600",
    f'{REQUESTS}_bucket{{route="/tasks/changes",le="+Inf"}}': "0+900x1600",
    f'{WAITS}_bucket{{le="0.1"}}': "0+99x1600",
    f'{WAITS}_bucket{{le="1"}}': "0+100x1600",
    f'{WAITS}_bucket{{le="+Inf"}}': "0+100x1600",
    'taskapi_database_errors_total{sqlstate="TA401"}': "0+600x1600",
    'taskapi_database_errors_total{sqlstate="53100"}': "0+1x1600",
    FAILURES: "0+60x1600",
    'taskapi_change_feed_waiters{instance="a"}': "5x1600",
}
TROUBLES = {
    "": {},
    "TaskapiDown": {'up{job="taskapi"}': "1x1500 0x100"},
    "TaskapiErrors": {f'{REQUESTS}_count{{status="503"}}': "0+20x1600"},
    "TaskapiSlow": {f'{REQUESTS}_bucket{{route="/tasks",le="0.5"}}': "0+90x1600"},
    "TaskapiPoolWait": {f'{WAITS}_bucket{{le="0.1"}}': "0+90x1600"},
    "TaskapiDatabaseErrors": {'taskapi_database_errors_total{sqlstate="53100"}': "0+60x1600"},
    "TaskapiLoginFailures": {FAILURES: "0+1x1500 1500+60x100"},
    "TaskapiFeedFull": {'taskapi_change_feed_waiters{instance="a"}': "6x1600"},
}


def test_every_alert_is_tried():
    assert set(TROUBLES) - {""} == {rule["alert"] for rule in RULES}


@needs_promtool
@pytest.mark.parametrize("alert", TROUBLES)
def test_an_alert_is_raised_when_it_should_be_and_alone(tmp_path, alert):
    series = UP | CALM | TROUBLES[alert]
    firing = {"labels": f'{{alertname="{alert}"}}', "value": 1}
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'sum by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "1530m",
                "exp_samples": [firing] if alert else [],
            }
        ],
    }
    tests = {"rule_files": [str(DEPLOY / "alerts.yaml")], "tests": [case]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    tried = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "tests.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert tried.returncode == 0, tried.stdout + tried.stderr
