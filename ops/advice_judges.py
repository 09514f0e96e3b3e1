"""Advice where a judge said no: ours with their figures, a service outside with its own words."""

import json
from decimal import Decimal
from typing import Any, Final

from ops.advice_words import Said, again, at, found
from ops.case import Case
from ops.timeline import Event

_NOTHING_HELD: Final = (
    "There is nothing to close. If there should be: see what the venue holds (in paper mode a position is given as "
    "below), then send a new plan."
)


def governor_denied(case: Case) -> Said:
    """By the reason of our Governor, else by the words of a service outside."""
    refused = case.last("governor", verdict="refused")
    if refused is None:
        return _outside(case, "governor")
    match refused.facts.get("reason"):
        case "kill_score_critical_non_close":
            return _kill_score(case, refused)
        case "hourly_limit_exceeded":
            return _rolling(case, refused, "60 minutes", "GOV_MAX_EXEC_PER_HOUR")
        case "burst_limit_exceeded":
            return _rolling(case, refused, "5 minutes", "GOV_MAX_EXEC_PER_5MIN")
        case "daily_limit_exceeded":
            return _daily(case, refused)
        case "limit_computation_error" if '"position_amt"' in refused.facts.get("context", ""):
            return Said("The Governor found no position.", _NOTHING_HELD, (_give_position(case), *again(case)))
        case "position_fetch_failed":
            why = f"The Governor could not ask the venue: {_context(refused).get('error', 'no answer')}."
            return Said(why, _when_it_answers(case), (f"permitwait ledger {case.symbol}", *again(case)))
    why = f"The Governor could not judge it: {refused.facts.get('reason')}, {refused.facts.get('context')}."
    return Said(
        why, "Look for the error in the log of the worker that reads its queue, then send a new plan.", again(case)
    )


def _kill_score(case: Case, refused: Event) -> Said:
    counted, limit = refused.facts.get("counted"), refused.facts.get("limit")
    why = f"The plan's kill score, {counted}, is at or above GOV_KILL_SCORE_CRITICAL={limit}."
    todo = "There, only a plan that closes the whole position passes. Send that, or a plan with a lower score:"
    return Said(why, todo, again(case, action="FULL_CLOSE_PROPOSED", close_qty=None))


def _rolling(case: Case, refused: Event, window: str, setting: str) -> Said:
    counted, limit = refused.facts.get("counted"), refused.facts.get("limit")
    why = f"{counted} plans were granted on {case.symbol} within {window}; {setting}={limit} are allowed."
    room = refused.facts.get("room_at_ms", "")
    wait = f"There is room again at {at(room)}" if room else f"{setting}={limit} never has room: raise it"
    if room and int(room) <= case.now_ms:
        wait = "There is room again"
    if not case.switch:
        return Said(why, f"{wait}. Then send a new plan.", again(case))
    by = f"{case.switch_info.get('who', 'unknown')}: {case.switch_info.get('why', 'no reason given')}"
    todo = f"{wait}. The kill switch is set as well, by {by}. Clear it when you have looked, then send a new plan."
    return Said(why, todo, ("permitwait resume", *again(case)))


def _daily(case: Case, refused: Event) -> Said:
    facts, priced = refused.facts, bool(refused.facts.get("priced"))
    setting = "GOV_MAX_REDUCE_NOTIONAL_PER_DAY_USD" if priced else "GOV_MAX_REDUCE_QTY_PER_DAY"
    scale = Decimal("1E-6") if priced else Decimal("1E-8")
    used, limit = (_scaled(facts.get(name, "0"), scale) for name in ("counted", "limit"))
    asked = Decimal(_context(refused).get("computed_notional" if priced else "computed_qty", "0")).normalize()
    why = f"{case.symbol} has used {used} today, this plan asks for {asked:f}, {setting}={limit} are allowed."
    if asked > Decimal(limit):
        todo = "This plan alone is above the day's limit: close less at once, or raise the setting for the workers."
        return Said(why, f"{todo} Then send a new plan.", again(case))
    todo = f"The day ends at {at(facts.get('room_at_ms'))}; until then close less, or raise the setting."
    return Said(why, f"{todo} Then send a new plan.", again(case))


def p33_denied(case: Case) -> Said:
    """By the reason of our Position judge, else by the words of a service outside."""
    judged = case.last("position")
    permit = _json(judged.facts.get("permit", "")) if judged else {}
    reason, context = str(permit.get("reason", "")), permit.get("context") or {}
    if not judged or permit.get("allow") is not False:
        return _outside(case, "p33")
    figures = ", ".join(f"{name} {value}" for name, value in context.items())
    why = f"Its reason: {reason}{f' ({figures})' if figures else ''}."
    if reason.startswith("reconcile_required"):
        todo = "Our ledger and the exchange disagree. Compare them, set the ledger to what the exchange holds,"
        return Said(
            why, f"{todo} send a new plan.", (f"permitwait ledger {case.symbol} --set-from-exchange", *again(case))
        )
    if reason == "no_position":
        return Said(why, _NOTHING_HELD, (_give_position(case), *again(case)))
    if reason == "cooldown_in_flight" and "holder" in judged.facts:
        holder = judged.facts["holder"]
        todo = f"Plan {holder} was under way on {case.symbol}. When it has ended, send a new plan."
        return Said(why, todo, (f"permitwait explain {holder}", *again(case)))
    if reason == "cooldown_in_flight":
        todo = f"Wait until {context.get('limit_s', 'P33_COOLDOWN_SEC')} s after the last order, then send a new plan."
        return Said(why, todo, again(case))
    if reason == "quantity_below_step":
        todo = "Send a plan that closes more, or leave a rest smaller than the step where it is."
        return Said(why, todo, again(case, action="FULL_CLOSE_PROPOSED", close_qty=None))
    return Said(why, _when_it_answers(case), (f"permitwait ledger {case.symbol}", *again(case)))


def p26_denied(case: Case) -> Said:
    """In the words of the service."""
    return _outside(case, "p26")


def _outside(case: Case, name: str) -> Said:
    todo = f"The {name} service decides: ask it what would change its answer, then send a new plan."
    return Said(f"{found(case)} It stood in {case.keys.permit(name, case.plan_id)}.", todo, again(case))


def _give_position(case: Case) -> str:
    return f"permitwait paper {case.symbol} --amount 0.062 --price 64000"


def _when_it_answers(case: Case) -> str:
    return f"See that the venue answers for {case.symbol} (the command shows what it holds), then send a new plan."


def _context(event: Event) -> dict[str, Any]:
    return _json(event.facts.get("context", ""))


def _json(text: str) -> dict[str, Any]:
    try:
        found_there = json.loads(text, parse_float=str)
    except ValueError:
        return {}
    return found_there if isinstance(found_there, dict) else {}


def _scaled(whole: str, scale: Decimal) -> str:
    return f"{(Decimal(whole) * scale).normalize():f}"
