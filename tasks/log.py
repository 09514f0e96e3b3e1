"""The lines operators grep for. Their starts are fixed (CONTRACT "Log lines"); more pairs may follow.

Each carries the same facts once more, by name, for a log of JSON (`workers.jsonlog`): there the plan's id is always
`plan_id`, and nothing is rounded or quoted.
"""

import logging
from decimal import ROUND_DOWN, Context, Decimal
from typing import TYPE_CHECKING, Any

from tasks.judge import Stands
from tasks.outcome import Outcome
from tasks.permit import MAX_DIGITS

if TYPE_CHECKING:
    from tasks.consume import Claim  # which logs, too

logger = logging.getLogger("permitwait")

#: `safe_qty` is shown with this many decimals, rounded down like the quantity itself.
_SHOWN = Decimal("0.0001")

#: Enough digits for the largest quantity: a log line must not be what stops an order whose permits are consumed.
_EXACT = Context(prec=2 * MAX_DIGITS)


def _facts(event: str, **facts: object) -> dict[str, Any]:
    return {"facts": {"event": event, **facts}}


def _outcome_facts(event: str, outcome: Outcome, **more: object) -> dict[str, Any]:
    facts = outcome.as_result()
    # The line has a timestamp of its own; this one is the end of the plan, on the Redis clock.
    facts["ended_at"] = facts.pop("timestamp")
    return _facts(event, **facts, **more)


def log_ok(plan_id: str, symbol: str, claim: "Claim") -> None:
    """Permits are consumed; once per plan."""
    shown = Decimal(claim.safe_qty).quantize(_SHOWN, rounding=ROUND_DOWN, context=_EXACT)
    logger.info(
        "[PERMIT_WAIT] OK plan=%s wait_ms=%d safe_qty=%s symbol=%s attempts=%d",
        plan_id,
        claim.wait_ms,
        shown,
        symbol,
        claim.attempts,
        extra=_facts(
            "ok",
            plan_id=plan_id,
            symbol=symbol,
            wait_ms=claim.wait_ms,
            safe_qty=claim.safe_qty,
            attempts=claim.attempts,
        ),
    )


def log_block(outcome: Outcome, stands: Stands | None, detail: str) -> None:
    """A plan ended blocked; once per plan. TTLs are -2 where no permit was looked at."""
    gov_ttl = stands.ttl_s("governor") if stands else -2
    p33_ttl = stands.ttl_s("p33") if stands else -2
    logger.warning(
        "[PERMIT_WAIT] BLOCK plan=%s reason=%s gov_ttl=%d p33_ttl=%d wait_ms=%d symbol=%s attempts=%d detail=%s",
        outcome.plan_id,
        outcome.reason,
        gov_ttl,
        p33_ttl,
        outcome.wait_ms,
        outcome.symbol or "-",
        outcome.attempts,
        ascii(detail),
        extra=_outcome_facts("block", outcome, detail=detail, gov_ttl=gov_ttl, p33_ttl=p33_ttl),
    )


def log_venue(outcome: Outcome) -> None:
    """What became of the order of a plan whose permits were consumed."""
    logger.log(
        logging.INFO if outcome.decision == "EXECUTE" else logging.WARNING,
        "[ORDER] %s plan=%s client_order_id=%s executed=%s reason=%s attempts=%d",
        outcome.decision,
        outcome.plan_id,
        outcome.client_order_id,
        outcome.executed,
        outcome.reason or "-",
        outcome.attempts,
        extra=_outcome_facts("order", outcome),
    )


def log_resolved(plan_id: str, symbol: str, found: str, who: str, why: str) -> None:
    """An operator has said what became of an order that was unknown."""
    logger.warning(
        "[RESOLVED] plan=%s symbol=%s found=%s who=%s why=%s",
        plan_id,
        symbol,
        found,
        ascii(who),
        ascii(why),
        extra=_facts("resolved", plan_id=plan_id, symbol=symbol, found=found, who=who, why=why),
    )


def log_lookup(plan_id: str, found: str, again_in_ms: int, detail: str) -> None:
    """What became of an order is not known yet: it is looked up in so many milliseconds."""
    logger.warning(
        "[LOOKUP] plan=%s found=%s again_in_ms=%d detail=%s",
        plan_id,
        found,
        again_in_ms,
        ascii(detail),
        extra=_facts("lookup", plan_id=plan_id, found=found, again_in_ms=again_in_ms, detail=detail),
    )


def log_set_aside(task_id: str, plan_id: str | None, reason: str, detail: str) -> None:
    """A message was put aside without touching the plan it names."""
    logger.warning(
        "[SET_ASIDE] task=%s plan=%s reason=%s detail=%s",
        ascii(task_id),
        plan_id or "-",
        reason,
        ascii(detail[:300]),
        extra=_facts("set_aside", message_task_id=task_id, plan_id=plan_id, reason=reason, detail=detail),
    )


