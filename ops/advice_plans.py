"""Advice where the plan, its message, an operator, Redis or the venue is the reason, and not a permit."""

from ops.advice_judges import governor_denied
from ops.advice_words import Said, again, at, found, sentence
from ops.case import Case
from ops.timeline import who
from tasks.intent import FRACTIONS


def kill_switch(case: Case) -> Said:
    """Who set it, why, and whether it is still set."""
    ended_s = float(case.outcome.get("timestamp", "0") or 0)
    before = [entry for entry in case.halts if float(entry.get("when", 0)) <= ended_s]
    by = before[0] if before and before[0].get("action") == "halt" else case.switch_info
    told = "Who set it is not known."
    if by:
        told = sentence(f"It had been set by {by.get('who', 'unknown')}: {by.get('why', 'no reason given')}")
    if case.last("governor", verdict="refused"):
        # The switch came first; behind it the Governor would have ended the plan.
        refusal = governor_denied(case)
        return Said(f"{told} The Governor had refused the plan, too. {refusal.why}", refusal.todo, refusal.commands)
    if not case.switch:
        return Said(told, "It is off now: send a new plan if it is still wanted.", again(case))
    return Said(
        f"{told} It is still set.",
        "When that is settled, clear the switch, then send a new plan.",
        ("permitwait resume", *again(case)),
    )


def invalid_intent(case: Case) -> Said:
    """What was wrong with the message, and what it began with."""
    told = case.set_aside[0] if case.set_aside else {}
    names = f" It names plan {told['plan_id']}." if told.get("plan_id") not in {None, "", case.plan_id} else ""
    shown = f" The message began: {told['message'][:200]}." if told.get("message") else ""
    return Said(found(case) + names + shown)


def unsupported_action(case: Case) -> Said:
    """The actions there are; the safest one in the command."""
    actions = ", ".join(FRACTIONS)
    todo = f"Only {actions} close a position. Send a new plan with the one that is meant, for example:"
    return Said(found(case), todo, again(case, action="PARTIAL_50"))


def symbol_not_allowed(case: Case) -> Said:
    """What to set."""
    allowed = ",".join((*case.settings.allowlist, case.symbol))
    return Said(
        found(case),
        "If it is to be traded: set the list below for every worker (its environment or .env; this shell's own list "
        "is in it), restart the workers, then send a new plan.",
        (f"export APPLY_ALLOWLIST={allowed}", "celery -A workers worker", *again(case)),
    )


def plan_expired(case: Case) -> Said:
    """Never taken up, too late, or from a clock that is ahead."""
    if "taken_up_ms" not in case.record and case.record:
        return Said(
            f"{found(case)} No worker read its message in time, or the message was lost.",
            "See that a worker runs and answers, then send a new plan.",
            ("celery -A workers inspect ping", *again(case)),
        )
    if "in the future" in case.detail:
        todo = "Set the producer's clock right (the gate goes by Redis' clock), then send a new plan."
        return Said(found(case), todo, again(case))
    todo = "Send a new plan. If it repeats: plans wait too long between producer and worker; start more workers,"
    return Said(found(case), f"{todo} or allow more with APPLY_PLAN_MAX_AGE_MS.", again(case))


def plan_conflict(case: Case) -> Said:
    """The other message; the known plan goes its own way."""
    return Said(found(case), "Send what that message meant under a plan id of its own.")


def cancelled(case: Case) -> Said:
    """By whom, and why."""
    by = f"{case.record['ended_who']}: {case.record['ended_why']}" if "ended_who" in case.record else ""
    return Said(sentence(f"cancelled by {by}") if by else found(case), "", again(case))


def redis_unavailable(case: Case) -> Said:
    """The last error of the wait."""
    return Said(
        f"{found(case)} The permits may have been there in time: they could not be read.",
        "",
        ("permitwait open", *again(case)),
    )


def not_durable(case: Case) -> Said:
    """What was acknowledged, what was wanted."""
    return Said(
        f"{found(case)} The permits were used up; because too few copies of that exist, no order was made.",
        "Turn the append-only file on (appendonly yes) or connect the replicas that APPLY_CONSUME_ACKS counts on, or "
        "lower that setting; then send a new plan.",
        again(case),
    )


def server_changed(case: Case) -> Said:
    """What was before the change is not trusted after it."""
    return Said(found(case), "", again(case))


def interrupted(case: Case) -> Said:
    """Who was lost, and who looked."""
    if "ended_who" in case.record:
        return Said(
            f"{case.record['ended_who']} said that the venue has no such order: {case.record['ended_why']}.",
            "",
            again(case),
        )
    consumed, lost = case.last("consumed"), ""
    if consumed:
        by = who(consumed.facts.get("by", ""))
        lost = f"The worker {by} consumed the permits at {at(consumed.at_ms)} and was lost. "
    return Said(lost + found(case), "", again(case))


def order_rejected(case: Case) -> Said:
    """The venue's own words; what the common code means."""
    if "-2022" in case.detail:
        return Said(
            f"{found(case)} The position is smaller than what was asked for: something else has changed it.",
            "See what the venue holds, set the ledger right where it differs, then send a new plan: it is judged on "
            "what is held then.",
            (f"permitwait ledger {case.symbol} --set-from-exchange", *again(case)),
        )
    return Said(found(case), "", (f"permitwait ledger {case.symbol}", *again(case)))


def order_unknown(case: Case) -> Said:
    """Resolved, or how to resolve it."""
    order_id = case.outcome.get("client_order_id", "")
    if "resolved_as" in case.record:
        record = case.record
        order = f" as order {record['resolved_order_id']}" if record.get("resolved_order_id") else ""
        told = (
            f"{record['resolved_as'].replace('_', ' ')}{order}, says {record['resolved_by']}: {record['resolved_why']}"
        )
        return Said(f"Resolved at {at(record.get('resolved_ms'))}: {told}.", "Nothing to do: it is settled.")
    quantity = case.outcome.get("safe_qty", "QTY")
    return Said(
        f"{found(case)} The order may exist. Its client order id is {order_id}.",
        "Look it up at the venue by that id, then say what is there, with one of the two commands. Until then its "
        "share of the limits stays used, and the symbol is blocked for about a minute.",
        (
            f"permitwait open --resolve {case.plan_id} \\\n  --executed ORDER_ID,{quantity},SIDE",
            f"permitwait open --resolve {case.plan_id} --not-executed",
        ),
    )
