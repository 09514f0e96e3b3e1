"""The series that a worker shows, and those that an expression asks for."""

import re
from pathlib import Path
from typing import Final

from workers.metrics import METRICS

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DASHBOARD: Final = DEPLOY / "grafana" / "permitwait.json"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS: Final = DEPLOY / "prometheus" / "alerts.test.yml"

#: Prometheus' own, and what every process tells of itself.
_COMMON: Final = {"up", "process_cpu_seconds_total", "process_open_fds"}


def shown() -> dict[str, set[str]]:
    """Every series a worker shows, with its labels."""
    series: dict[str, set[str]] = {name: set() for name in _COMMON}
    for metric in METRICS:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        series |= {metric.exported + ending: set(metric.labels) for ending in endings}
    return series


def asked(expression: str) -> list[tuple[str, set[str]]]:
    """Each series in an expression, with the labels by which it is chosen there."""
    found = re.findall(r"\b(up|process_\w+|permitwait_\w+)\b(?!\()(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", chosen))) for name, chosen in found]


def unknown_series(expression: str) -> list[str]:
    """What an expression asks for, and no worker shows."""
    known = shown()
    return [
        name
        for name, labels in asked(expression)
        if name not in known or not labels <= known[name] | {"job", "instance", "le"}
    ]
