"""`permitwait ledger SYMBOL` against a real server: what it finds, how it says so, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tasks.position import evaluate
from tasks.settings import Settings
from tests.helpers import GOVERNOR, hold, intent_of, run_to_outcome
from tests.judges.position_bed import NO_REST, give_ledger, ledger_of
from tests.ops.command_call import Command, ledger_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`permitwait ledger …` on the server of this test."""
    return ledger_command(settings, monkeypatch, capsys)


# Looking


@pytest.mark.parametrize(
    ("held", "ledger", "agrees"),
    [
        ("0.062", "0.062", True),
        ("-0.062", "-0.062", True),
        ("0.062", "0.063", True),
        ("0.062", "0.0630001", False),
        ("10", "10.1", True),
        ("10", "10.1000001", False),
        ("0.062", "-0.062", False),
        ("0.0005", "-0.0005", False),
        ("0.0005", "0", False),
        ("-0.0005", "0", False),
        ("0", "0", True),
        ("0", "0.00009", True),
        ("0", "0.0005", False),
        ("0.062", None, False),
    ],
)
def test_the_exit_code_says_whether_they_agree(
    client: redis.Redis, keys: Keys, command: Command, held: str, ledger: str | None, *, agrees: bool
) -> None:
    """0 where exchange and ledger are on one side and within the tolerance, 1 where not or where there is no ledger."""
    hold(client, keys, held)
    if ledger:
        give_ledger(client, keys, ledger)
    before = ledger_of(client, keys)

    said = command("BTCUSDT")

    assert (0 if agrees else 1) == said.code
    assert ("DO NOT AGREE" not in said.out) == agrees
    assert before == ledger_of(client, keys)


def test_the_evidence_is_shown(client: redis.Redis, keys: Keys, parts: Parts, command: Command) -> None:
    """Both amounts, their difference, what is allowed, and the last order that moved the ledger."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())
    run_to_outcome(parts, intent_of())
    hold(client, keys, "0.062")

    said = command("BTCUSDT")

    order_id = ledger_of(client, keys)["last_order_id"]
    expected = (
        "BTCUSDT: ledger and exchange DO NOT AGREE",
        "paper holds      0.062",
        "our ledger says  0.003",
        "0.059 (allowed: 0.001)",
        "exchange_first_sight",
        f"SELL 0.007 {order_id} by plan plan-1",
    )

    assert [] == [line for line in expected if line not in said.out]
    assert "" == said.err


def test_a_symbol_without_a_ledger_is_told_as_such(client: redis.Redis, keys: Keys, command: Command) -> None:
    """No ledger yet is not a ledger of nothing: it says what will happen, and looking does not begin one."""
    hold(client, keys)

    said = command("BTCUSDT")

    assert (1, True) == (said.code, "nothing yet" in said.out)
    assert {} == ledger_of(client, keys)


@pytest.mark.parametrize("ledger", ["0.062", "0.002", None])
def test_json_is_one_document_with_the_same_facts(
    client: redis.Redis, keys: Keys, command: Command, ledger: str | None
) -> None:
    """Standard output holds one JSON document, amounts as exact text, and the exit code says the same."""
    hold(client, keys)
    if ledger:
        give_ledger(client, keys, ledger)

    said = command("BTCUSDT", "--json")

    document = json.loads(said.out)
    difference = {"0.062": "0.000", "0.002": "0.060", None: ""}[ledger]

    assert said.code == (0 if ledger == "0.062" else 1)
    assert ["BTCUSDT", "paper", "0.062", ledger or "", difference, "0.001", ledger == "0.062", False] == [
        document[name]
        for name in (
            "symbol",
            "venue",
            "exchange_amt",
            "ledger_amt",
            "difference",
            "tolerance",
            "agrees",
            "changed",
        )
    ]


# What cannot be answered


@pytest.mark.parametrize("symbol", ["btcusdt", "B", "", "BTC-USD", "p33:BTCUSDT", "A" * 31, "BTCUSDT\n"])
def test_what_is_no_symbol_is_a_usage_error(command: Command, symbol: str) -> None:
    """Exit code 2, with what is allowed, and nothing on standard output."""
    said = command(symbol)

    assert (2, "") == (said.code, said.out)
    assert "is not a symbol" in said.err


@pytest.mark.parametrize("arguments", [["BTCUSDT"], ["BTCUSDT", "--set-from-exchange", "--yes", "--json"]])
def test_an_unreachable_server_is_exit_code_three(
    settings: Settings, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Without Redis there is no evidence: exit code 3 and one line."""
    monkeypatch.setenv("APPLY_REDIS_URL", f"{settings.redis_url}.gone")

    said = command(*arguments)

    assert (3, "", 1) == (said.code, said.out, len(said.err.splitlines()))


@pytest.mark.parametrize("held", ["junk", "NaN", ""])
def test_a_venue_that_cannot_be_asked_sets_nothing(
    client: redis.Redis, keys: Keys, command: Command, held: str
) -> None:
    """A position that is no number is not taken as flat, and certainly not written into the ledger."""
    hold(client, keys, held)
    give_ledger(client, keys, "0.002")

    said = command("BTCUSDT", "--set-from-exchange", "--yes")

    assert (3, "") == (said.code, said.out)
    assert {"last_known_amt": "0.002"} == ledger_of(client, keys)


def test_the_installed_command_does_the_same(client: redis.Redis, keys: Keys, settings: Settings) -> None:
    """As a process of its own, as an operator runs it: evidence and 1, then set and 0."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")
    env = {"APPLY_REDIS_URL": settings.redis_url, "APPLY_NAMESPACE": settings.namespace, "APPLY_MODE": "paper"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops", "ledger", "BTCUSDT", *arguments],
            cwd=ROOT,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    looked, changed = run(), run("--set-from-exchange", "--yes", "--json")

    assert (1, True) == (looked.returncode, "DO NOT AGREE" in looked.stdout)
    assert (0, True) == (changed.returncode, json.loads(changed.stdout)["changed"])
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]
