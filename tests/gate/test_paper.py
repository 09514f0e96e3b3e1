"""The paper venue on the real server: exact amounts, reduce-only by force, and a last check before every order."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import cast

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.consume import Claim, Consumed, Gate
from tasks.errors import StoreUnavailable
from tasks.judge import Ready
from tasks.keys import Keys, client_order_id
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.store import Store
from tasks.venues import Order, Receipt
from tasks.venues.paper import PaperVenue
from tests.helpers import GOVERNOR, P33, grant, hold, intent_of, orders_of, results_of, run_to_outcome


def claimed(client: redis.Redis, parts: Parts, qty: str, plan_id: str = "plan-1") -> tuple[Order, Claim]:
    """An order of any quantity, and the claim it needs."""
    intent = intent_of(plan_id)
    grant(client, parts.gate.keys, plan_id)
    parts.gate.look(intent, "token")
    answer = parts.gate.consume(intent, "token", Ready((GOVERNOR.encode(), P33.encode()), Decimal(qty)))
    assert isinstance(answer, Consumed)
    return Order(client_order_id(plan_id), plan_id, intent.symbol, Decimal(qty)), answer.claim


def position(client: redis.Redis, keys: Keys) -> str:
    """The position as text, as it stands."""
    return cast("bytes", client.hget(keys.paper_position("BTCUSDT"), "position_amt")).decode()


@pytest.mark.parametrize(
    ("held", "qty", "side", "left"),
    [
        ("0.062", "0.007", "SELL", "0.055"),
        ("-0.062", "0.007", "BUY", "-0.055"),
        ("5", "0.008", "SELL", "4.992"),
        ("100", "1", "SELL", "99"),
        ("-100", "1", "BUY", "-99"),
        ("0.062", "0.062", "SELL", "0.000"),
        ("-0.062", "0.062", "BUY", "0.000"),
        ("0.06200", "0.062", "SELL", "0.00000"),
        ("5.", "5", "SELL", "0"),
        ("007", "1", "SELL", "6"),
        ("0.3", "0.1", "SELL", "0.2"),
        ("0.100000000000001", "0.000000000000001", "SELL", "0.100000000000000"),
        ("999999999999999", "1", "SELL", "999999999999998"),
        ("100000", "1E+5", "SELL", "0"),
        ("12345678.9012345", "0.0000001", "SELL", "12345678.9012344"),
    ],
)
def test_a_position_shrinks_exactly(
    held: str, qty: str, side: str, left: str, client: redis.Redis, keys: Keys, parts: Parts
) -> None:
    """An accepted order goes against the position and takes exactly its quantity off, digit by digit."""
    hold(client, keys, held)
    order, claim = claimed(client, parts, qty)
    receipt = parts.venue.submit(order, claim)
    journal = orders_of(client, keys)

    assert ("accepted", side, f"{Decimal(qty):f}", "50000") == (
        receipt.answer,
        receipt.side,
        receipt.qty,
        receipt.price,
    )
    assert left == position(client, keys)
    assert [
        {
            "client_order_id": client_order_id("plan-1"),
            "plan_id": "plan-1",
            "symbol": "BTCUSDT",
            "side": side,
            "qty": f"{Decimal(qty):f}",
            "reduce_only": "True",
            "order_id": receipt.order_id,
            "price": "50000",
        }
    ] == journal
    assert receipt == parts.venue.lookup(order)


@pytest.mark.parametrize(
    ("held", "qty", "code"),
    [
        ("0.062", "0.063", "-2022"),
        ("-0.062", "0.0620000001", "-2022"),
        ("0", "0.001", "-2022"),
        ("0.000", "0.001", "-2022"),
        ("-0", "0.001", "-2022"),
        (None, "0.001", "-2022"),
        ("1000000000000000", "1", "PRECISION"),
        ("10", "0.00000000000001", "PRECISION"),
        ("1", "0.0000000000000001", "PRECISION"),
        ("9" * 400, "1", "PRECISION"),
        ("", "0.001", "BAD_POSITION"),
        ("6.2e-2", "0.001", "BAD_POSITION"),
        ("1E3", "0.001", "BAD_POSITION"),
        ("0x10", "0.001", "BAD_POSITION"),
        ("nan", "0.001", "BAD_POSITION"),
        ("inf", "0.001", "BAD_POSITION"),
        ("+1", "0.001", "BAD_POSITION"),
        ("--1", "0.001", "BAD_POSITION"),
        (".5", "0.001", "BAD_POSITION"),
        ("1,5", "0.001", "BAD_POSITION"),
        ("1.5.5", "0.001", "BAD_POSITION"),
        (" 1", "0.001", "BAD_POSITION"),
        ("1\n", "0.001", "BAD_POSITION"),
        ("1\0", "0.001", "BAD_POSITION"),
        ("1", "0", "BAD_QTY"),
        ("1", "-0.001", "BAD_QTY"),
        ("1", "NaN", "BAD_QTY"),
        ("1", "Infinity", "BAD_QTY"),
    ],
)
def test_a_bad_order_is_rejected(
    held: str | None, qty: str, code: str, client: redis.Redis, keys: Keys, parts: Parts
) -> None:
    """An order that would not reduce, or on a position that cannot be read exactly, is rejected and leaves no trace."""
    if held is not None:
        hold(client, keys, held)
    order, claim = claimed(client, parts, qty)
    receipt = parts.venue.submit(order, claim)

    assert ("rejected", code) == (receipt.answer, receipt.code)
    assert receipt.message
    assert [] == orders_of(client, keys)
    assert parts.venue.lookup(order) is None
    assert held is None or held == position(client, keys)
    assert 0 == client.exists(keys.paper_counter)


@pytest.mark.parametrize(("held", "code"), [("0.007", "-2022"), ("lots", "BAD_POSITION")])
def test_a_rejection_is_the_outcome(held: str, code: str, client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The venue's refusal ends the plan as REJECTED with the venue's code, after the permits are consumed."""
    hold(client, keys, held)
    grant(client, keys, "plan-1")
    outcome = run_to_outcome(parts, intent_of())

    assert ("REJECTED", "order_rejected", False, "0.008") == (
        outcome.decision,
        outcome.reason,
        outcome.executed,
        outcome.safe_qty,
    )
    assert code in str(outcome.steps_results)
    assert 0 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    assert 1 == len(results_of(client, keys))


