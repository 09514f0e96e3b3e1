"""APPLY_LOG_FORMAT=json: every line of a worker is one object, with the facts of the text beside the text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import grant, hold, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, site_on, start_worker, wait_for_ends

SYMBOL = SYMBOLS[0]

#: What Celery's signal handler writes past every logger while a worker stops.
PAST_THE_LOG = re.compile(r"worker: (Warm|Soft|Cold) shutdown.*|.*[Rr]estoring \d+ unacknowledged.*|")


def play(site: Site) -> None:
    """One plan executes, one blocks, one message is none."""
    hold(site.client, site.keys, "100", SYMBOL)
    site.send(plan("good", SYMBOL), "good")
    grant(site.client, site.keys, "good", *permit_texts(SYMBOL))
    site.send(plan("odd", SYMBOL, action="UPDATE_SL"), "odd")
    site.send({"plan_id": "bad\n", "symbol": 5}, "bad")
    wait_for_ends(site, ["good", "odd"])


def events(lines: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Every line that is of the log, by its event; all of them must be JSON objects with what each has."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if not PAST_THE_LOG.fullmatch(line):
            document = json.loads(line)
            assert {"timestamp", "level", "logger", "event", "message"} <= document.keys()
            found.setdefault(document["event"], []).append(document)
    return found


def check(found: dict[str, list[dict[str, Any]]]) -> None:
    """The decisions carry their facts, and the fixed text."""
    [ok], [order] = found["ok"], found["order"]
    [block] = [entry for entry in found["block"] if entry["plan_id"] == "odd"]

    assert ("good", "0.008", SYMBOL) == tuple(ok[name] for name in ("plan_id", "safe_qty", "symbol"))
    assert ok["message"].startswith(
        f"[PERMIT_WAIT] OK plan=good wait_ms={ok['wait_ms']} safe_qty=0.0080 symbol={SYMBOL}"
    )
    assert ("odd", "unsupported_action", "BLOCKED", -2) == tuple(
        block[name] for name in ("plan_id", "reason", "decision", "p33_ttl")
    )
    assert block["message"].startswith("[PERMIT_WAIT] BLOCK plan=odd reason=unsupported_action gov_ttl=-2 p33_ttl=-2 ")
    assert (True, "SELL") == (order["executed"], order["steps_results"][0]["side"])
    assert ("good", "tasks.execute") == (order["task_id"], order["task_name"])
    assert {"bad"} == {entry["message_task_id"] for entry in found["set_aside"]}
    assert "paper" == found["start"][0]["mode"]
    assert {"good", "odd", "bad"} <= {entry.get("task_id") for entry in found["log"]}
    assert any("ready" in entry["message"] for entry in found["log"])


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.long)])
def test_every_line_is_json(pool: str) -> None:
    """Of the worker, its children and Celery itself; nothing else but what goes past the log."""
    options = ("--pool", pool, "--concurrency", "2")
    with (
        RealServer() as server,
        start_worker(server, *options, APPLY_LOG_FORMAT="json") as worker,
        site_on(server) as site,
    ):
        play(site)
        wait_until(lambda: worker.lines('"event": "set_aside"') and worker.lines('"event": "order"'), "every line")
        check(events(worker.logs().splitlines()))


@pytest.mark.long
def test_a_log_file_is_json_from_its_first_line_to_its_last(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With --logfile, over a stop in good order too."""
    path = tmp_path_factory.mktemp("log") / "worker.log"
    with RealServer() as server, site_on(server) as site:
        worker = _with_file(server, path)
        try:
            play(site)
        finally:
            worker.teardown()
    lines = path.read_text().splitlines()

    check(events(lines))
    assert all(line.startswith("{") for line in lines)


def _with_file(server: RealServer, path: Path) -> Worker:
    worker = Worker(server, "--logfile", str(path), APPLY_LOG_FORMAT="json")
    worker.start()
    # What a node waits for is in the file, and not on its screen.
    wait_until(lambda: path.exists() and " ready." in path.read_text(), "the worker is ready", within_s=40)
    return worker


def test_text_is_the_default(site: Site, workers: list[Worker]) -> None:
    """Without the setting the lines are what they always were."""
    symbol = SYMBOLS[5]
    hold(site.client, site.keys, "100", symbol)
    site.send(plan("text-1", symbol, action="UPDATE_SL"), "text-1")
    wait_for_ends(site, ["text-1"])
    [line] = [line for worker in workers for line in worker.lines("[PERMIT_WAIT] BLOCK plan=text-1")]

    assert re.match(r"\[\d{4}-.+\] \[PERMIT_WAIT\] BLOCK plan=text-1 reason=unsupported_action", line)
