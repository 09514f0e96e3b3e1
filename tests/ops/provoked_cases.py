"""Every way in which a plan can fail to become an order, and what its explanation must name."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tasks.keys import client_order_id
from tests.helpers import GOVERNOR, P33
from tests.ops import provoked as how
from tests.ops.provoked import Do


@dataclass(frozen=True)
class Case:
    """How a reason is provoked, what the explanation must name, and what an operator changes before the next plan."""

    reason: str
    provoke: Do
    names: tuple[str, ...]
    cure: Do = lambda _: None
    outside: bool = False


def in_vain(which: str, *come: str, p26: bool = False) -> Case:
    """A case of absence, with permits from outside."""
    do = how.wait_in_vain(*come)
    gone = [name for name in ("governor", "p33", "p26")[: 3 if p26 else 2] if name not in come]
    return Case(
        f"missing_{which}",
        how.with_p26(do) if p26 else do,
        tuple(f"{name}: nothing wrote" for name in gone),
        outside=True,
    )


CASES: Final = {
    "kill switch": Case("kill_switch", how.halted, ("exchange maintenance", "still set")),
    "invalid intent": Case("invalid_intent", how.no_intent, ("symbol: ",)),
    "unsupported action": Case("unsupported_action", lambda stand: stand.play(action="UPDATE_SL"), ("UPDATE_SL",)),
    "too old": Case(
        "plan_expired", lambda stand: stand.play(created_at=how.now_s(stand) - 90), ("created 9", "ms ago")
    ),
    "from the future": Case("plan_expired", lambda stand: stand.play(created_at=how.now_s(stand) + 90), ("clock",)),
    "never taken up": Case("plan_expired", how.never_taken_up, ("No worker read its message", "inspect ping")),
    "both": in_vain("both"),
    "governor": in_vain("governor", "p33"),
    "p33": in_vain("p33", "governor"),
    "all": in_vain("all", p26=True),
    "p26": in_vain("p26", "governor", "p33", p26=True),
    "governor and p33": in_vain("governor_p33", "p26", p26=True),
    "governor and p26": in_vain("governor_p26", "p33", p26=True),
    "p33 and p26": in_vain("p33_p26", "governor", p26=True),
    "both of ours": Case(
        "missing_both",
        how.ours_silent("governor", "p33"),
        ("-Q governor", "-Q position", "no worker gives a sign of life"),
    ),
    "our p33": Case("missing_p33", how.ours_silent("p33"), ("-Q position",)),
    "our governor": Case("missing_governor", how.ours_silent("governor"), ("-Q governor",)),
    "late": Case(
        "missing_both", how.late_judge, ("governor: our judge came", "after the end", "p33: our judge runs now")
    ),
    "gone again": Case("missing_both", how.gone_again, ("governor: it was there at", "gone before"), outside=True),
    "kill score": Case("governor_denied", how.critical, ("0.9", "0.8", "FULL_CLOSE_PROPOSED")),
    "hourly": Case("governor_denied", how.bounded(max_exec_per_hour=1), ("1 plans", "60 minutes"), how.an_hour_passes),
    "burst": Case(
        "governor_denied",
        how.bounded(max_exec_per_5min=1),
        ("1 plans", "5 minutes", "GOV_MAX_EXEC_PER_5MIN"),
        how.an_hour_passes,
    ),
    "burst, disarmed": Case(
        "kill_switch",
        how.bounded(max_exec_per_5min=1, enable_auto_disarm=True),
        ("by governor: auto-disarm: burst_limit_exceeded", "5 minutes", "permitwait resume"),
        how.an_hour_passes,
    ),
    "no limit": Case("governor_denied", how.bounded(max_exec_per_hour=0), ("never has room",), how.raise_limit),
    "daily": Case(
        "governor_denied",
        how.bounded(max_reduce_notional_per_day_usd=Decimal(4000)),
        ("2325 today", "for 2287.5,", "4000", "GOV_MAX_REDUCE_NOTIONAL_PER_DAY_USD"),
        how.raise_limit,
    ),
    "daily, alone": Case(
        "governor_denied",
        how.bounded(max_reduce_notional_per_day_usd=Decimal(2000)),
        ("This plan alone",),
        how.raise_limit,
    ),
    "nothing to govern": Case("governor_denied", how.nothing_held, ("found no position", "permitwait paper")),
    "venue away": Case("governor_denied", how.silent_venue, ("the venue is down",), how.venue_answers),
    "own error": Case(
        "governor_denied", how.broken_venue, ("evaluation_error", "ZeroDivisionError"), how.venue_answers
    ),
    "outside governor": Case(
        "governor_denied",
        how.outside("governor", '{"granted": false, "symbol": "BTCUSDT", "reason": "night shift"}'),
        ("night shift", "The governor service"),
        outside=True,
    ),
    "block record": Case("governor_denied", how.block_record, ("rate_limit", "a block record"), outside=True),
    "ledger too small": Case("p33_denied", how.ledger_says("0.002"), ("0.062", "0.002", "--set-from-exchange")),
    "ledger, other side": Case("p33_denied", how.ledger_says("-0.062"), ("side_mismatch", "--set-from-exchange")),
    "no position": Case("p33_denied", how.no_position, ("no_position", "permitwait paper")),
    "no snapshot": Case(
        "p33_denied", how.no_snapshot, ("no_exchange_snapshot", "permitwait ledger"), how.venue_answers
    ),
    "too soon": Case("p33_denied", how.too_soon, ("cooldown_in_flight", "15 s"), how.rested),
    "held by another": Case(
        "p33_denied", how.held_by_another, ("Plan plan-0", "permitwait explain plan-0"), how.the_other_ends
    ),
    "below the step": Case("p33_denied", how.below_step, ("quantity_below_step",)),
    "outside p33": Case(
        "p33_denied",
        how.outside("p33", '{"allow": false, "symbol": "BTCUSDT", "reason": "reconciling"}'),
        ("reconciling", "The p33 service"),
        outside=True,
    ),
    "outside p26": Case(
        "p26_denied",
        how.with_p26(how.outside("p26", '{"granted": false, "symbol": "BTCUSDT", "reason": "too much"}')),
        ("too much", "The p26 service"),
        outside=True,
    ),
    "malformed governor": Case(
        "invalid_governor_permit",
        how.outside("governor", '{"granted": "true"}'),
        ("permit:plan-1", "Correct"),
        outside=True,
    ),
    "malformed p33": Case("invalid_p33_permit", how.outside("p33", "1"), ("permit:p33:plan-1",), outside=True),
    "malformed p26": Case(
        "invalid_p26_permit", how.with_p26(how.outside("p26", "1")), ("permit:p26:plan-1",), outside=True
    ),
    "other symbol": Case(
        "permit_symbol_mismatch", how.outside("governor", GOVERNOR.replace("BTC", "ETH")), ("ETHUSDT",), outside=True
    ),
    "other plan": Case(
        "permit_plan_mismatch",
        how.outside("governor", GOVERNOR.replace("}", ', "plan_id": "plan-9"}')),
        ("plan-9", "permit:plan-1"),
        outside=True,
    ),
    "never expires": Case("permit_ttl", how.never_expires, ("never expires", "at most 120 s"), outside=True),
    "nothing safe": Case("invalid_safe_qty", how.outside("p33", P33.replace("0.008", "0")), ("0 after",), outside=True),
    "more than held": Case(
        "invalid_safe_qty", how.outside("p33", P33.replace("0.008", "0.09")), ("above the position",), outside=True
    ),
    "above its action": Case(
        "qty_above_governor_limit",
        lambda stand: stand.play(action="PARTIAL_50", close_qty=0.05),
        ("close_qty, 0.05", "0.031"),
    ),
    "above the governor": Case(
        "qty_above_governor_limit",
        how.outside("governor", GOVERNOR.replace("}", ', "computed_qty": 0.001}')),
        ("0.001", "different positions"),
        outside=True,
    ),
    "too late": Case(
        "deadline_passed", how.all_too_late, ("First seen: governor at", "APPLY_PERMIT_WAIT_MS"), outside=True
    ),
    "cancelled": Case("cancelled", how.cancelled, ("alice", "wrong size")),
    "redis away": Case("redis_unavailable", how.redis_away, ("Timeout", "permitwait open")),
    "not durable": Case("not_durable", how.no_copies, ("0 acknowledgements, 1 wanted", "used up"), how.fewer_copies),
    "worker lost": Case("interrupted", how.worker_lost, ("celery@lost", "no such order")),
    "venue refuses": Case(
        "order_rejected", how.venue_refuses, ("-2022", "permitwait ledger"), how.holds_again, outside=True
    ),
    "order unknown": Case("order_unknown", how.order_unknown, ("--not-executed", client_order_id("plan-1"))),
}
