"""Writes down how the tests that show a fault ended, and on which servers: the last column of the fault matrix."""

import json
import platform
import re
import subprocess
from collections import Counter, defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from ops.server import server_binary
from tests.packages import installed

#: Where a run's record goes; not committed.
FOLDER: Final = Path(__file__).parents[1] / ".faults"


class Recorder:
    """A plugin of pytest for one run. With several test processes it belongs to the one that collects the reports."""

    def __init__(self, server: str, broker: str) -> None:
        self._server, self._broker = server, broker
        self._ends: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count how a test that shows a fault ended."""
        # Setup and teardown count where they do not pass.
        if "fault" in report.keywords and (report.when == "call" or report.outcome != "passed"):
            self._ends[report.nodeid.partition("[")[0]][report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        """Write the record of this run."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self._server}-{self._broker}.json"
        record = {"run": self._run(), "tests": {test: dict(self._ends[test]) for test in sorted(self._ends)}}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _run(self) -> dict[str, Any]:
        server = server_version(self._server)
        return {
            "server": server,
            "broker": rabbitmq_version() if self._broker == "rabbitmq" else server,
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "celery": version("celery"),
            "kombu": version("kombu"),
        }


def server_version(kind: str) -> str:
    """Name and version of the server of a run."""
    name, binary = ("Valkey", str(server_binary())) if kind == "valkey" else ("Redis", installed("redis-server"))
    return f"{name} {_first_number(binary, '--version')}"


def rabbitmq_version() -> str:
    """Name and version of the broker."""
    return f"RabbitMQ {_first_number(installed('rabbitmqctl'), 'version')}"


def _first_number(*command: str | None) -> str:
    if command[0] is None:
        return "not installed"
    said = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else said.strip()
