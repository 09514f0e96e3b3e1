"""With the real Prometheus: the page is well formed, the rules hold, every panel of the dashboard gets an answer."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.helpers import grant, hold, wait_until
from tests.metrics.scrape import free_port, scrape
from tests.metrics.series import ALERT_TESTS, ALERTS
from tests.metrics.test_dashboard import expressions
from tests.packages import need
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, permit_texts, plan, site_on, start_workers, wait_for_ends

pytestmark = pytest.mark.long


def promtool(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """One call of promtool."""
    command = [need("promtool"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_the_alert_rules_are_valid() -> None:
    """Promtool takes them."""
    done = promtool("check", "rules", str(ALERTS))

    assert 0 == done.returncode, done.stderr


def test_each_alert_fires_for_its_cause_and_no_other() -> None:
    """Promtool's unit tests of the rules hold."""
    done = promtool("test", "rules", str(ALERT_TESTS))

    assert 0 == done.returncode, done.stdout + done.stderr


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """A Prometheus that scrapes this port of a worker and knows our rules; its own port. Gone afterwards."""
    program, port = need("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "permitwait", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_until(lambda: _ready(port), "Prometheus ready", 30)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def query(port: int, expression: str) -> list[Any]:
    """The result of an instant query; fails with Prometheus' own words where it is no query."""
    with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}", timeout=10) as answer:
        document = json.load(answer)
    assert "success" == document["status"]

    return list(document["data"]["result"])


#: On a good day nothing of this happened.
QUIET = ("sweep_endings", 'verdict="refused"')


def test_every_panel_gets_an_answer(tmp_path: Path) -> None:
    """A real worker, scraped by a real Prometheus, while plans run: each query of the dashboard yields a figure."""
    need("prometheus")
    target = free_port()
    settings = {"APPLY_METRICS_ADDRESS": f"127.0.0.1:{target}", "APPLY_ISSUERS": "governor,p33"}
    with (
        RealServer() as server,
        start_workers(1, server, **settings) as _,
        site_on(server) as site,
        prometheus(tmp_path, target) as port,
    ):
        for number, symbol in enumerate(SYMBOLS[:6]):
            hold(site.client, site.keys, "0.062", symbol)
            site.send(plan(f"p{number}", symbol), f"p{number}")
        site.send(plan("no", "NOTALLOWED"), "no")
        site.client.lpush("execute", "junk")
        wait_for_ends(site, [*(f"p{number}" for number in range(6)), "no"])
        seen = 'sum(permitwait_decisions_total{job=~".*"})'
        wait_until(lambda: [one for one in query(port, seen) if float(one["value"][1]) >= 7], "the scrape", 30)
        grant(site.client, site.keys, "again", *permit_texts(SYMBOLS[7]))
        hold(site.client, site.keys, "0.062", SYMBOLS[7])
        site.send(plan("again", SYMBOLS[7]), "again")
        site.send(plan("no-again", "NOTALLOWED"), "no-again")
        site.client.lpush("execute", "junk")
        wait_for_ends(site, ["again", "no-again"])
        wait_until(lambda: [one for one in query(port, seen) if float(one["value"][1]) >= 9], "the next scrape", 30)

        asked = [text.replace("$__rate_interval", "1m").replace("$job", "permitwait") for text in expressions()]
        silent = [text for text in asked if not query(port, text) and not any(word in text for word in QUIET)]
        checked = promtool("check", "metrics", stdin=scrape(target).text)

        assert [] == silent
        assert (0, "") == (checked.returncode, checked.stdout + checked.stderr)
        assert [] == query(port, 'ALERTS{alertstate="firing"}')
