"""What deploy/ has for Prometheus and Grafana: the alerts, and the queries of the dashboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from metrics_reference import documented_series

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "rtaa-ingest.json"

TIMES_FASTER = 60
"""A minute is a second: see `faster`."""

OF_PROMETHEUS = {
    "up": {"job", "instance"},
    "ALERTS": {"job", "instance", "alertname", "alertstate", "severity"},
}
_DURATION = re.compile(r"(?P<number>\d+)(?P<unit>[smh])")
_SPANS = re.compile(r"((?:for|scrape_interval|evaluation_interval): |\[)(\d+[smh])(?=\]|\s)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_SELECTOR = re.compile(r"\b((?:ingest|process)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)")
_THRESHOLD = re.compile(r"\s*[<>=]=?\s*[\d.]+(?=\s*(?:\)|$|\bor\b|\band\b))")


class Alert(NamedTuple):
    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    runbook: str

    @property
    def value(self) -> str:
        """The expression without its thresholds: it has a value also where nothing is wrong."""
        return _THRESHOLD.sub("", self.expr)


class Panel(NamedTuple):
    title: str
    expr: str
    legend: str


def alerts() -> list[Alert]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return [
        Alert(
            rule["alert"],
            rule["expr"].strip(),
            rule["for"],
            rule["labels"]["severity"],
            rule["annotations"]["summary"],
            rule["annotations"]["runbook_url"],
        )
        for rule in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def panels() -> list[Panel]:
    """The queries of the dashboard, with values for the variables of Grafana."""
    board = dashboard()
    found = [
        Panel(panel["title"], filled(target["expr"]), target["legendFormat"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    return found + [
        Panel(note["name"], filled(note["expr"]), note["titleFormat"])
        for note in board["annotations"]["list"]
    ]


def filled(expr: str) -> str:
    values = {"$__rate_interval": "10s", "$__range": "1m", "$instance": ".*"}
    for name, value in values.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable without a value: {expr}"
    return expr


def faster(text: str) -> str:
    """Rewrite a shipped file so that Prometheus lives through a minute in a second.

    Every `for`, every interval and every range of an expression is divided by 60, and nothing else
    is: thresholds are those that are shipped.
    """

    def divide(span: re.Match[str]) -> str:
        duration = _DURATION.fullmatch(span[2])
        assert duration is not None
        ms = int(duration["number"]) * _UNIT_MS[duration["unit"]]
        assert ms % TIMES_FASTER == 0, f"{span[2]} is no whole number of ms then"
        return f"{span[1]}{ms // TIMES_FASTER}ms"

    return _SPANS.sub(divide, text)


def faults_of_names(expr: str) -> Iterator[str]:
    """Yield each metric, label or value of a label of a query that the reference does not name."""
    reference = documented_series()
    labels = {"job", "instance"}
    for name, matchers in _SELECTOR.findall(expr):
        if name in OF_PROMETHEUS:
            labels |= OF_PROMETHEUS[name]
        elif name in reference:
            labels |= reference[name].labels.keys()
            yield from _faults_of_selector(name, matchers, reference[name].labels)
        else:
            yield f"metric {name}"
    for grouping in _GROUPING.findall(expr):
        names = set(filter(None, map(str.strip, grouping.split(","))))
        yield from (f"label {label}" for label in names - labels)


def _faults_of_selector(
    name: str, matchers: str, known: dict[str, frozenset[str] | None]
) -> Iterator[str]:
    for label, operator, text in _MATCHER.findall(matchers):
        values = known.get(label)
        if label not in known and label not in ("job", "instance"):
            yield f"label {label} of {name}"
        elif values is not None:
            named = text.split("|") if "~" in operator else [text]
            yield from (f"{name}{{{label}={it}}}" for it in named if it not in values)
    if name.startswith("process_") and 'job="rtaa-ingest"' not in matchers:
        yield f"{name} of other jobs too"


def labels_of_legend(text: str) -> list[str]:
    return re.findall(r"\{\{\s*(\w+)\s*\}\}", text)