def log_issued(issuer: str, plan_id: str, symbol: str, verdict: str, reason: str) -> None:
    """What one of our own issuers decided about a plan."""
    logger.info(
        "[ISSUER] %s plan=%s symbol=%s verdict=%s reason=%s",
        issuer,
        plan_id,
        symbol,
        verdict,
        reason or "-",
        extra=_facts("issuer", issuer=issuer, plan_id=plan_id, symbol=symbol, verdict=verdict, reason=reason),
    )


def log_disarm(plan_id: str, symbol: str, reason: str) -> None:
    """The Governor has set the kill switch."""
    logger.warning(
        "[DISARM] the kill switch is set by the Governor: plan=%s symbol=%s reason=%s; look, then: permitwait resume",
        plan_id,
        symbol,
        reason,
        extra=_facts("disarm", plan_id=plan_id, symbol=symbol, reason=reason),
    )


def log_start(mode: str, namespace: str, symbols: str, permits: str, issuers: str) -> None:
    """What this worker runs with."""
    logger.info(
        "[START] mode=%s namespace=%s symbols=%s permits=%s issuers=%s",
        mode,
        namespace,
        symbols,
        permits,
        issuers or "-",
        extra=_facts("start", mode=mode, namespace=namespace, symbols=symbols, permits=permits, issuers=issuers),
    )


def log_core(core: int, cores: list[int]) -> None:
    """This worker keeps to another core from now on."""
    logger.info("[CORE] keeps to core %d of %s", core, cores, extra=_facts("core", core=core, cores=cores))


def log_core_unbound(why: str) -> None:
    """This worker was told to keep to one core, and does not."""
    logger.warning("[CORE] keeps to none: %s", ascii(why), extra=_facts("core_unbound", why=why))


def log_server_changed(since_ms: int, permits: int) -> None:
    """Redis was restarted or failed over: what is from before is not trusted."""
    logger.warning(
        "[SERVER] changed since_ms=%d permits=%d: plans and permits from before are refused",
        since_ms,
        permits,
        extra=_facts("server_changed", since_ms=since_ms, permits=permits),
    )


def log_unasked(issuer: str, plan_id: str, error: Exception) -> None:
    """An issuer of ours could not be asked; its permit stays missing."""
    logger.warning(
        "[ISSUER] %s plan=%s could not be asked: %s",
        issuer,
        plan_id,
        ascii(str(error)),
        extra=_facts("issuer_unasked", issuer=issuer, plan_id=plan_id, error=str(error)),
    )


def log_not_started(plan_id: str, error: Exception) -> None:
    """The pool takes no attempt any more; the message goes back as it is."""
    facts = _facts("not_started", plan_id=plan_id, error=str(error))
    logger.warning("[PARK] plan=%s not started: %s", plan_id, ascii(str(error)), extra=facts)


def log_untold(task_id: str, error: Exception) -> None:
    """An outcome is recorded; Celery's result backend did not take it, and is not asked again."""
    facts = _facts("untold", task_id=task_id, error=str(error))
    logger.error("[UNTOLD] task=%s error=%s", ascii(task_id), ascii(str(error)), extra=facts)


def log_sweep(plan_id: str, error: str) -> None:
    """An overdue plan, or all of them, could not be ended this time."""
    logger.warning(
        "[SWEEP] plan=%s error=%s", plan_id, ascii(error), extra=_facts("sweep", plan_id=plan_id, error=error)
    )


def log_silent(issuer: str, error: Exception) -> None:
    """An issuer could not leave its sign of life."""
    facts = _facts("issuer_silent", issuer=issuer, error=str(error))
    logger.warning("[ISSUER] %s left no sign of life: %s", issuer, ascii(str(error)), extra=facts)


def log_no_sign(hostname: str, error: Exception) -> None:
    """A worker could not leave its sign of life; said once until it can again."""
    facts = _facts("worker_silent", hostname=hostname, error=str(error))
    logger.warning("[WORKER] %s left no sign of life: %s", hostname, ascii(str(error)), extra=facts)


def log_unavailable(plan_id: str, error: Exception, pause_ms: int) -> None:
    """Redis or the venue gave no answer; nothing was dispatched, and the plan is tried again."""
    logger.warning(
        "[UNAVAILABLE] plan=%s again_in_ms=%d error=%s",
        plan_id,
        pause_ms,
        ascii(str(error)),
        extra=_facts("unavailable", plan_id=plan_id, again_in_ms=pause_ms, error=str(error)),
    )
