"""`tasks.position`: does the exchange hold what our ledger says, and how much is safe to close?

The six rules are a pure function; one script writes the answer, only if what was judged still stands.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from celery import shared_task

from tasks import log, observed
from tasks.errors import StoreUnavailable
from tasks.intent import FRACTIONS, ExecuteIntent, parse_intent
from tasks.judge import round_down
from tasks.outcome import plain
from tasks.parts import Parts, parts_of_process
from tasks.settings import DUE_GRACE_MS, LEDGER_TTL_S, PositionSettings
from tasks.snapshot import Ledger, Positions, Snapshot

#: Below this the venue holds nothing worth closing (the figure of the system we re-create).
SMALLEST_POSITION: Final = Decimal("0.0001")

#: Ledger and exchange may always differ by this much (likewise).
SMALLEST_TOLERANCE: Final = Decimal("0.001")

#: Characters of an unreadable ledger that a denial shows.
_SHOWN: Final = 40

#: What was judged may change before the answer is written this often.
_MOST_JUDGED: Final = 5


@dataclass(frozen=True)
class Allow:
    """The quantity is safe to close. `first_sight`: there was no ledger, it starts at the exchange's amount."""

    safe_qty: Decimal
    first_sight: bool = False


@dataclass(frozen=True)
class Deny:
    """The first rule that did not hold, with the figures that show it."""

    reason: str
    context: dict[str, str] = field(default_factory=dict)
    first_sight: bool = False


def judge_position(
    intent: ExecuteIntent,
    snapshot: Snapshot | None,
    ledger: Ledger | None,
    now_s: Decimal,
    step: Decimal,
    limits: PositionSettings,
) -> Allow | Deny:
    """The six rules, in order. Pure."""
    if snapshot is None:
        return Deny("no_exchange_snapshot")
    age_s = snapshot.age_s(now_s)
    if not 0 <= age_s <= limits.stale_threshold_sec:
        return Deny("stale_exchange_state", {"age_s": plain(age_s), "limit_s": plain(limits.stale_threshold_sec)})
    first_sight, exchange = ledger is None, snapshot.amt
    held = exchange if ledger is None else ledger.amt
    said = plain(exchange) if ledger is None else ledger.amt_text[:_SHOWN]
    facts = {"exchange_amt": plain(exchange), "ledger_amt": said}
    if exchange.copy_abs() < SMALLEST_POSITION:
        # Nothing held is nothing to start a ledger with: a position that is opened later would contradict it.
        return Deny("no_position", facts)
    if held is None:
        return Deny("reconcile_required_qty_mismatch", facts | {"ledger": "not an amount"}, first_sight)
    if (exchange > 0, exchange < 0) != (held > 0, held < 0):
        return Deny("reconcile_required_side_mismatch", facts, first_sight)
    tolerance = tolerance_of(exchange, limits)
    if (exchange - held).copy_abs() > tolerance:
        differs = facts | {"diff": plain((exchange - held).copy_abs()), "tolerance": plain(tolerance)}
        return Deny("reconcile_required_qty_mismatch", differs, first_sight)
    if ledger and ledger.last_order_s is not None and now_s - ledger.last_order_s < limits.cooldown_sec:
        since_s = now_s - ledger.last_order_s
        return Deny(
            "cooldown_in_flight", {"since_s": plain(since_s), "limit_s": plain(limits.cooldown_sec)}, first_sight
        )
    wanted = requested_qty(intent, exchange)
    safe_qty = round_down(min(wanted, exchange.copy_abs()), step)
    if safe_qty <= 0:
        return Deny("quantity_below_step", facts | {"requested": plain(wanted), "step": plain(step)}, first_sight)
    return Allow(safe_qty, first_sight)


def tolerance_of(exchange: Decimal, limits: PositionSettings) -> Decimal:
    """How much ledger and exchange may differ: a part of the exchange's amount, and always a little."""
    return max(SMALLEST_TOLERANCE, exchange.copy_abs() * limits.qty_tolerance_pct / 100)


def requested_qty(intent: ExecuteIntent, exchange: Decimal) -> Decimal:
    """What the plan wants to close: its `close_qty` where positive, else the action's part of the position."""
    if intent.close_qty is not None and intent.close_qty > 0:
        return intent.close_qty
    return exchange.copy_abs() * FRACTIONS.get(intent.action, Decimal(0))


