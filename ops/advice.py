"""What to do about each reason, in one place: the documents' table, and `permitwait explain` with a plan's facts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ops import advice_judges, advice_permits, advice_plans
from ops.advice_words import Said
from ops.case import Case


@dataclass(frozen=True)
class Advice:
    """What to do in general (`todo`, for the documents), and what the facts of one plan say (`look`)."""

    todo: str
    look: Callable[[Case], Said]


_START_ISSUER: Final = "Start what issues it: `celery -A workers worker`, or your own service; then send a new plan."
_FOREIGN_PERMIT: Final = "Correct the service that writes this permit (docs/permits.md); then send a new plan."

#: Keyed by the reason's value; every `tasks.reasons.Reason` is here.
ADVICE: Final[dict[str, Advice]] = {
    "kill_switch": Advice(
        "Find out why it was set; `permitwait resume` shows that and clears it; then send a new plan.",
        advice_plans.kill_switch,
    ),
    "invalid_intent": Advice(
        "Correct the message (docs/intent.schema.json) and send it again.",
        advice_plans.invalid_intent,
    ),
    "unsupported_action": Advice(
        "Send a new plan with FULL_CLOSE_PROPOSED, PARTIAL_75 or PARTIAL_50.", advice_plans.unsupported_action
    ),
    "symbol_not_allowed": Advice(
        "Add the symbol to APPLY_ALLOWLIST of every worker and restart them; then send a new plan.",
        advice_plans.symbol_not_allowed,
    ),
    "plan_expired": Advice(
        "Send a new plan; if it repeats, see that a worker runs, that clocks are right, and how long plans queue.",
        advice_plans.plan_expired,
    ),
    "plan_conflict": Advice(
        "Nothing to do for the known plan, it was not touched; send the other one under an id of its own.",
        advice_plans.plan_conflict,
    ),
    **{
        f"missing_{which}": Advice(_START_ISSUER, advice_permits.missing)
        for which in ("both", "all", "governor", "p33", "p26", "governor_p33", "governor_p26", "p33_p26")
    },
    "governor_denied": Advice(
        "Depends on the Governor's own reason: wait until its limit has room, or change the plan.",
        advice_judges.governor_denied,
    ),
    "p33_denied": Advice(
        "Depends on its own reason; for `reconcile_…`: `permitwait ledger SYMBOL --set-from-exchange`.",
        advice_judges.p33_denied,
    ),
    "p26_denied": Advice("Ask the service that writes p26 permits; then send a new plan.", advice_judges.p26_denied),
    "invalid_governor_permit": Advice(_FOREIGN_PERMIT, advice_permits.malformed),
    "invalid_p33_permit": Advice(_FOREIGN_PERMIT, advice_permits.malformed),
    "invalid_p26_permit": Advice(_FOREIGN_PERMIT, advice_permits.malformed),
    "permit_symbol_mismatch": Advice(_FOREIGN_PERMIT, advice_permits.mismatch),
    "permit_plan_mismatch": Advice(_FOREIGN_PERMIT, advice_permits.mismatch),
    "permit_ttl": Advice(
        "Have the service write its permits with a time to live (SET … EX 60); then send a new plan.",
        advice_permits.time_to_live,
    ),
    "invalid_safe_qty": Advice(_FOREIGN_PERMIT, advice_permits.safe_qty),
    "qty_above_governor_limit": Advice(
        "Send a new plan that asks for no more than its action: smaller `close_qty`, or none.",
        advice_permits.above_governor,
    ),
    "deadline_passed": Advice(
        "Send a new plan; if it repeats, the issuers or the workers are too slow for APPLY_PERMIT_WAIT_MS.",
        advice_permits.deadline_passed,
    ),
    "cancelled": Advice("Nothing to do; if it was cancelled by mistake, send a new plan.", advice_plans.cancelled),
    "redis_unavailable": Advice(
        "See that Redis answers (`permitwait open` asks it), find out why it did not; then send a new plan.",
        advice_plans.redis_unavailable,
    ),
    "not_durable": Advice(
        "Give Redis the copies that APPLY_CONSUME_ACKS asks for (append-only file, replicas); then send a new plan.",
        advice_plans.not_durable,
    ),
    "server_changed": Advice(
        "Find out why the server was restarted or failed over; permits are asked for anew: send a new plan.",
        advice_plans.server_changed,
    ),
    "interrupted": Advice(
        "Nothing was ordered: send a new plan; find out what ended the worker.", advice_plans.interrupted
    ),
    "order_rejected": Advice(
        "Read the venue's code and words; `permitwait ledger SYMBOL` shows what it holds; then send a new plan.",
        advice_plans.order_rejected,
    ),
    "order_unknown": Advice(
        "Look the client order id up at the venue, then tell: `permitwait open --resolve PLAN_ID` with `--executed "
        "ORDER_ID,QTY,SIDE` or `--not-executed`.",
        advice_plans.order_unknown,
    ),
}
