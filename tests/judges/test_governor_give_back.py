"""A plan that ends without an order gives back what the Governor reserved for it; no other plan ever does."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.act import Again, execute_once
from tasks.attempt import attempt
from tasks.consume import Claim, Consumed
from tasks.dispatch import dispatch, ending_of
from tasks.errors import StoreUnavailable
from tasks.outcome import Ending, Outcome
from tasks.venues import Order, Receipt
from tasks.venues.paper import PaperVenue
from tests.helpers import P33, intent_of, orders_of
from tests.judges.desk import GRANTED, Desk

HOUR_MS = 3_600_000


class _SwitchedOff(PaperVenue):
    """The kill switch is set after the consumption, just before the order is judged."""

    def submit(self, order: Order, claim: Claim) -> Receipt:
        self._store.client.set(self._keys.kill_switch, "true")
        return super().submit(order, claim)


class _Lost(PaperVenue):
    """The venue is never heard of again, and no order arrived."""

    def submit(self, order: Order, claim: Claim) -> Receipt:
        raise StoreUnavailable(f"lost with {order.plan_id}, {claim.token}")


def _position_allows(desk: Desk) -> None:
    desk.client.set(desk.keys.permit("p33", "plan-1"), P33, ex=60)


def _consume(desk: Desk) -> Consumed:
    _position_allows(desk)
    step = attempt(desk.parts.gate, desk.parts.venue, desk.parts.rules, intent_of(), "token")
    assert isinstance(step, Consumed)
    return step


def _denied(desk: Desk) -> Outcome:
    desk.client.set(desk.keys.permit("p33", "plan-1"), '{"allow": false, "symbol": "BTCUSDT"}', ex=60)
    return desk.end()


def _switch(desk: Desk) -> Outcome:
    desk.client.set(desk.keys.kill_switch, "true")
    return desk.end()


def _late_switch(desk: Desk) -> Outcome:
    _position_allows(desk)
    return desk.at(_SwitchedOff(desk.parts.store, desk.keys, 60)).end()


def _dry_run(desk: Desk) -> Outcome:
    _position_allows(desk)
    settings = desk.parts.settings.model_copy(update={"mode": "dry_run"})
    outcome = execute_once(replace(desk.parts, settings=settings), intent_of())
    assert isinstance(outcome, Outcome)
    return outcome


def _rejected(desk: Desk) -> Outcome:
    _position_allows(desk)
    desk.hold("0.001")
    return desk.end()


def _interrupted(desk: Desk) -> Outcome:
    _consume(desk)
    desk.clock.forward(desk.parts.settings.claim_lease_ms)
    return desk.end()


def _lost_on_the_way(desk: Desk) -> Outcome:
    _position_allows(desk)
    return desk.at(_Lost(desk.parts.store, desk.keys, 60)).end()


@pytest.mark.parametrize("price", ["50000", None])
@pytest.mark.parametrize(
    ("end", "decision", "reason"),
    [
        (Desk.time_out, "BLOCKED", "missing_p33"),
        (_denied, "BLOCKED", "p33_denied"),
        (_switch, "BLOCKED", "kill_switch"),
        (_late_switch, "BLOCKED", "kill_switch"),
        (_interrupted, "BLOCKED", "interrupted"),
        (_lost_on_the_way, "BLOCKED", "interrupted"),
        (_rejected, "REJECTED", "order_rejected"),
        (_dry_run, "EXECUTE", ""),
    ],
)
def test_a_plan_without_an_order_gives_back(
    desk: Desk, end: Callable[[Desk], Outcome], decision: str, reason: str, price: str | None
) -> None:
    """However a plan ends without an order, what it held is back in that step, to the last figure, and only that."""
    desk.hold("0.062", price)
    desk.decide("other")
    before = desk.figures()

    assert GRANTED == desk.decide("plan-1")
    assert before != desk.figures()
    outcome = end(desk)
    assert (decision, reason) == (outcome.decision, outcome.reason)
    assert before == desk.figures()
    assert 0 == desk.client.exists(desk.keys.governor_reservation("plan-1"))
    assert [] == orders_of(desk.client, desk.keys)


def test_what_is_given_back_can_be_granted_again(desk: Desk) -> None:
    """A plan that Position let down does not starve the symbol: the next one gets its place."""
    changed = {"max_exec_per_hour": 1, "max_reduce_notional_per_day_usd": 2325}
    first, second = desk.decide("plan-1", **changed), desk.decide("plan-2", **changed)
    desk.time_out()

    assert [GRANTED, ("refused", "hourly_limit_exceeded"), GRANTED] == [first, second, desk.decide("plan-3", **changed)]


def test_yesterdays_grant_is_given_back_to_yesterday(desk: Desk) -> None:
    """A plan granted before midnight that ends after it frees the day it was granted on, and no other."""
    desk.clock.set("2026-03-10T23:59:59.500")
    desk.decide("plan-1")
    waiting = desk.look()
    desk.clock.forward(500)
    desk.decide("plan-2")
    desk.clock.forward(desk.parts.settings.permit_wait_ms)

    assert isinstance(waiting, Again)
    assert "missing_p33" == desk.end().reason
    assert {
        "2026-03-10": {"notional_micro": "0", "qty_e8": "0"},
        "2026-03-11": {"notional_micro": "2325000000", "qty_e8": "4650000"},
    } == desk.figures()["days"]


def test_a_day_that_was_forgotten_stays_forgotten(desk: Desk) -> None:
    """A give-back to a day whose figures have expired does not bring them back, negative and without an end."""
    desk.decide("plan-1")
    desk.client.delete(f"{desk.keys.governor_daily('BTCUSDT')}2026-03-10")
    desk.time_out()

    assert {} == desk.figures()["days"]


def test_an_order_keeps_its_reservation(desk: Desk) -> None:
    """What was executed counts for the whole window and the whole day."""
    desk.decide("plan-1")
    held = desk.figures()
    _position_allows(desk)

    assert desk.end().executed
    assert held == desk.figures()
    desk.clock.forward(HOUR_MS - 1)
    assert ("refused", "hourly_limit_exceeded") == desk.decide(max_exec_per_hour=1)


def test_an_unknown_order_keeps_its_reservation(desk: Desk) -> None:
    """A plan whose order may exist gives nothing back."""
    desk.decide("plan-1")
    held = desk.figures()
    _consume(desk)

    finished = desk.parts.gate.finish(
        Ending(decision="UNKNOWN", plan_id="plan-1", symbol="BTCUSDT"), "token", "consumed"
    )

    assert finished is not None
    assert "UNKNOWN" == finished.outcome.decision
    assert held == desk.figures()
    assert 1 == desk.client.exists(desk.keys.governor_reservation("plan-1"))


def test_an_end_that_is_told_again_gives_back_once(desk: Desk) -> None:
    """A rejection reported three times frees one plan's share and leaves the other plan's alone."""
    desk.decide("other")
    before = desk.figures()
    desk.decide("plan-1")
    step = _consume(desk)
    desk.hold("0.001")
    ending = ending_of(intent_of(), step.claim, dispatch(desk.parts, intent_of(), step))

    assert ending is not None
    told = [desk.parts.gate.finish(ending, token, "consumed") for token in ("token", "token", "another")]
    assert ["REJECTED"] * 3 == [finished.outcome.decision for finished in told if finished]
    assert before == desk.figures()


def test_only_the_holder_of_the_claim_gives_back(desk: Desk) -> None:
    """An end by an attempt that does not hold the claim changes nothing."""
    desk.decide("plan-1")
    held = desk.figures()
    step = _consume(desk)
    ending = Ending(decision="REJECTED", plan_id="plan-1", symbol="BTCUSDT", safe_qty=step.claim.safe_qty)

    assert [None, None] == [
        desk.parts.gate.finish(ending, "another", "consumed"),
        desk.parts.gate.finish(ending, "token", "waiting"),
    ]
    assert held == desk.figures()
