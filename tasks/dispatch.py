"""The only place an order leaves: one function, and it wants a claim."""

import json
from dataclasses import replace
from typing import Any

from tasks import observed
from tasks.confirm import confirm
from tasks.consume import Claim, Consumed, quantity_of
from tasks.intent import ExecuteIntent
from tasks.keys import client_order_id
from tasks.outcome import Ending, Fill
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.venues import Order, Receipt, Window


def dispatch(parts: Parts, intent: ExecuteIntent, consumed: Consumed) -> Receipt:
    """Submit the one order of a plan whose permits were just consumed. Never called twice for a claim; never raises.

    Switch, claim and lease are checked once more: by the venue in its own step, or right before the request leaves.
    Whatever goes wrong is `unknown`: whether the order exists must be looked up, it is never sent again.
    """
    venue, claim, order = parts.venue, consumed.claim, order_of(intent, consumed.claim)
    try:
        if not venue.checks_claim:
            confirmed = confirm(parts, intent.plan_id, claim)
            if not isinstance(confirmed, Window):
                return Receipt(confirmed)
            if confirmed.left_now_ms() <= 0:
                return Receipt("claim_lost")
            order = replace(order, window=confirmed)
        with observed.venue_call(venue.name, "submit") as call:
            receipt = venue.submit(order, claim)
            call.answer = receipt.answer
            return receipt
    except Exception as error:  # noqa: BLE001 - whatever it is, the request may have left before it
        return Receipt("unknown", message=f"{type(error).__name__}: {error}")


def order_of(intent: ExecuteIntent, claim: Claim) -> Order:
    """The order a claim stands for: the same for every attempt at the plan."""
    return Order(client_order_id(intent.plan_id), intent.plan_id, intent.symbol, quantity_of(claim))


def ending_of(intent: ExecuteIntent, claim: Claim, receipt: Receipt) -> Ending | None:
    """How the plan ends by the venue's answer; None where that answer ends nothing (`unknown`, `claim_lost`).

    An order that the venue ended before anything of it was executed is its refusal.
    """
    facts: dict[str, Any] = {
        "plan_id": intent.plan_id,
        "symbol": intent.symbol,
        "safe_qty": claim.safe_qty,
        "client_order_id": client_order_id(intent.plan_id),
    }
    if receipt.answer == "accepted" and not receipt.void:
        fill = Fill(order_id=receipt.order_id, side=receipt.side, qty=receipt.executed_qty)
        return Ending(decision="EXECUTE", executed=True, steps_results=(_placed(intent, receipt),), fill=fill, **facts)
    if receipt.answer == "rejected" or receipt.void:
        status = receipt.status if receipt.void else "rejected"
        return Ending(
            decision="REJECTED",
            reason=Reason.ORDER_REJECTED,
            detail=f"{receipt.code or status}: {receipt.message}",
            steps_results=({"step": intent.action, "status": status, "details": _said(receipt)},),
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
        "status": receipt.status,
        "details": _said(receipt),
        "order_id": receipt.order_id,
        "side": receipt.side,
        "quantity": receipt.qty,
        "executed_qty": receipt.executed_qty,
        "reduce_only": True,
    }


def _said(receipt: Receipt) -> str:
    said = {"code": receipt.code, "message": receipt.message, "price": receipt.price}
    return json.dumps({name: value for name, value in said.items() if value})
