"""The Grafana dashboard and the alert rules ask only for what a worker shows, and everything it shows is documented."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.series import ALERT_TESTS, ALERTS, DASHBOARD, asked, shown, unknown_series
from workers.metrics import METRICS

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def panels() -> list[dict[str, Any]]:
    """Every panel that shows something."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every query of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("expression", expressions())
def test_a_query_asks_for_what_is_shown(expression: str) -> None:
    """Names and labels of a panel's query exist."""
    assert asked(expression)
    assert [] == unknown_series(expression)


def test_the_dashboard_leaves_nothing_out() -> None:
    """Every figure of a worker is on the dashboard, but for what only tests need."""
    on_it = {name for expression in expressions() for name, _ in asked(expression)}
    left_out = {metric.exported for metric in METRICS if not {n for n in on_it if n.startswith(metric.exported)}}

    assert {"permitwait_parked_plans_limit", "permitwait_metrics_dropped_total"} == left_out


def test_the_dashboard_is_importable() -> None:
    """Classic JSON for sharing: no id, a fixed uid, panels that do not overlap, the data source as a variable."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]

    assert "id" not in document
    assert ("permitwait", 39) == (document["uid"], document["schemaVersion"])
    assert "datasource" == document["templating"]["list"][0]["name"]
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in panels()}
    assert len(set(cells)) == len(cells)
    assert 24 >= max(at["x"] + at["w"] for at in places)
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert [] == [panel["title"] for panel in panels() if not panel["title"]]


def test_alerts_ask_for_what_is_shown() -> None:
    """Names and labels in the alert rules exist."""
    rules = re.sub(r"(?m)^\s*#.*|summary:.*|runbook_url:.*|alert:.*", "", ALERTS.read_text(encoding="utf-8"))

    assert asked(rules)
    assert [] == unknown_series(rules)


def test_every_alert_has_a_runbook_and_a_test() -> None:
    """Each alert's link leads to a heading of docs/metrics.md, and promtool sees each one fire."""
    rules, told = ALERTS.read_text(encoding="utf-8"), DOCUMENT.read_text(encoding="utf-8")
    names = re.findall(r"alert: (\w+)", rules)
    links = re.findall(r"runbook_url: docs/metrics\.md#(\w+)", rules)

    assert names
    assert [name.lower() for name in names] == links
    assert [] == [name for name in names if f"\n### {name}\n" not in told]
    assert [] == [name for name in names if name not in ALERT_TESTS.read_text(encoding="utf-8")]
    assert len(names) == rules.count("summary:") == rules.count("severity:")


def test_names_follow_prometheus() -> None:
    """Counters end in _total, times are seconds, and no label can take a value per plan or symbol."""
    for metric in METRICS:
        assert re.fullmatch(r"permitwait_[a-z_]+", metric.exported)
        assert metric.exported.endswith("_total") == (metric.kind == "counter")
        assert (metric.kind == "histogram") <= metric.exported.endswith("_seconds")
        assert not {"plan", "plan_id", "symbol", "account"} & set(metric.labels)
        assert metric.meaning.endswith(".")
    assert len(shown()) > len(METRICS)
