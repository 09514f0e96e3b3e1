"""What an operator may do to a plan by hand: cancel one that still waits, or say what became of an order.

Every change is one script with its own checks (`lua/finish_plan.lua`, `lua/resolve_plan.lua`); nothing here can make
an order leave. Who and why stand in the record, the timeline and the audit stream.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from tasks import log
from tasks.consume import Finished
from tasks.keys import client_order_id
from tasks.outcome import ByHand, Ending, Fill, Outcome, blocked_ending
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.settings import LEDGER_TTL_S, STREAM_MAXLEN

#: States of a record in which nothing was consumed yet.
_CANCELLABLE: Final = frozenset({"registered", "waiting"})

#: A plan may move on between reading its state and changing it; it has no more states than this.
_MOST_READ: Final = 4


@dataclass(frozen=True)
class Refused:
    """Nothing was changed; `why` says what was found and what to do."""

    why: str


@dataclass(frozen=True)
class Cancelled:
    """The plan ended blocked, as `cancelled`."""

    outcome: Outcome


@dataclass(frozen=True)
class Resolved:
    """What the operator found out is recorded.

    `outcome`: the plan's terminal outcome where it had none yet; None where it had ended as unknown, and keeps that.
    `ledger_amt`: the shadow ledger afterwards, "" where it was not moved.
    """

    found: Literal["executed", "not_executed"]
    outcome: Outcome | None
    ledger_amt: str = ""


def cancel(parts: Parts, plan_id: str, who: str, why: str) -> Cancelled | Refused:
    """End a plan whose permits are not consumed. One that is consumed, or has ended, is never touched.

    Raises:
        StoreUnavailable: Redis gave no answer; the plan may be cancelled.
    """
    token = parts.token()
    record: dict[str, str] = {}
    for _ in range(_MOST_READ):
        record = parts.gate.record(plan_id)
        if record.get("state") not in _CANCELLABLE:
            break
        detail = f"cancelled by {who}: {why}"
        ending = blocked_ending(plan_id, symbol_of(record), Reason.CANCELLED, detail)
        by_hand = ByHand(act="cancel", who=who, why=why)
        finished = parts.gate.finish(ending.model_copy(update={"by_hand": by_hand}), token, record["state"])
        if finished and finished.fresh:
            log.log_block(finished.outcome, None, detail)
            return Cancelled(finished.outcome)
    return Refused(_not_cancellable(plan_id, record))


def resolve(parts: Parts, plan_id: str, fill: Fill | None, who: str, why: str) -> Resolved | Refused:
    """Record what became of an order: `fill`, or None where the venue surely has no such order.

    A plan that ended as unknown keeps that outcome, and the finding stands beside it. A plan that is consumed, and
    whose order nobody can submit any more, gets its one outcome here.

    Raises:
        StoreUnavailable: Redis gave no answer; the finding may be recorded.
    """
    record = parts.gate.record(plan_id)
    too_much = fill and record.get("safe_qty") and Decimal(fill.qty) > Decimal(record["safe_qty"])
    if fill and too_much:
        return Refused(f"{fill.qty} is more than the permits were consumed for, {record['safe_qty']}")
    if record.get("state") == "consumed":
        finished = parts.gate.finish(_found(plan_id, record, fill, who, why), parts.token(), "consumed")
        if finished and finished.fresh:
            _log(finished)
            return Resolved("executed" if fill else "not_executed", finished.outcome)
        record = parts.gate.record(plan_id)
    if record.get("state") == "unknown":
        return _settle_unknown(parts, plan_id, record, fill, who, why)
    return Refused(_not_resolvable(plan_id, record))


def _settle_unknown(
    parts: Parts, plan_id: str, record: dict[str, str], fill: Fill | None, who: str, why: str
) -> Resolved | Refused:
    keys, symbol = parts.gate.keys, symbol_of(record)
    found: Literal["executed", "not_executed"] = "executed" if fill else "not_executed"
    word, *rest = parts.store.run(
        "resolve_plan",
        [
            keys.record(plan_id),
            keys.timeline(plan_id),
            keys.governor_reservation(plan_id),
            keys.governor_exec(symbol),
            keys.ledger(symbol),
            keys.snapshot(symbol),
            keys.position_live(symbol),
            keys.audit,
            keys.stats,
        ],
        [
            plan_id,
            found,
            who,
            why,
            *((fill.order_id, fill.side, fill.qty) if fill else ("", "", "")),
            fill.change if fill and "p33" in parts.settings.issuers else "",
            LEDGER_TTL_S,
            parts.settings.record_ttl_s,
            STREAM_MAXLEN,
        ],
    )
    texts = [part.decode(errors="replace") for part in rest]
    if word == b"resolved":
        log.log_resolved(plan_id, symbol, found, who, why)
        return Resolved(found, None, texts[0])
    if word == b"repeat":
        return Refused(f"plan {plan_id} was resolved before: {texts[0]}, by {texts[1]}: {texts[2]}")
    return Refused(f"plan {plan_id} is {texts[0] or 'not known any more'}: nothing was changed")


def _found(plan_id: str, record: dict[str, str], fill: Fill | None, who: str, why: str) -> Ending:
    by_hand = ByHand(act="resolve", who=who, why=why)
    facts: dict[str, Any] = {"plan_id": plan_id, "symbol": symbol_of(record), "safe_qty": record.get("safe_qty", "")}
    facts |= {"detail": f"resolved by {who}: {why}", "by_hand": by_hand, "client_order_id": client_order_id(plan_id)}
    if fill is None:
        return Ending(decision="BLOCKED", reason=Reason.INTERRUPTED, **facts)
    placed = {
        "step": record.get("content", "||").split("|")[1],
        "status": "filled",
        "details": json.dumps({"message": facts["detail"]}),
        "order_id": fill.order_id,
        "side": fill.side,
        "quantity": record.get("safe_qty", ""),
        "executed_qty": fill.qty,
        "reduce_only": True,
    }
    return Ending(decision="EXECUTE", executed=True, steps_results=(placed,), fill=fill, **facts)


def _log(finished: Finished) -> None:
    if finished.outcome.decision == "BLOCKED":
        log.log_block(finished.outcome, None, "resolved by an operator as not executed")
    else:
        log.log_venue(finished.outcome)


def symbol_of(record: dict[str, str]) -> str:
    """The symbol of a plan, from its record's content."""
    return record.get("content", "").partition("|")[0]


def _not_cancellable(plan_id: str, record: dict[str, str]) -> str:
    state = record.get("state")
    if state is None:
        return f"plan {plan_id} is not known: nothing to cancel"
    if state == "consumed":
        return (
            f"plan {plan_id} is consumed: its order may be on the way, and no cancelling can call it back; "
            f"look: permitwait explain {plan_id}"
        )
    if "ended_ms" in record:
        return f"plan {plan_id} has ended: {record.get('decision')} {record.get('reason')}".rstrip()
    return f"plan {plan_id} is {state} and keeps changing: nothing was changed, try again"


def _not_resolvable(plan_id: str, record: dict[str, str]) -> str:
    state = record.get("state")
    if state is None:
        return f"plan {plan_id} is not known: nothing to resolve"
    if state == "consumed":
        return (
            f"plan {plan_id} is consumed, and an attempt may still submit its order: nothing was changed; the workers "
            "look the order up when the lease is over, try again after that"
        )
    if state in _CANCELLABLE:
        return f"plan {plan_id} is {state}: nothing was consumed, so there is no order; to end it: --cancel"
    return f"plan {plan_id} has ended and its order is known: {record.get('decision')} {record.get('reason')}".rstrip()
