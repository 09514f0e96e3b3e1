"""What a venue says about an order becomes the outcome's figures and moves the ledger; nonsense concludes nothing."""

from dataclasses import replace

import pytest

from tasks.lookup import BOUND_MS
from tasks.venues import Receipt, Status
from tests.gate.far_bed import FILLED, NEW, Bed, Says, one_after_the_other, silent
from tests.helpers import texts


@pytest.mark.parametrize("status", ["new", "partially_filled"])
@pytest.mark.parametrize("where", ["answer", "lookup"])
@pytest.mark.fault("F35")
def test_a_working_order_is_followed_up(bed: Bed, where: str, status: Status) -> None:
    """An accepted order that still executes is looked at until its figures are final, and those are recorded."""
    working = replace(NEW, status=status, executed_qty="0.003" if status == "partially_filled" else "0")
    finds = one_after_the_other(working, working, None, FILLED)
    bed.venue.submits, bed.venue.finds = ((lambda: working) if where == "answer" else silent), finds
    outcome = bed.end()

    assert ("EXECUTE", True) == (outcome.decision, outcome.executed)
    assert ("filled", "0.008") == tuple(outcome.steps_results[0][name] for name in ("status", "executed_qty"))
    assert ["working", "working", "missed"] == bed.found()


@pytest.mark.fault("F35")
def test_a_working_order_is_executed_at_the_bound(bed: Bed) -> None:
    """An order that is still working at the bound was accepted: executed, with the figures so far."""
    bed.venue.finds = lambda: replace(NEW, status="partially_filled", executed_qty="0.003")
    outcome = bed.end()

    assert ("EXECUTE", True, "0.003") == (
        outcome.decision,
        outcome.executed,
        outcome.steps_results[0]["executed_qty"],
    )
    assert BOUND_MS == bed.since_consumption_ms()


@pytest.mark.parametrize("mark_lost", [False, True])
@pytest.mark.fault("F31")
def test_an_order_that_was_seen_is_never_given_up(bed: Bed, *, mark_lost: bool) -> None:
    """The venue said it has the order and then shows none for ever: that is unknown, not absent."""

    def accept() -> Receipt:
        if mark_lost:
            bed.client.hdel(bed.keys.record("plan-1"), "submitted_ms")
        return NEW

    bed.venue.submits, bed.venue.finds = accept, lambda: None

    assert "order_unknown" == bed.end().reason
    assert BOUND_MS == bed.since_consumption_ms()


@pytest.mark.parametrize("where", ["answer", "lookup"])
@pytest.mark.parametrize(
    ("status", "executed", "decision", "left"),
    [
        ("filled", "0.008", "EXECUTE", "0.054"),
        ("expired", "0.003", "EXECUTE", "0.059"),
        ("canceled", "0.0031", "EXECUTE", "0.0589"),
        ("expired", "0", "REJECTED", "0.062"),
        ("canceled", "0.000", "REJECTED", "0.062"),
    ],
)
@pytest.mark.fault("F35")
def test_the_ledger_moves_by_what_was_executed(
    bed: Bed, where: str, status: Status, executed: str, decision: str, left: str
) -> None:
    """A partly executed order is told with its status and figures, and moves the ledger by exactly those."""
    ended = replace(FILLED, status=status, executed_qty=executed)
    bed.venue.submits, bed.venue.finds = (lambda: ended) if where == "answer" else silent, lambda: ended
    bed.client.hset(bed.keys.ledger("BTCUSDT"), "last_known_amt", "0.062")
    bed.client.expire(bed.keys.ledger("BTCUSDT"), 60)
    outcome = bed.end()
    step = outcome.steps_results[0]
    ledger = texts(bed.client.hgetall(bed.keys.ledger("BTCUSDT")))  # type: ignore[arg-type] # bytes

    assert (decision, status) == (outcome.decision, step["status"])
    assert decision == "REJECTED" or ("0.008", executed) == (step["quantity"], step["executed_qty"])
    assert left == ledger["last_known_amt"]


def test_a_refusal_that_is_found_later_is_a_refusal(bed: Bed) -> None:
    """An order that the venue refused after it had taken it in ends as rejected, with its words."""
    bed.venue.finds = lambda: Receipt("rejected", code="-2022", message="would not reduce")
    outcome = bed.end()

    assert ("REJECTED", "order_rejected") == (outcome.decision, outcome.reason)
    assert "-2022" in outcome.steps_results[0]["details"]


BROKEN: dict[str, Says] = {
    "raises": one_after_the_other(KeyError("orderId")),
    "nonsense": lambda: Receipt("kill_switch"),
    "no figures": lambda: Receipt("accepted"),
    "exponents": lambda: replace(FILLED, executed_qty="8E-3"),
    "no side": lambda: replace(FILLED, side=""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_adapter_ends_nothing_wrongly(bed: Bed, broken: str) -> None:
    """Whatever an adapter raises or makes up in a lookup: no conclusion is drawn from it, and the plan ends."""
    bed.venue.finds = BROKEN[broken]

    assert "order_unknown" == bed.end().reason
    assert {"unanswered"} == set(bed.found())


@pytest.mark.parametrize("broken", ["raises", "no figures", "exponents", "no side"])
@pytest.mark.fault("F28")
def test_a_broken_answer_to_an_order_is_looked_up(bed: Bed, broken: str) -> None:
    """An answer that cannot be read says nothing about the order: it is looked up, and found."""
    bed.venue.submits, bed.venue.finds = BROKEN[broken], lambda: FILLED

    assert bed.end().executed
    assert 1 == len(bed.venue.orders)