@pytest.mark.parametrize(
    ("step", "qty"), [("0.005", "0.005"), ("0.003", "0.006"), ("0.0001", "0.008"), ("1E-3", "0.008")]
)
def test_the_step_of_a_symbol_rounds_the_quantity(
    step: str, qty: str, client: redis.Redis, keys: Keys, parts: Parts
) -> None:
    """The `step` of the position is what quantities are rounded down to."""
    hold(client, keys)
    client.hset(keys.paper_position("BTCUSDT"), "step", step)
    grant(client, keys, "plan-1")

    assert qty == run_to_outcome(parts, intent_of()).safe_qty
    assert [qty] == [order["qty"] for order in orders_of(client, keys)]


@pytest.mark.parametrize("step", ["", "0", "-0.001", "nan", "Infinity", "a few", b"\xff"])
def test_a_bad_step_orders_nothing(step: str | bytes, client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A step that is not a positive number makes the venue unavailable: nothing is consumed until it is put right."""
    hold(client, keys)
    client.hset(keys.paper_position("BTCUSDT"), "step", step)
    grant(client, keys, "plan-1")
    with pytest.raises(StoreUnavailable, match="set a positive number"):
        parts.venue.step("BTCUSDT")
    again = execute_once(parts, intent_of())
    left = client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    client.hdel(keys.paper_position("BTCUSDT"), "step")

    assert isinstance(again, Again)
    assert "step of BTCUSDT" in again.store_error
    assert 2 == left
    assert run_to_outcome(parts, intent_of()).executed


def test_a_lookup_finds_only_what_was_accepted(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """An order is found under its own client order id with the facts of its acceptance, and no other is."""
    hold(client, keys)
    order, claim = claimed(client, parts, "0.008")
    other, _ = claimed(client, parts, "0.008", "plan-2")
    receipt = parts.venue.submit(order, claim)

    assert receipt == parts.venue.lookup(order)
    assert parts.venue.lookup(other) is None


def test_a_doubled_submission_shows(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The journal does not hide a doubled submission: two entries, two order numbers, twice off the position."""
    hold(client, keys)
    order, claim = claimed(client, parts, "0.008")
    receipts = [parts.venue.submit(order, claim) for _ in range(2)]
    journal = orders_of(client, keys)

    assert ["accepted", "accepted"] == [receipt.answer for receipt in receipts]
    assert [client_order_id("plan-1")] * 2 == [entry["client_order_id"] for entry in journal]
    assert 2 == len({entry["order_id"] for entry in journal})
    assert "0.046" == position(client, keys)


@pytest.mark.parametrize("token", ["another", ""])
def test_a_foreign_token_orders_nothing(token: str, client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Only the token that consumed the permits may order, however well everything else fits."""
    hold(client, keys)
    order, claim = claimed(client, parts, "0.008")

    assert "claim_lost" == parts.venue.submit(order, replace(claim, token=token)).answer
    assert [] == orders_of(client, keys)
    assert "accepted" == parts.venue.submit(order, claim).answer


class LateVenue(PaperVenue):
    """The paper venue behind an executor that pauses between consumption and submission."""

    meanwhile: Callable[[], object]

    def submit(self, order: Order, claim: Claim) -> Receipt:
        """See `PaperVenue.submit`."""
        self.meanwhile()
        return super().submit(order, claim)


@pytest.fixture
def late(client: redis.Redis, keys: Keys, settings: Settings) -> Parts:
    """An executor that pauses before it submits; what happens meanwhile is the test's to say."""
    store = Store(client)
    hold(client, keys)
    grant(client, keys, "plan-1")
    return Parts(settings, Gate(store, store, settings), LateVenue(store, keys, settings.record_ttl_s), store)


@pytest.mark.parametrize("switch", ["true", "1", "OFF", " ", "list"])
def test_a_switch_set_after_the_consumption_stops_the_order(
    switch: str, client: redis.Redis, keys: Keys, late: Parts
) -> None:
    """The kill switch is read once more in the step that accepts the order: blocked, with the permits gone."""
    cast("LateVenue", late.venue).meanwhile = lambda: (
        client.rpush(keys.kill_switch, "off") if switch == "list" else client.set(keys.kill_switch, switch)
    )
    outcome = execute_once(late, intent_of())

    assert isinstance(outcome, Outcome)
    assert ("BLOCKED", "kill_switch", False) == (outcome.decision, outcome.reason, outcome.executed)
    assert [] == orders_of(client, keys)
    assert "0.062" == position(client, keys)
    assert 0 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))


