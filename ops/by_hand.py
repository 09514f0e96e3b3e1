"""`permitwait open --cancel` and `--resolve`: what an operator does to one plan; shown and asked before it happens."""

from decimal import Decimal
from typing import Any

from ops import screen
from ops.advice_words import at
from ops.case import Entry
from tasks.by_hand import Cancelled, Refused, Resolved, cancel, resolve, symbol_of
from tasks.errors import StoreUnavailable
from tasks.keys import client_order_id
from tasks.outcome import Fill
from tasks.parts import Parts, make_parts
from tasks.settings import Settings, governor_settings, position_settings
from tasks.venues import Order, Receipt


def run_cancel(settings: Settings, plan_id: str, who: str, why: str, *, yes: bool, as_json: bool) -> int:
    """End a plan that waits. Exit code 0 where it was cancelled, 1 where not.

    Raises:
        StoreUnavailable: Redis gave no answer; the plan may be cancelled.
    """
    parts = _parts(settings)
    record = parts.gate.record(plan_id)
    _show(plan_id, record)
    if not yes and not screen.confirmed(f"End plan {plan_id} as cancelled?"):
        return _tell({"plan_id": plan_id, "cancelled": False}, "nothing was changed", 1, as_json=as_json)
    done = cancel(parts, plan_id, who, why)
    if isinstance(done, Cancelled):
        document = {"plan_id": plan_id, "cancelled": True, "who": who, "why": why}
        return _tell(document | {"outcome": done.outcome.as_result()}, f"cancelled plan {plan_id}", 0, as_json=as_json)
    return _refused(plan_id, "cancelled", done, as_json=as_json)


def run_resolve(
    settings: Settings, plan_id: str, fill: Fill | None, who: str, why: str, *, yes: bool, as_json: bool
) -> int:
    """Record what became of an order; None for `fill` says that there is none. Exit code 0 where recorded, else 1.

    Raises:
        StoreUnavailable: Redis gave no answer; the finding may be recorded.
    """
    parts = _parts(settings)
    record = parts.gate.record(plan_id)
    _show(plan_id, record)
    contradiction = _contradiction(parts, plan_id, record, fill)
    if contradiction:
        return _refused(plan_id, "resolved", Refused(contradiction), as_json=as_json)
    found = (
        f"executed: order {fill.order_id}, {fill.side} {fill.qty}"
        if fill
        else "not executed: the venue has no such order"
    )
    if not yes and not screen.confirmed(f"Record that plan {plan_id} was {found}?"):
        return _tell({"plan_id": plan_id, "resolved": False}, "nothing was changed", 1, as_json=as_json)
    done = resolve(parts, plan_id, fill, who, why)
    if isinstance(done, Resolved):
        document: dict[str, Any] = {"plan_id": plan_id, "resolved": True, "found": done.found, "who": who, "why": why}
        document |= {"ledger_amt": done.ledger_amt, "outcome": done.outcome.as_result() if done.outcome else None}
        return _tell(document, f"recorded: plan {plan_id} was {found}", 0, as_json=as_json)
    return _refused(plan_id, "resolved", done, as_json=as_json)


def _contradiction(parts: Parts, plan_id: str, record: Entry, fill: Fill | None) -> str:
    """Why the venue's own answer speaks against what is to be recorded; empty where it does not, or gives none."""
    if record.get("state") not in {"consumed", "unknown"} or not record.get("safe_qty"):
        return ""
    receipt = _asked(parts, plan_id, record)
    if receipt is None or receipt.answer != "accepted":
        return ""
    said = f"{parts.venue.name} has order {receipt.order_id}: {receipt.side} {receipt.qty}"
    if fill is None:
        return f"{said}; it was executed: nothing was changed"
    if (fill.order_id, fill.side) != (receipt.order_id, receipt.side):
        return f"{said}, and not {fill.order_id}: {fill.side} {fill.qty}; nothing was changed"
    return ""


def _asked(parts: Parts, plan_id: str, record: Entry) -> Receipt | None:
    if record.get("venue", parts.venue.name) != parts.venue.name:
        screen.say(f"not asked: the order was sent to {record['venue']}, this shell is set to {parts.venue.name}")
        return None
    order = Order(client_order_id(plan_id), plan_id, symbol_of(record), Decimal(record["safe_qty"]))
    try:
        receipt = parts.venue.lookup(order)
    except StoreUnavailable as error:
        screen.say(f"{parts.venue.name} could not be asked about {order.client_order_id}: {error}")
        return None
    shows = f"order {receipt.order_id}: {receipt.side} {receipt.qty}" if receipt else "no such order"
    screen.say(f"{parts.venue.name} shows {shows} for {order.client_order_id}")
    return receipt


def _show(plan_id: str, record: Entry) -> None:
    if not record:
        return
    what = f"plan {plan_id}: {record.get('content', '').replace('|', ' ')}, {record.get('state')}"
    if record.get("safe_qty"):
        what += f", permits consumed for {record['safe_qty']} at {at(record.get('consumed_ms'))}"
    screen.say(screen.printable(what))


def _refused(plan_id: str, what: str, refused: Refused, *, as_json: bool) -> int:
    return _tell({"plan_id": plan_id, what: False, "refused": refused.why}, refused.why, 1, as_json=as_json)


def _tell(document: dict[str, Any], message: str, code: int, *, as_json: bool) -> int:
    if as_json:
        screen.data(document)
    else:
        screen.out.print(screen.printable(message), markup=False)
    return code


def _parts(settings: Settings) -> Parts:
    return make_parts(settings, governor_settings(), position_settings(), timeout_ms=2_000, name="permitwait open")
