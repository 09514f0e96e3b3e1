"""The lines operators grep for. Their starts are fixed (CONTRACT "Log lines"); more pairs may follow."""

import logging
from decimal import ROUND_DOWN, Context, Decimal
from typing import TYPE_CHECKING

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
    )


def log_block(outcome: Outcome, stands: Stands | None, detail: str) -> None:
    """A plan ended blocked; once per plan. TTLs are -2 where no permit was looked at."""
    logger.warning(
        "[PERMIT_WAIT] BLOCK plan=%s reason=%s gov_ttl=%d p33_ttl=%d wait_ms=%d symbol=%s attempts=%d detail=%s",
        outcome.plan_id,
        outcome.reason,
        stands.ttl_s("governor") if stands else -2,
        stands.ttl_s("p33") if stands else -2,
        outcome.wait_ms,
        outcome.symbol or "-",
        outcome.attempts,
        ascii(detail),
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
    )


def log_lookup(plan_id: str, found: str, again_in_ms: int, detail: str) -> None:
    """What became of an order is not known yet: it is looked up in so many milliseconds."""
    logger.warning("[LOOKUP] plan=%s found=%s again_in_ms=%d detail=%s", plan_id, found, again_in_ms, ascii(detail))


def log_set_aside(task_id: str, plan_id: str | None, reason: str, detail: str) -> None:
    """A message was put aside without touching the plan it names."""
    logger.warning(
        "[SET_ASIDE] task=%s plan=%s reason=%s detail=%s",
        ascii(task_id),
        plan_id or "-",
        reason,
        ascii(detail[:300]),
    )


def log_issued(issuer: str, plan_id: str, symbol: str, verdict: str, reason: str) -> None:
    """What one of our own issuers decided about a plan."""
    logger.info("[ISSUER] %s plan=%s symbol=%s verdict=%s reason=%s", issuer, plan_id, symbol, verdict, reason or "-")


def log_disarm(plan_id: str, symbol: str, reason: str) -> None:
    """The Governor has set the kill switch."""
    logger.warning(
        "[DISARM] the kill switch is set by the Governor: plan=%s symbol=%s reason=%s; look, then: permitwait resume",
        plan_id,
        symbol,
        reason,
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
    )


def log_server_changed(since_ms: int, permits: int) -> None:
    """Redis was restarted or failed over: what is from before is not trusted."""
    logger.warning(
        "[SERVER] changed since_ms=%d permits=%d: plans and permits from before are refused", since_ms, permits
    )


def log_unasked(issuer: str, plan_id: str, error: Exception) -> None:
    """An issuer of ours could not be asked; its permit stays missing."""
    logger.warning("[ISSUER] %s plan=%s could not be asked: %s", issuer, plan_id, ascii(str(error)))


def log_not_started(plan_id: str, error: Exception) -> None:
    """The pool takes no attempt any more; the message goes back as it is."""
    logger.warning("[PARK] plan=%s not started: %s", plan_id, ascii(str(error)))


def log_sweep(plan_id: str, error: str) -> None:
    """An overdue plan, or all of them, could not be ended this time."""
    logger.warning("[SWEEP] plan=%s error=%s", plan_id, ascii(error))


def log_silent(issuer: str, error: Exception) -> None:
    """An issuer could not leave its sign of life."""
    logger.warning("[ISSUER] %s left no sign of life: %s", issuer, ascii(str(error)))


def log_no_sign(hostname: str, error: Exception) -> None:
    """A worker could not leave its sign of life; said once until it can again."""
    logger.warning("[WORKER] %s left no sign of life: %s", hostname, ascii(str(error)))


def log_unavailable(plan_id: str, error: Exception, pause_ms: int) -> None:
    """Redis or the venue gave no answer; nothing was dispatched, and the plan is tried again."""
    logger.warning("[UNAVAILABLE] plan=%s again_in_ms=%d error=%s", plan_id, pause_ms, ascii(str(error)))
