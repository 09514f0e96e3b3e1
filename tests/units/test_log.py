"""The lines that operators grep for."""

import inspect
import logging
import re
from typing import Any

import pytest

from tasks import log
from tasks.consume import Claim
from tasks.judge import Standing, Stands
from tasks.outcome import Outcome

# CONTRACT "Log lines": the start is fixed, more pairs may follow.
OK = re.compile(
    r"\[PERMIT_WAIT\] OK plan=(?P<plan>[A-Za-z0-9_-]{1,64}) wait_ms=(?P<wait_ms>\d+) safe_qty=(?P<qty>\d+\.\d{4})"
    r" symbol=(?P<symbol>\S+) attempts=(?P<attempts>\d+)( \w+=.+)?"
)
BLOCK = re.compile(
    r"\[PERMIT_WAIT\] BLOCK plan=(?P<plan>\S{1,64}) reason=(?P<reason>[a-z0-9_]+) gov_ttl=(?P<gov>-?\d+)"
    r" p33_ttl=(?P<p33>-?\d+) wait_ms=(?P<wait_ms>\d+) symbol=(?P<symbol>\S+) attempts=(?P<attempts>\d+)( \w+=.+)?"
)

BLOCKED = Outcome(
    decision="BLOCKED",
    reason="missing_p33",
    plan_id="abc123def456",
    symbol="BTCUSDT",
    executed=False,
    would_execute=False,
    wait_ms=1201,
    attempts=14,
    safe_qty="",
    error="permit_timeout_or_missing:missing_p33",
    client_order_id="",
    timestamp=1.0,
    steps_results=[],
)


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "permitwait")


@pytest.mark.parametrize(
    ("qty", "shown"),
    [
        ("0.008", "0.0080"),
        ("0.00799", "0.0079"),
        ("12", "12.0000"),
        ("0.00001", "0.0000"),
        ("1234567890123456789012345.6", "1234567890123456789012345.6000"),
        ("9999999999999999999999999999", "9999999999999999999999999999.0000"),
    ],
)
def test_the_ok_line(caplog: pytest.LogCaptureFixture, qty: str, shown: str) -> None:
    """One line at INFO, with the quantity to four decimals, rounded down; no quantity is too long for it."""
    log.log_ok("67e6da21fa9fe506", "BTCUSDT", Claim("token", qty, 0, 345, 4))
    found = OK.fullmatch(caplog.messages[0])

    assert found
    assert ("67e6da21fa9fe506", "345", shown, "BTCUSDT", "4") == found.groups()[:5]
    assert [("permitwait", logging.INFO)] == [(record.name, record.levelno) for record in caplog.records]


def test_the_seeds_own_example(caplog: pytest.LogCaptureFixture) -> None:
    """The line of the system we re-create is the start of ours, so its scripts keep working."""
    log.log_ok("67e6da21fa9fe506", "BTCUSDT", Claim("token", "0.008", 0, 345, 4))

    assert caplog.messages[0].startswith("[PERMIT_WAIT] OK plan=67e6da21fa9fe506 wait_ms=345 safe_qty=0.0080 ")


def test_the_block_line(caplog: pytest.LogCaptureFixture) -> None:
    """One line at WARNING with the times to live that the last look found, in seconds."""
    permits = (Standing("governor", "string", 49_900, 2, b"{}"), Standing("p33", "none", -2, 0, b""))
    log.log_block(
        BLOCKED,
        Stands(0, 0, 0, 14, first=False, switch=b"", block_record=None, permits=permits),
        "not there by the deadline: p33",
    )
    found = BLOCK.fullmatch(caplog.messages[0])

    assert found
    assert ("abc123def456", "missing_p33", "50", "-2", "1201", "BTCUSDT", "14") == found.groups()[:7]
    assert [("permitwait", logging.WARNING)] == [(record.name, record.levelno) for record in caplog.records]


def test_a_block_without_a_look(caplog: pytest.LogCaptureFixture) -> None:
    """Where no permit was looked at both times to live are -2, and an unknown symbol is a dash."""
    log.log_block(BLOCKED.model_copy(update={"symbol": ""}), None, "")
    found = BLOCK.fullmatch(caplog.messages[0])

    assert found
    assert ("-2", "-2", "-") == (found["gov"], found["p33"], found["symbol"])


def test_no_detail_breaks_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a message or an issuer wrote, each entry stays one printable line."""
    nasty = "a\nb\r\x1b[31m\u20ac\ud800 reason=none"
    log.log_block(BLOCKED, None, nasty)
    log.log_set_aside(nasty, None, "invalid_intent", nasty * 100)
    log.log_unavailable("plan-1", RuntimeError(nasty), 100)

    assert 3 == len(caplog.messages)
    assert all(line.isprintable() and line.isascii() for line in caplog.messages)
    assert all(len(line) < 1000 for line in caplog.messages)


@pytest.mark.parametrize(("decision", "level"), [("EXECUTE", logging.INFO), ("REJECTED", logging.WARNING)])
def test_the_order_line(caplog: pytest.LogCaptureFixture, decision: str, level: int) -> None:
    """What became of an order is a line of its own, never counted as OK or BLOCK."""
    log.log_venue(BLOCKED.model_copy(update={"decision": decision, "reason": ""}))

    assert caplog.messages[0].startswith(f"[ORDER] {decision} plan=abc123def456 client_order_id=")
    assert level == caplog.records[0].levelno


#: One value for each argument that a function of `tasks.log` takes.
GIVEN: dict[str, Any] = {
    "plan_id": "plan-1",
    "outcome": BLOCKED,
    "claim": Claim("token", "0.008", 0, 345, 4),
    "stands": None,
    "error": RuntimeError("gone"),
    "again_in_ms": 1,
    "pause_ms": 1,
    "since_ms": 1,
    "core": 1,
    "cores": [0, 1],
    "permits": 1,
}

LINES = [function for name, function in vars(log).items() if name.startswith("log_")]


@pytest.mark.parametrize("line", LINES, ids=lambda function: function.__name__)
def test_every_line_carries_its_facts(caplog: pytest.LogCaptureFixture, line: Any) -> None:
    """Whatever a line tells in its text, a log of JSON has by name: what was given, and the plan as `plan_id`."""
    taken = inspect.signature(line).parameters
    line(**{name: GIVEN.get(name, "text") for name in taken})
    [record] = caplog.records
    facts = vars(record)["facts"]

    assert re.fullmatch(r"[a-z_]+", facts["event"])
    assert not {"timestamp", "level", "logger", "message", "exception"} & facts.keys()
    assert {"plan_id", "outcome"}.isdisjoint(taken) or facts["plan_id"] in {"plan-1", "abc123def456"}
    assert ("error" in taken) <= ("gone" in str(facts.get("error", "")) or "text" in str(facts.get("error", "")))
