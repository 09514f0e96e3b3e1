"""What the Governor writes: once per plan, exact, and so that the waiting plan ends with the judge's own reason."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tasks.act import Again
from tasks.attempt import attempt
from tasks.consume import Consumed
from tasks.errors import StoreUnavailable
from tasks.governor import evaluate
from tasks.outcome import Ending
from tasks.permit import GovernorPermit, read_permit
from tasks.venues import Position
from tasks.venues.paper import PaperVenue
from tests.helpers import P33, intent_of, record_of, results_of, stream
from tests.judges.desk import GRANTED, NOTHING, Desk, limits


class _Failing(PaperVenue):
    """A paper venue that cannot say what is held."""

    failure: Exception

    def position(self, symbol: str) -> Position:
        _ = symbol
        raise self.failure


def _failing(desk: Desk, failure: Exception) -> Desk:
    venue = _Failing(desk.parts.store, desk.keys, 60)
    venue.failure = failure
    return desk.at(venue)


@pytest.mark.parametrize("mode", ["dry_run", "paper", "testnet"])
@pytest.mark.parametrize(
    ("held", "action", "qty", "notional"),
    [
        (("0.062", "50000"), "FULL_CLOSE_PROPOSED", "0.062", "3100"),
        (("-0.062", "50000"), "PARTIAL_75", "0.0465", "2325"),
        (("0.062", "50000.01"), "PARTIAL_50", "0.031", "1550.00031"),
        (("0.00000001", "0.1"), "PARTIAL_75", "0.0000000075", "0.00000000075"),
        (("0.3", None), "PARTIAL_50", "0.15", "0"),
    ],
)
def test_the_granting_permit(
    desk: Desk, mode: str, held: tuple[str, str | None], action: str, qty: str, notional: str
) -> None:
    """A grant is strict JSON with the seed's fields and ours, exact figures, for 60 seconds, in every mode."""
    settings = desk.parts.settings.model_copy(update={"mode": mode})
    desk.hold(*held)
    desk.clock.set("2026-03-10T12:00:00.123")

    assert GRANTED == evaluate(replace(desk.parts, settings=settings), limits(), intent_of(action=action))
    key = desk.keys.permit("governor", "plan-1")
    assert {
        "granted": True,
        "symbol": "BTCUSDT",
        "plan_id": "plan-1",
        "issuer": "governor",
        "decision": "EXECUTE",
        "consumed": False,
        "computed_qty": Decimal(qty),
        "computed_notional": Decimal(notional),
        "created_at": desk.clock.seconds,
        "expires_at": desk.clock.seconds + 60,
    } == desk.document(key)
    raw = desk.client.get(key)
    assert isinstance(raw, bytes)
    permit = read_permit("governor", raw)
    assert isinstance(permit, GovernorPermit)
    assert (True, Decimal(qty)) == (permit.grants, permit.computed_qty)
    assert 50 < desk.client.ttl(key) <= 60
    assert 0 == desk.client.exists(desk.keys.governor_block("plan-1"))


def test_the_refusal(desk: Desk) -> None:
    """A refusal writes the seed's block record for an hour and a denying permit for 60 s, and reserves nothing."""
    desk.clock.set("2026-03-10T12:00:00.123")

    assert ("refused", "hourly_limit_exceeded") == desk.decide("plan-1", max_exec_per_hour=0)
    block, permit = desk.keys.governor_block("plan-1"), desk.keys.permit("governor", "plan-1")
    said = {
        "reason": "hourly_limit_exceeded",
        "symbol": "BTCUSDT",
        "plan_id": "plan-1",
        "issuer": "governor",
        "context": {"computed_qty": "0.04650", "computed_notional": "2325.00000"},
    }
    times = {"created_at": desk.clock.seconds, "expires_at": desk.clock.seconds + 60}
    assert said | {"timestamp": desk.clock.seconds} == desk.document(block)
    assert said | {"granted": False} | times == desk.document(permit)
    assert 3_590 < desk.client.ttl(block) <= 3_600
    assert 50 < desk.client.ttl(permit) <= 60
    assert 0 == desk.client.exists(desk.keys.governor_reservation("plan-1"))
    assert NOTHING == desk.figures()


