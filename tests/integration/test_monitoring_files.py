"""The alerts and the dashboard of deploy/: names that exist, a runbook for each alert."""

import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from monitoring import (
    CONFIG,
    RULES,
    Alert,
    alerts,
    dashboard,
    faster,
    faults_of_names,
    labels_of_legend,
    panels,
)
from prometheus_server import needs_prometheus, promtool

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "fixtures" / "alerts" / "cases.yml"
STAGED = ROOT / "tests" / "integration" / "test_alerts.py"

ALERTS = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in headings}


@ALERTS
def test_an_alert_names_only_metrics_labels_and_values_that_exist(alert: Alert) -> None:
    assert list(faults_of_names(alert.expr)) == []


@ALERTS
def test_an_alert_has_a_severity_a_summary_and_a_paragraph_in_the_runbook(alert: Alert) -> None:
    assert alert.severity in ("critical", "warning")
    assert alert.summary.endswith(".")
    page, _, anchor = alert.runbook.partition("#")
    assert anchor == alert.name.lower()
    assert anchor in anchors(ROOT / page)
    text = (ROOT / page).read_text().partition(f"### {alert.name}\n")[2].partition("###")[0]
    assert text.lstrip().startswith(f"*{alert.severity.title()}.*")
    assert text.count("\n- ") == 2, "what to look at, what to do"


def test_the_runbook_has_no_paragraph_without_an_alert() -> None:
    page = ROOT / "docs" / "operating.md"
    assert re.findall(r"^### (.+)$", page.read_text(), re.MULTILINE) == [it.name for it in alerts()]


def test_each_alert_is_made_to_fire_by_a_test() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    tried = {
        it["alertname"] for case in cases for it in case["alert_rule_test"] if it["exp_alerts"]
    }
    tried |= set(re.findall(r'"(Ingest\w+)"', STAGED.read_text()))
    assert tried == {alert.name for alert in alerts()}


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("rate(ingest_frame_total[5m])", "metric ingest_frame_total"),
        ('ingest_frames_total{outcom="lost"}', "label outcom of ingest_frames_total"),
        ('ingest_frames_total{outcome=~"lost|gone"}', "ingest_frames_total{outcome=gone}"),
        ("sum by (dialekt) (ingest_streams)", "label dialekt"),
        ("process_open_fds", "process_open_fds of other jobs too"),
    ],
)
def test_a_name_that_does_not_exist_is_found(expr: str, fault: str) -> None:
    assert list(faults_of_names(expr)) == [fault]


def test_the_dashboard_names_only_metrics_labels_and_values_that_exist() -> None:
    for panel in panels():
        assert list(faults_of_names(panel.expr)) == [], panel.title
        for label in labels_of_legend(panel.legend):
            assert re.search(rf"\b{label}\b", panel.expr) or "by (" not in panel.expr, panel


def test_panels_have_ids_titles_and_places_of_their_own() -> None:
    board = dashboard()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24, panel["title"]
    for one, other in combinations(board["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        is_beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        is_above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert is_beside or is_above, (one["title"], other["title"])


def test_grafana_is_given_the_data_source_and_the_dashboard() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = provisioning.glob("datasources/*.yaml")
    (data,) = yaml.safe_load(source.read_text())["datasources"]
    assert (data["type"], data["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = provisioning.glob("dashboards/*.yaml")
    (folder,) = yaml.safe_load(provider.read_text())["providers"]
    assert folder["options"]["path"] == "/var/lib/grafana/dashboards"


def test_a_minute_is_a_second_in_the_files_of_a_test() -> None:
    text = 'scrape_interval: 15s\nexpr: a[5m] > 0.4 # 5m\nfor: 0s\nfor: 1m\n- targets: ["x:80"]\n'
    fast = "scrape_interval: 250ms\nexpr: a[5000ms] > 0.4 # 5m\nfor: 0ms\nfor: 1000ms\n"
    assert faster(text) == f'{fast}- targets: ["x:80"]\n'


@needs_prometheus
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", CONFIG)
    promtool("check", "rules", RULES)


@needs_prometheus
def test_alerts_fire_for_the_series_that_they_are_for() -> None:
    promtool("test", "rules", CASES)


def test_the_cases_have_series_that_exist() -> None:
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for given in case["input_series"]:
            assert list(faults_of_names(given["series"])) == []