@pytest.mark.parametrize("switch", ["", "0", "false", "off", "no"])
def test_an_off_switch_stops_nothing(switch: str, client: redis.Redis, keys: Keys, late: Parts) -> None:
    """Every way to write the switch off is off for the venue as well."""
    cast("LateVenue", late.venue).meanwhile = lambda: client.set(keys.kill_switch, switch)
    outcome = execute_once(late, intent_of())

    assert isinstance(outcome, Outcome)
    assert outcome.executed


@pytest.mark.parametrize("loss", ["lease over", "taken over", "ended"])
@pytest.mark.fault("F1", promise="a claimant that wakes up after its lease orders nothing")
def test_a_frozen_claimant_cannot_order(loss: str, client: redis.Redis, keys: Keys, late: Parts) -> None:
    """A claimant that wakes up after its claim is over orders nothing and concludes nothing."""

    def end_lease() -> None:
        client.hset(keys.record("plan-1"), "lease_until_ms", "1000")

    def meanwhile() -> None:
        end_lease()
        if loss == "taken over":
            late.gate.look(intent_of(), "other")
        elif loss == "ended":
            run_to_outcome(late, intent_of())

    cast("LateVenue", late.venue).meanwhile = meanwhile
    step = execute_once(late, intent_of())
    if loss == "taken over":
        end_lease()
    outcome = run_to_outcome(late, intent_of())

    assert isinstance(step, Again)
    assert "interrupted" == outcome.reason
    assert [] == orders_of(client, keys)
    assert "0.062" == position(client, keys)


@pytest.mark.fault("F14")
def test_no_order_without_a_record(client: redis.Redis, keys: Keys, late: Parts) -> None:
    """A record that vanished between consumption and submission is a lost claim."""
    cast("LateVenue", late.venue).meanwhile = lambda: client.delete(keys.record("plan-1"))

    assert isinstance(execute_once(late, intent_of()), Again)
    assert [] == orders_of(client, keys)


@pytest.mark.parametrize("refusal", ["kill switch", "denial", "deadline"])
def test_a_bad_step_delays_no_refusal(refusal: str, client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """What ends a plan whatever its quantity ends it at once, even while the venue cannot tell its step."""
    client.hset(keys.paper_position("BTCUSDT"), "step", "none")
    parts.gate.look(intent_of(), "first")
    grant(client, keys, "plan-1")
    if refusal == "kill switch":
        client.set(keys.kill_switch, "true")
    elif refusal == "denial":
        client.set(keys.permit("governor", "plan-1"), '{"granted": false, "symbol": "BTCUSDT"}', ex=60)
    else:
        client.hset(keys.record("plan-1"), "deadline_ms", "1000")
    outcome = execute_once(parts, intent_of())

    assert isinstance(outcome, Outcome)
    assert {"kill switch": "kill_switch", "denial": "governor_denied"}.get(refusal, "deadline_passed") == outcome.reason
