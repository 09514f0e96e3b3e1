"""For every reason: a plan provokes it, `explain` names the cause, and its next step lets the next plan pass."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tasks.act import execute_once
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.settings import Settings
from tests.helpers import hold, intent_of, run_to_outcome
from tests.ops.explain_stand import Stand, stand_of
from tests.ops.provoked import order_unknown
from tests.ops.provoked_cases import CASES, Case
from tests.servers import RealServer


@pytest.fixture
def stand(
    settings: Settings,
    make_parts: Callable[..., Parts],
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Stand:
    """0.062 BTCUSDT are held at 50000 USD."""
    hold(client, make_parts(settings).gate.keys)
    return stand_of(settings, make_parts, client, monkeypatch, capsys)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_reason_is_explained_and_its_advice_works(stand: Stand, case: Case) -> None:
    """The plan ends for this reason, the explanation names the cause, and after its next step the next plan passes."""
    if case.outside:
        stand.configure(issuers=())
    case.provoke(stand)
    told = stand.explained()
    diagnosis = told["diagnosis"]
    text = " ".join([diagnosis["what"], diagnosis["why"], diagnosis["todo"], *diagnosis["commands"]])

    assert case.reason == told["outcome"]["reason"]
    assert Reason(case.reason).meaning in diagnosis["what"]
    assert [] == [name for name in case.names if name not in text]

    case.cure(stand)
    passes(stand, diagnosis["commands"])


def passes(stand: Stand, commands: list[str]) -> None:
    """Follow every command of ours; the last one, or where there is none the corrected plan, executes."""
    outcome = None
    for command in commands:
        if command.startswith(("celery ", "export ")) or "--executed" in command:
            continue
        done = stand.follow(command)
        if isinstance(done, Outcome):
            outcome = done
        else:
            assert 2 != done.code, done.err
    outcome = outcome or stand.play("plan-1" if not stand.parts.gate.record("plan-1") else "plan-2")

    assert outcome.executed, (outcome.reason, stand.parts.gate.record(outcome.plan_id).get("detail"))


def test_every_reason_is_provoked() -> None:
    """The cases here, with those below, leave no reason out."""
    below = {"symbol_not_allowed", "plan_conflict", "server_changed"}

    assert {reason.value for reason in Reason} == {case.reason for case in CASES.values()} | below


def test_a_symbol_that_is_not_allowed(stand: Stand) -> None:
    """The setting that the advice shows lets the next plan pass."""
    hold(stand.client, stand.keys, symbol="ETHUSDT")
    stand.play(symbol="ETHUSDT")
    told = stand.explained()
    export, worker, again = told["diagnosis"]["commands"]

    assert "symbol_not_allowed" == told["outcome"]["reason"]
    assert "export APPLY_ALLOWLIST=BTCUSDT,ETHUSDT" == export
    assert "celery -A workers worker" == worker

    stand.configure(allowlist=tuple(export.partition("=")[2].split(",")))

    assert stand.send(again).executed


def test_a_message_that_contradicts_a_plan(stand: Stand) -> None:
    """The explanation of the plan tells of the message too, and under an id of its own that one passes."""
    stand.begin(intent_of())
    other = intent_of(action="PARTIAL_50")
    step = execute_once(stand.parts, other)
    assert isinstance(step, Outcome)
    told, screen = stand.explained(), " ".join(stand.screen().split())

    assert "plan_conflict" == step.reason
    assert "waiting" == told["state"]
    assert "plan_conflict" in told["beside"]["why"]
    assert "under an id of its own" in screen
    assert "known as BTCUSDT|PARTIAL_75|EXECUTE" in screen
    assert stand.play("plan-2", action="PARTIAL_50").executed


def test_a_server_that_changed(tmp_path: Path, stand: Stand) -> None:
    """A waiting plan from before a restart is refused, and says so; the next one passes."""
    with RealServer(tmp_path / "data", appendfsync="always") as own:
        stand.configure(redis_url=own.url)
        stand.client = stand.parts.store.client
        hold(stand.client, stand.keys)
        stand.parts.gate.meet_server()
        stand.begin(intent_of())
        own.kill()
        own.start()
        stand.judge(intent_of())
        assert "server_changed" == run_to_outcome(stand.parts, intent_of()).reason
        told = stand.explained()["diagnosis"]

        assert "restarted or failed over" in told["what"]
        assert stand.send(told["commands"][-1]).executed


@pytest.mark.parametrize("found", ["executed", "not_executed"])
def test_an_unknown_order_is_settled_by_what_the_advice_says(stand: Stand, found: str) -> None:
    """Either command of the advice settles it, once; the explanation then tells who said what."""
    order_unknown(stand)
    with_order, without = stand.explained()["diagnosis"]["commands"]
    command = with_order.replace("ORDER_ID", "4711").replace("SIDE", "SELL") if found == "executed" else without
    done = stand.follow(command.replace("\\\n", "") + " --by bob --reason seen-there")
    told = stand.explained()

    assert not isinstance(done, Outcome)
    assert 0 == done.code
    assert "order_unknown" == told["outcome"]["reason"]
    assert f"{found.replace('_', ' ')}" in told["diagnosis"]["why"]
    assert "bob: seen-there" in told["diagnosis"]["why"]
    assert [] == told["diagnosis"]["commands"]
