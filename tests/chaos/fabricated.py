"""Fabricated journals: one plan that went as it should, to be spoiled in one place at a time."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tasks.keys import client_order_id
from tests.chaos.evidence import Bounds, Event, Evidence, Fields, Order
from tests.chaos.journal import Fate, Sent, Written
from tests.chaos.load import HELD, SYMBOLS, Load, Plan, Send
from tests.chaos.permits import Permit, Verdict

PLAN_ID = "plan-1"
SYMBOL = SYMBOLS[0]
QUANTITY = Decimal("0.008")
#: Moments of the story, ms.
SENT, TAKEN_UP, GRANTED, CONSUMED, ORDERED, ENDED = 1_000, 1_100, 1_400, 1_500, 1_510, 1_520
BOUNDS = Bounds(wait_ms=1_200, lease_ms=4_000, max_age_ms=20_000)

OUTCOME: Fields = {
    "plan_id": PLAN_ID,
    "symbol": SYMBOL,
    "decision": "EXECUTE",
    "executed": "True",
    "reason": "",
    "safe_qty": "0.008",
}
RECORD: Fields = {
    "state": "done",
    "content": f"{SYMBOL}|PARTIAL_75|EXECUTE",
    "intent": "{}",
    "taken_up_ms": str(TAKEN_UP),
    "deadline_ms": str(TAKEN_UP + BOUNDS.wait_ms),
    "ended_ms": str(ENDED),
    **OUTCOME,
}
ORDER = Order(PLAN_ID, client_order_id(PLAN_ID), SYMBOL, QUANTITY, QUANTITY, ORDERED)
SENDING = Sent(PLAN_ID, PLAN_ID, "plain", Fate.ACKNOWLEDGED, SENT, SENT + 1)


def plan(**changes: Any) -> Plan:
    """The plan, changed by `changes`."""
    permits = tuple(Permit(issuer, Verdict.GRANT, 300, "") for issuer in ("governor", "p33"))
    made = Plan(PLAN_ID, SYMBOL, "PARTIAL_75", False, QUANTITY, (Send(0.0, "plain", PLAN_ID),), permits)  # noqa: FBT003 - as the load makes it
    return replace(made, **changes)


def event(at_ms: int, what: str, **fields: str) -> Event:
    """An entry of the timeline."""
    return Event(at_ms, {"event": what} | fields)


def timeline(*moments_of_consumption: int) -> tuple[Event, ...]:
    """The plan's timeline with that many consumptions."""
    consumed = (event(at_ms, "consumed") for at_ms in moments_of_consumption)
    return (event(TAKEN_UP, "taken_up"), *consumed, event(ENDED, "ended"))


def written(**verdicts: Verdict) -> tuple[Written, ...]:
    """Both permits as their issuers wrote them; `governor` and `p33` may say something else than a grant."""
    said = {"governor": Verdict.GRANT, "p33": Verdict.GRANT} | verdicts
    return tuple(Written(PLAN_ID, issuer, said[issuer], GRANTED, GRANTED + 2) for issuer in ("governor", "p33"))


def executed(**changes: Any) -> Evidence:
    """Everything that one executed plan leaves behind, changed by `changes`."""
    good = Evidence(
        load=Load((plan(),), (), ()),
        bounds=BOUNDS,
        sent=(SENDING,),
        written=written(),
        orders=(ORDER,),
        held=HELD | {SYMBOL: HELD[SYMBOL] - QUANTITY},
        results=(OUTCOME,),
        records={PLAN_ID: RECORD},
        timelines={PLAN_ID: timeline(CONSUMED)},
        replies={PLAN_ID: replied(OUTCOME)},
        left={"execute": 0, "unacked": 0, "open": 0},
        trimmed={"results": 0},
    )
    return replace(good, **changes)


def blocked(reason: str, consumptions: tuple[int, ...] = (), **changes: Any) -> Evidence:
    """Everything that a plan leaves behind that ended without an order, for this reason."""
    outcome = dict(OUTCOME) | {"decision": "BLOCKED", "executed": "False", "reason": reason}
    facts: dict[str, Any] = {
        "orders": (),
        "held": HELD,
        "results": (outcome,),
        "records": {PLAN_ID: dict(RECORD) | {"state": "blocked"} | outcome},
        "timelines": {PLAN_ID: timeline(*consumptions)},
        "replies": {PLAN_ID: replied(outcome)},
    }
    return executed(**facts | changes)


def replied(outcome: Fields) -> Mapping[str, object]:
    """The outcome as Celery's result backend keeps it."""
    return dict(outcome) | {"executed": outcome["executed"] == "True"}