def test_a_grant_is_given_once(desk: Desk) -> None:
    """A plan decided again keeps its one reservation and its permit, whatever the limits say by now."""
    first = desk.decide("plan-1")
    held, permit = desk.figures(), desk.document(desk.keys.permit("governor", "plan-1"))
    desk.clock.forward(1)
    again = [desk.decide("plan-1"), desk.decide("plan-1", max_exec_per_hour=0)]

    assert [GRANTED, ("repeat", ""), ("repeat", "")] == [first, *again]
    assert held == desk.figures()
    assert permit == desk.document(desk.keys.permit("governor", "plan-1"))
    assert 0 == desk.client.exists(desk.keys.governor_block("plan-1"))


def test_a_refusal_stands(desk: Desk) -> None:
    """A refused plan stays refused, in its first words, when the limit that refused it is free again."""
    first = desk.decide("plan-1", max_exec_per_hour=0)
    block = desk.document(desk.keys.governor_block("plan-1"))
    desk.clock.forward(60_000)

    assert [("refused", "hourly_limit_exceeded"), ("repeat", "")] == [first, desk.decide("plan-1")]
    assert block == desk.document(desk.keys.governor_block("plan-1"))
    assert NOTHING == desk.figures()


@pytest.mark.parametrize("state", ["blocked", "consumed", "done", "rejected", "unknown"])
def test_a_plan_that_needs_no_decision_gets_none(desk: Desk, state: str) -> None:
    """Once a plan is consumed or has ended, a decision that comes late writes nothing and reserves nothing.

    The timeline of a blocked plan says that it came late: that is why a permit was missing.
    """
    keys, client = desk.keys, desk.client
    if state == "blocked":
        desk.time_out()
    else:
        desk.decide("plan-1")
        client.set(keys.permit("p33", "plan-1"), P33, ex=60)
        step = attempt(desk.parts.gate, desk.parts.venue, desk.parts.rules, intent_of(), "token")
        assert isinstance(step, Consumed)
        # What would make it a repeat is gone: the record alone must refuse.
        client.delete(keys.governor_reservation("plan-1"))
    endings: dict[str, Any] = {"done": "EXECUTE", "rejected": "REJECTED", "unknown": "UNKNOWN"}
    if state in endings:
        ending = Ending(decision=endings[state], plan_id="plan-1", symbol="BTCUSDT")
        assert desk.parts.gate.finish(ending, "token", "consumed")
    held, events = desk.figures(), client.xlen(keys.timeline("plan-1"))

    assert [("ended", state)] * 2 == [desk.decide("plan-1"), desk.decide("plan-1", max_exec_per_hour=0)]
    assert held == desk.figures()
    late = [event for event in stream(client, keys.timeline("plan-1"))[events:] if event["verdict"] == "late"]
    assert events + len(late) == client.xlen(keys.timeline("plan-1"))
    assert (2 if state == "blocked" else 0) == len(late)
    written = (keys.permit("governor", "plan-1"), keys.governor_block("plan-1"), keys.governor_reservation("plan-1"))
    assert 0 == client.exists(*written)


@pytest.mark.parametrize(
    ("failure", "reason", "said"),
    [
        (StoreUnavailable("the venue is away"), "position_fetch_failed", "the venue is away"),
        (StoreUnavailable('"}\n\x00\u20ac'), "position_fetch_failed", '"}\n\x00\u20ac'),
        (ZeroDivisionError("some figure"), "evaluation_error", "ZeroDivisionError"),
    ],
)
def test_a_venue_that_fails(desk: Desk, failure: Exception, reason: str, said: str) -> None:
    """A position that could not be had refuses the plan, counts as a failed evaluation, and reserves nothing."""
    assert ("refused", reason) == _failing(desk, failure).decide("plan-1")
    assert {"error": said} == desk.document(desk.keys.governor_block("plan-1"))["context"]
    assert {"2026-03-10": 1} == desk.errors()
    assert NOTHING == desk.figures()


