"""Looks an order up that may have left, until it is found, surely absent, or the bound passes. Nothing here submits."""

from dataclasses import dataclass, replace
from typing import Any, Final

from tasks import log, observed
from tasks.consume import Claim
from tasks.dispatch import ending_of, order_of
from tasks.intent import ExecuteIntent
from tasks.keys import client_order_id
from tasks.outcome import Ending, blocked_ending
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.settings import DUE_GRACE_MS
from tasks.venues import Receipt

#: Pause after the first lookup; it doubles with each, up to the longest (NautilusTrader asks every 2 s).
FIRST_PAUSE_MS: Final = 250
LONGEST_PAUSE_MS: Final = 2_000

#: So many lookups must miss before an order is absent (hummingbot gives an order up after 3).
MISSES_WANTED: Final = 3

#: Without a definite answer for so long after the consumption the order is unknown. It is the longest receive window
#: that Binance takes: whatever was signed before can be accepted no more, and has had the time to show.
BOUND_MS: Final = 60_000

#: A plan found later than that, after a long outage, is looked up for at least this long.
LEAST_MS: Final = 10_000

_DETAIL: Final = 300


@dataclass(frozen=True)
class NotYet:
    """Nothing is sure yet: look again in `pause_ms`."""

    pause_ms: int


def stop_submitting(parts: Parts, intent: ExecuteIntent, claim: Claim, receipt: Receipt) -> bool:
    """Keep the claim for lookups only, before the first of them; false when it is another's already.

    Raises:
        StoreUnavailable: Redis gave no answer, or an error; the lease will end the claim.
    """
    keys, plan_id = parts.gate.keys, intent.plan_id
    found = "working" if receipt.working else "no_answer"
    log.log_lookup(plan_id, found, 0, _said(receipt))
    [word] = parts.store.run(
        "stop_submitting",
        [keys.record(plan_id), keys.open, keys.timeline(plan_id)],
        [
            claim.token,
            plan_id,
            parts.settings.claim_lease_ms,
            DUE_GRACE_MS,
            "seen" if receipt.working else "",
            _said(receipt),
            parts.settings.record_ttl_s,
        ],
    )
    return bool(word == b"looking")


def look_up(parts: Parts, intent: ExecuteIntent, claim: Claim) -> Ending | NotYet:
    """Ask the venue once for the order of a claim that may submit no more: how the plan ends, or when to ask again.

    Raises:
        StoreUnavailable: Redis gave no answer, or an error. A venue that gives none is looked at again.
    """
    found, detail, receipt = _ask(parts, intent, claim)
    if receipt and not receipt.working and (ending := ending_of(intent, claim, receipt)):
        return ending
    word, lookups, *pause = _note(parts, intent.plan_id, claim, found, detail)
    if word == b"again":
        log.log_lookup(intent.plan_id, found, pause[0], detail)
        return NotYet(pause[0])
    if word == b"absent":
        return _interrupted(intent, claim, f"the venue has no such order, by {lookups} lookups")
    if word == b"unsent":
        return _interrupted(intent, claim, "the attempt that consumed was lost before anything was sent")
    if word == b"unknown":
        last = ending_of(intent, claim, receipt) if receipt else None
        return last or _unknown(intent, claim, f"{lookups} lookups settled nothing; the last: {found} {detail}")
    return NotYet(parts.settings.permit_step_ms)


def look_up_forgotten(parts: Parts, intent: ExecuteIntent, token: str) -> tuple[Ending | None, str]:
    """Ask the venue once for the order of a plan whose consumption a restarted Redis may have forgotten.

    Returns how the plan ends where there is such an order, else None and what the venue said. Never raises.
    """
    claim = Claim(token, "0", 0, 0, 0)
    found, detail, receipt = _ask(parts, intent, claim)
    ending = ending_of(intent, replace(claim, safe_qty=receipt.qty), receipt) if receipt else None
    said = (
        "the venue has no order of it" if found == "missed" else f"the venue was asked for its order: {found} {detail}"
    )
    return ending, said.strip()


def _ask(parts: Parts, intent: ExecuteIntent, claim: Claim) -> tuple[str, str, Receipt | None]:
    try:
        with observed.venue_call(parts.venue.name, "lookup") as call:
            receipt = parts.venue.lookup(order_of(intent, claim))
            call.answer = receipt.answer if receipt else "absent"
    except Exception as error:  # noqa: BLE001 - whatever it is, the plan must come to its end within the bound
        return "unanswered", f"{type(error).__name__}: {error}"[:_DETAIL], None
    if receipt is None:
        return "missed", "", None
    if receipt.answer not in {"accepted", "rejected"}:
        return "unanswered", _said(receipt), None
    return "working" if receipt.working else "found", _said(receipt), receipt


def _said(receipt: Receipt) -> str:
    figures = (receipt.status, receipt.executed_qty) if receipt.answer == "accepted" else ()
    return " ".join(filter(None, (receipt.answer, *figures, receipt.code, receipt.message)))[:_DETAIL]


def _note(parts: Parts, plan_id: str, claim: Claim, found: str, detail: str) -> list[Any]:
    keys, venue = parts.gate.keys, parts.venue
    return parts.store.run(
        "note_lookup",
        [keys.record(plan_id), keys.open, keys.timeline(plan_id)],
        [
            claim.token,
            plan_id,
            found,
            detail,
            venue.name,
            venue.shows_within_ms,
            1 if venue.checks_claim else MISSES_WANTED,
            FIRST_PAUSE_MS,
            LONGEST_PAUSE_MS,
            BOUND_MS,
            LEAST_MS,
            DUE_GRACE_MS,
            parts.settings.record_ttl_s,
        ],
    )


def _interrupted(intent: ExecuteIntent, claim: Claim, detail: str) -> Ending:
    return blocked_ending(intent.plan_id, intent.symbol, Reason.INTERRUPTED, detail, claim.safe_qty)


def _unknown(intent: ExecuteIntent, claim: Claim, detail: str) -> Ending:
    return Ending(
        decision="UNKNOWN",
        plan_id=intent.plan_id,
        symbol=intent.symbol,
        reason=Reason.ORDER_UNKNOWN,
        detail=detail,
        safe_qty=claim.safe_qty,
        client_order_id=client_order_id(intent.plan_id),
    )
