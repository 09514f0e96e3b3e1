"""`tasks.governor`: may we trade? Computes what a plan would close; one script judges every limit and answers."""

import json
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from celery import shared_task

from tasks import log, observed
from tasks.errors import StoreUnavailable
from tasks.intent import FRACTIONS, ExecuteIntent, parse_intent
from tasks.outcome import plain
from tasks.parts import Parts, parts_of_process
from tasks.settings import GovernorSettings
from tasks.venues import Position

#: Seconds (the figures of the system we re-create).
PERMIT_TTL_S: Final = 60
BLOCK_TTL_S: Final = 3_600
_DAY_S: Final = 86_400

_MICRO: Final = 10**6
_E8: Final = 10**8

#: Whole numbers up to here are exact in Redis' Lua.
_EXACT: Final = 2**53


@dataclass(frozen=True)
class Wanted:
    """What a plan would close: quantity, notional in USD where a price is known, and whether that is everything."""

    qty: Decimal
    notional: Decimal | None
    closes: bool


@dataclass(frozen=True)
class Unjudged:
    """Why no limit could be judged; `failed` where that is a fault and not a fact."""

    reason: str
    context: dict[str, str]
    failed: bool


def wanted_of(intent: ExecuteIntent, position: Position) -> Wanted | Unjudged:
    """The action's part of the position. Never a quantity of 0, which would state no bound to the gate."""
    fraction = FRACTIONS.get(intent.action)
    if fraction is None:
        return Unjudged("limit_computation_error", {"action": intent.action}, failed=False)
    qty = position.amt.copy_abs() * fraction
    price = position.mark_price
    if qty <= 0:
        return Unjudged("limit_computation_error", {"position_amt": "0"}, failed=False)
    notional = qty * price if price is not None and price > 0 else None
    if max(qty * _E8, (notional or Decimal(0)) * _MICRO) >= _EXACT:
        return Unjudged("limit_computation_error", {"computed_qty": f"{qty:.6g}"}, failed=False)
    wants_part = intent.close_qty is not None and 0 < intent.close_qty < position.amt.copy_abs()
    return Wanted(qty, notional, closes=fraction == 1 and not wants_part)


def evaluate(parts: Parts, limits: GovernorSettings, intent: ExecuteIntent) -> tuple[str, str]:
    """Decide one plan and write the answer; returns the script's verdict and reason (`lua/govern_plan.lua`).

    Raises:
        StoreUnavailable: Redis gave no answer; nothing may be granted by guessing.
    """
    try:
        wanted = wanted_of(intent, parts.venue.position(intent.symbol))
    except StoreUnavailable as error:
        wanted = Unjudged("position_fetch_failed", {"error": str(error)[:200]}, failed=True)
    except Exception as error:  # noqa: BLE001 - whatever failed, the plan is refused, and it counts as a failure
        wanted = Unjudged("evaluation_error", {"error": type(error).__name__}, failed=True)
    return _decide(parts, limits, intent, wanted)


def _decide(
    parts: Parts, limits: GovernorSettings, intent: ExecuteIntent, wanted: Wanted | Unjudged
) -> tuple[str, str]:
    keys, plan_id, symbol = parts.gate.keys, intent.plan_id, intent.symbol
    unjudged = wanted if isinstance(wanted, Unjudged) else None
    context: dict[str, Any] = dict(unjudged.context) if unjudged else {}
    notional, qty, permit, closes = "", "0", "{", False
    if isinstance(wanted, Wanted):
        closes, qty = wanted.closes, str(_up(wanted.qty * _E8))
        notional = "" if wanted.notional is None else str(_up(wanted.notional * _MICRO))
        context = {"computed_qty": plain(wanted.qty), "computed_notional": plain(wanted.notional or Decimal(0))}
        permit = _permit(intent, wanted)
    word, reason, *disarmed = parts.store.run(
        "govern_plan",
        [
            keys.record(plan_id),
            keys.permit("governor", plan_id),
            keys.governor_block(plan_id),
            keys.governor_reservation(plan_id),
            keys.governor_exec(symbol),
            keys.governor_daily(symbol),
            keys.governor_disarm,
            keys.governor_errors,
            keys.kill_switch,
            keys.kill_switch_info,
            keys.governor_events,
            keys.timeline(plan_id),
        ],
        [
            plan_id,
            symbol,
            unjudged.reason if unjudged else "",
            "error" if unjudged and unjudged.failed else "",
            "" if intent.kill_score is None else plain(intent.kill_score),
            "closes" if closes else "",
            notional,
            qty,
            plain(limits.kill_score_critical),
            limits.max_exec_per_hour,
            limits.max_exec_per_5min,
            str(_down(limits.max_reduce_notional_per_day_usd * _MICRO)),
            str(_down(limits.max_reduce_qty_per_day * _E8)),
            "disarm" if limits.enable_auto_disarm and limits.disarm_on_burst_breach else "",
            limits.disarm_on_error_count if limits.enable_auto_disarm else "",
            PERMIT_TTL_S,
            BLOCK_TTL_S,
            parts.settings.record_ttl_s + _DAY_S,
            permit,
            json.dumps(context),
            parts.settings.record_ttl_s,
        ],
    )
    if disarmed == [b"disarmed"]:
        log.log_disarm(plan_id, symbol, reason.decode())
    return word.decode(), reason.decode()


def _permit(intent: ExecuteIntent, wanted: Wanted) -> str:
    """The granting permit, open at its end for the times; quantities as exact JSON numbers."""
    names = {"symbol": intent.symbol, "plan_id": intent.plan_id, "issuer": "governor", "decision": "EXECUTE"}
    head = json.dumps({"granted": True, **names, "consumed": False})[:-1]
    notional = plain(wanted.notional or Decimal(0))
    return f'{head},"computed_qty":{plain(wanted.qty)},"computed_notional":{notional}'


def _up(number: Decimal) -> int:
    return int(number.to_integral_value(rounding=ROUND_CEILING))


def _down(number: Decimal) -> int:
    return int(number.to_integral_value(rounding=ROUND_FLOOR))


@shared_task(name="tasks.governor", max_retries=0, ignore_result=True, send_events=False)
def governor(intent: dict[str, Any]) -> str:
    """Judge one plan; the verdict is in its permit. A task that fails leaves no permit, and the plan blocks.

    Raises:
        InvalidIntent: the message is not an intent.
        NotConfigured: in a process that is not our worker.
        StoreUnavailable: Redis gave no answer.
    """
    parts, plan = parts_of_process(), parse_intent(intent)
    word, reason = evaluate(parts, parts.governor, plan)
    log.log_issued("governor", plan.plan_id, plan.symbol, word, reason)
    observed.issued("governor", word, reason)
    return f"{word} {reason}".strip()