@pytest.mark.parametrize(
    ("held", "action", "reason", "errors"),
    [
        ({"position_amt": "much"}, "PARTIAL_75", "position_fetch_failed", {"2026-03-10": 1}),
        ({"position_amt": "NaN"}, "PARTIAL_75", "position_fetch_failed", {"2026-03-10": 1}),
        ({"position_amt": "1", "mark_price": "Infinity"}, "PARTIAL_75", "position_fetch_failed", {"2026-03-10": 1}),
        ({"position_amt": "0"}, "PARTIAL_75", "limit_computation_error", {}),
        ({"position_amt": "-0.000"}, "FULL_CLOSE_PROPOSED", "limit_computation_error", {}),
        ({"mark_price": "50000"}, "PARTIAL_75", "limit_computation_error", {}),
        ({"position_amt": "1"}, "UPDATE_SL", "limit_computation_error", {}),
        ({"position_amt": "1"}, "HOLD", "limit_computation_error", {}),
    ],
)
def test_what_cannot_be_computed(
    desk: Desk, held: dict[str, str], action: str, reason: str, errors: dict[str, int]
) -> None:
    """No usable figure is a refusal, never a quantity of 0; faults count as failed evaluations, facts do not."""
    desk.client.delete(desk.keys.paper_position("BTCUSDT"))
    for name, value in held.items():
        desk.client.hset(desk.keys.paper_position("BTCUSDT"), name, value)

    assert ("refused", reason) == desk.decide(action=action)
    assert errors == desk.errors()
    assert NOTHING == desk.figures()


def test_beyond_exact_arithmetic_nothing_is_granted(desk: Desk) -> None:
    """A quantity that the script could not add exactly is refused as one that cannot be computed."""
    desk.hold("900719925474.1", "0.0001")

    assert ("refused", "limit_computation_error") == desk.decide()
    assert NOTHING == desk.figures()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"kill_score": 0.8}, "kill_score_critical_non_close"),
        ({"max_exec_per_hour": 0}, "hourly_limit_exceeded"),
        ({"max_exec_per_5min": 0}, "burst_limit_exceeded"),
        ({"max_reduce_notional_per_day_usd": Decimal(2324)}, "daily_limit_exceeded"),
    ],
)
@pytest.mark.parametrize("left", ["both", "block record", "permit"])
def test_a_waiting_plan_ends_with_the_governors_own_reason(
    desk: Desk, changed: dict[str, Any], reason: str, left: str
) -> None:
    """The next look after a refusal blocks the plan, long before its deadline, by either of the two documents."""
    first = desk.look()
    desk.decide("plan-1", **changed)
    if left == "permit":
        desk.client.delete(desk.keys.governor_block("plan-1"))
    if left == "block record":
        desk.client.delete(desk.keys.permit("governor", "plan-1"))

    assert isinstance(first, Again)
    assert first.first
    _assert_denied(desk, reason)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (None, "limit_computation_error"),
        (StoreUnavailable("away"), "position_fetch_failed"),
        (KeyError("amt"), "evaluation_error"),
    ],
)
def test_a_waiting_plan_ends_when_nothing_could_be_judged(desk: Desk, failure: Exception | None, reason: str) -> None:
    """A failed evaluation ends the waiting plan at once as well, with its own reason."""
    desk.look()
    desk.hold("0")
    (_failing(desk, failure) if failure else desk).decide("plan-1")

    _assert_denied(desk, reason)


def _assert_denied(desk: Desk, reason: str) -> None:
    desk.clock.forward(100)
    outcome = desk.end()

    assert ("BLOCKED", "governor_denied", 100, 2) == (
        outcome.decision,
        outcome.reason,
        outcome.wait_ms,
        outcome.attempts,
    )
    assert record_of(desk.client, desk.keys, "plan-1")["detail"].endswith(f": {reason}")
    assert ["governor_denied"] == [result["reason"] for result in results_of(desk.client, desk.keys)]
