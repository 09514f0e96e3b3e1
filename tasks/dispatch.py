"""The only place an order leaves: one function, and it wants a claim."""

import json
from typing import Any

from tasks import observed
from tasks.consume import Claim, Consumed, quantity_of
from tasks.intent import ExecuteIntent
from tasks.keys import client_order_id
from tasks.outcome import Ending, Fill
from tasks.reasons import Reason
from tasks.venues import Order, Receipt, Venue


def dispatch(venue: Venue, intent: ExecuteIntent, consumed: Consumed) -> Receipt:
    """Submit the one order of a plan whose permits were just consumed. Never called twice for a claim.

    Raises:
        StoreUnavailable: no answer: whether the order exists must be looked up, it is never sent again.
    """
    with observed.venue_call(venue.name, "submit") as call:
        receipt = venue.submit(order_of(intent, consumed.claim), consumed.claim)
        call.answer = receipt.answer
    return receipt


def order_of(intent: ExecuteIntent, claim: Claim) -> Order:
    """The order a claim stands for: the same for every attempt at the plan."""
    return Order(client_order_id(intent.plan_id), intent.plan_id, intent.symbol, quantity_of(claim))


def ending_of(intent: ExecuteIntent, claim: Claim, receipt: Receipt) -> Ending | None:
    """How the plan ends by the venue's answer; None when the claim was lost and another attempt decides."""
    facts: dict[str, Any] = {
        "plan_id": intent.plan_id,
        "symbol": intent.symbol,
        "safe_qty": claim.safe_qty,
        "client_order_id": client_order_id(intent.plan_id),
    }
    if receipt.answer == "accepted":
        fill = Fill(order_id=receipt.order_id, side=receipt.side, qty=receipt.qty)
        return Ending(decision="EXECUTE", executed=True, steps_results=(_placed(intent, receipt),), fill=fill, **facts)
    if receipt.answer == "rejected":
        return Ending(
            decision="REJECTED",
            reason=Reason.ORDER_REJECTED,
            detail=f"{receipt.code}: {receipt.message}",
            steps_results=({"step": intent.action, "status": "rejected", "details": _said(receipt)},),
            **facts,
        )
    if receipt.answer == "kill_switch":
        return Ending(
            decision="BLOCKED",
            reason=Reason.KILL_SWITCH,
            detail="the kill switch was set after the permits were consumed and before the order was submitted",
            **facts,
        )
    return None


def dry_run_ending(intent: ExecuteIntent, claim: Claim) -> Ending:
    """The end of a plan in dry run: everything was consumed, no order was made."""
    return Ending(
        decision="EXECUTE",
        would_execute=True,
        plan_id=intent.plan_id,
        symbol=intent.symbol,
        safe_qty=claim.safe_qty,
        client_order_id=client_order_id(intent.plan_id),
        detail="dry run: no order left",
    )


def _placed(intent: ExecuteIntent, receipt: Receipt) -> dict[str, Any]:
    return {
        "step": intent.action,
        "status": "filled",
        "details": _said(receipt),
        "order_id": receipt.order_id,
        "side": receipt.side,
        "quantity": receipt.qty,
        "executed_qty": receipt.qty,
        "reduce_only": True,
    }


def _said(receipt: Receipt) -> str:
    said = {"code": receipt.code, "message": receipt.message, "price": receipt.price}
    return json.dumps({name: value for name, value in said.items() if value})