def evaluate(parts: Parts, limits: PositionSettings, intent: ExecuteIntent) -> tuple[str, str]:
    """Judge one plan and write the answer; returns what the script did and the reason of a denial.

    Raises:
        StoreUnavailable: Redis gave no answer; nothing may be allowed by guessing.
    """
    positions = Positions(parts.store, parts.gate.keys)
    for _ in range(_MOST_JUDGED):
        snapshot = positions.fresh(parts.venue, intent.symbol, limits.stale_threshold_sec)
        ledger = positions.ledger(intent.symbol)
        try:
            step = parts.venue.step(intent.symbol)
        except StoreUnavailable:
            snapshot, step = None, Decimal(1)
        verdict = judge_position(intent, snapshot, ledger, positions.now_s(), step, limits)
        word = _answer(parts, limits, intent, verdict, snapshot, ledger)
        if word != "changed":
            return word, _said(word, verdict)
    return "changed", "what was judged kept changing"


def _said(word: str, verdict: Allow | Deny) -> str:
    if word == "in_flight":
        return "cooldown_in_flight"
    return verdict.reason if word == "written" and isinstance(verdict, Deny) else ""


def _answer(
    parts: Parts,
    limits: PositionSettings,
    intent: ExecuteIntent,
    verdict: Allow | Deny,
    snapshot: Snapshot | None,
    ledger: Ledger | None,
) -> str:
    keys, plan_id, symbol = parts.gate.keys, intent.plan_id, intent.symbol
    stored_ts = parts.store.field(keys.snapshot(symbol), "ts_epoch") if snapshot is None else None
    first = plain(snapshot.amt) if snapshot and verdict.first_sight else ""
    in_flight = Deny("cooldown_in_flight", {"in_flight": "another plan holds this symbol's permit"})
    answer = parts.store.run(
        "permit_position",
        [
            keys.record(plan_id),
            keys.permit("p33", plan_id),
            keys.position_live(symbol),
            keys.ledger(symbol),
            keys.snapshot(symbol),
            keys.timeline(plan_id),
        ],
        [
            plan_id,
            "allow" if isinstance(verdict, Allow) else "deny",
            snapshot.ts_epoch if snapshot else (stored_ts or b""),
            ledger.amt_text if ledger else "",
            first,
            _permit(intent, verdict, snapshot, ledger),
            _permit(intent, in_flight, snapshot, ledger),
            limits.permit_ttl,
            limits.permit_ttl + (parts.settings.claim_lease_ms + DUE_GRACE_MS) // 1000 + 1,
            LEDGER_TTL_S,
            parts.settings.record_ttl_s,
        ],
    )
    return str(answer[0].decode())


def _permit(intent: ExecuteIntent, verdict: Allow | Deny, snapshot: Snapshot | None, ledger: Ledger | None) -> str:
    """The permit, open at its end for the times; quantities as exact JSON numbers."""
    names = {"symbol": intent.symbol, "plan_id": intent.plan_id, "issuer": "p33"}
    if isinstance(verdict, Deny):
        refusal = {"allow": False, **names, "reason": verdict.reason, "context": verdict.context}
        return json.dumps(refusal)[:-1]
    head = json.dumps({"allow": True, **names, "reason": "sanity_checks_passed"})[:-1]
    exchange = snapshot.amt if snapshot else Decimal(0)
    held = ledger.amt if ledger and ledger.amt is not None else exchange
    amounts = {"safe_close_qty": verdict.safe_qty, "exchange_position_amt": exchange, "ledger_amt": held}
    return head + "".join(f',"{name}":{plain(amount)}' for name, amount in amounts.items())


@shared_task(name="tasks.position", max_retries=0, ignore_result=True, send_events=False)
def position(intent: dict[str, Any]) -> str:
    """Judge one plan; the verdict is in its permit. A task that fails leaves no permit, and the plan blocks.

    Raises:
        InvalidIntent: the message is not an intent.
        NotConfigured: in a process that is not our worker.
        StoreUnavailable: Redis gave no answer.
    """
    parts, plan = parts_of_process(), parse_intent(intent)
    word, reason = evaluate(parts, parts.position, plan)
    log.log_issued("p33", plan.plan_id, plan.symbol, word, reason)
    observed.issued("p33", word, reason)
    return f"{word} {reason}".strip()


@shared_task(name="tasks.refresh_snapshots", max_retries=0, ignore_result=True, send_events=False)
def refresh_snapshots() -> None:
    """Ask the venue for every allowed symbol; for the beat schedule, so that judges rarely have to ask.

    Raises:
        NotConfigured: in a process that is not our worker.
        StoreUnavailable: the venue or Redis could not be asked about these symbols; the others are refreshed.
    """
    parts = parts_of_process()
    positions = Positions(parts.store, parts.gate.keys)
    silent = []
    for symbol in parts.settings.allowlist:
        try:
            positions.refresh(parts.venue, symbol)
        except StoreUnavailable as error:
            silent.append(f"{symbol}: {error}")
    if silent:
        raise StoreUnavailable("; ".join(silent))
