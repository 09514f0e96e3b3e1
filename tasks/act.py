"""Acts on what an attempt decided: waits, blocks, dispatches, looks up; one line each, and one outcome per plan."""

from dataclasses import dataclass
from typing import Final

from tasks import log, observed
from tasks.attempt import Blocked, Seen, Waiting, attempt
from tasks.consume import Abandoned, Busy, Claim, Consumed, Finished, NotDurable
from tasks.dispatch import dispatch, dry_run_ending, ending_of
from tasks.errors import StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.lookup import NotYet, look_up, look_up_forgotten, stop_submitting
from tasks.outcome import Ending, Outcome, blocked_ending
from tasks.parts import Parts
from tasks.reasons import Reason, every_missing_reason
from tasks.refuse import set_conflict_aside

#: While Redis does not answer, a plan is tried again this often once its wait must be over.
OUTAGE_PAUSE_MS: Final = 1_000

_MISSING: Final = every_missing_reason() | {Reason.DEADLINE_PASSED}


@dataclass(frozen=True)
class Again:
    """The plan has no outcome yet: look at it again in `pause_ms`.

    `waiting`: only permits are missing, so their arrival may come first. `first`: this attempt took the plan up,
    and our own issuers are to be asked.
    """

    pause_ms: int
    store_error: str = ""
    waiting: bool = False
    first: bool = False


def execute_once(
    parts: Parts, intent: ExecuteIntent, *, retries: int = 0, store_error: str = "", seen: Seen | None = None
) -> Outcome | Again:
    """Take a plan one attempt further: its outcome, or when to look again. Never raises for a Redis outage.

    `retries`, the attempts made before, only decides how patiently an outage is waited out; `store_error` is
    the last error met while this plan waited, empty where none; `seen` is a look that this attempt begins with.
    """
    try:
        return _act(parts, intent, store_error, seen)
    except StoreUnavailable as error:
        waited_out = retries * parts.settings.permit_step_ms > parts.settings.permit_wait_ms
        pause_ms = OUTAGE_PAUSE_MS if waited_out else parts.settings.permit_step_ms
        log.log_unavailable(intent.plan_id, error, pause_ms)
        return Again(pause_ms, str(error)[:200])


def _act(parts: Parts, intent: ExecuteIntent, store_error: str, seen: Seen | None) -> Outcome | Again:
    token = seen.token if seen else parts.token()
    step = attempt(parts.gate, parts.venue, parts.rules, intent, token, seen)
    if isinstance(step, Consumed):
        return _dispatch(parts, intent, step)
    if isinstance(step, Waiting):
        return Again(parts.wait.pause_ms(step.stands.left_ms), store_error, waiting=True, first=step.stands.first)
    if isinstance(step, Blocked):
        return _block(parts, intent, token, step, store_error)
    if isinstance(step, Finished):
        parts.gate.note_repeat(intent.plan_id, token)
        return step.outcome
    if isinstance(step, Busy):
        return Again(parts.wait.busy_pause_ms(step.lease_left_ms), store_error)
    if isinstance(step, NotDurable):
        return _end_claim(parts, step.claim, _not_durable(parts, intent, step))
    if isinstance(step, Abandoned):
        observed.count("takeovers")
        return _look_up(parts, intent, step.claim)
    return set_conflict_aside(parts, intent, f"known as {step.stored}, sent as {intent.content}")


def _dispatch(parts: Parts, intent: ExecuteIntent, consumed: Consumed) -> Outcome | Again:
    # Before the order: a worker that is lost in between leaves its line all the same.
    log.log_ok(intent.plan_id, intent.symbol, consumed.claim)
    if parts.settings.mode == "dry_run":
        return _end_claim(parts, consumed.claim, dry_run_ending(intent, consumed.claim))
    receipt = dispatch(parts, intent, consumed)
    ending = None if receipt.working else ending_of(intent, consumed.claim, receipt)
    if ending:
        return _end_claim(parts, consumed.claim, ending)
    if receipt.answer == "claim_lost" or not stop_submitting(parts, intent, consumed.claim, receipt):
        return Again(parts.settings.permit_step_ms)
    return _look_up(parts, intent, consumed.claim)


def _look_up(parts: Parts, intent: ExecuteIntent, claim: Claim) -> Outcome | Again:
    """What became of an order that may have left: adopt it, end the plan, or look again; never submit again."""
    # In dry run too: the claimant may have run in another mode.
    found = look_up(parts, intent, claim)
    return Again(found.pause_ms) if isinstance(found, NotYet) else _end_claim(parts, claim, found)


def _end_claim(parts: Parts, claim: Claim, ending: Ending) -> Outcome | Again:
    finished = parts.gate.finish(ending, claim.token, "consumed")
    if finished is None:
        return Again(parts.settings.permit_step_ms)
    if finished.fresh:
        observed.ended(finished.outcome)
    if finished.fresh and finished.outcome.decision == "BLOCKED":
        log.log_block(finished.outcome, None, ending.detail)
    elif finished.fresh:
        log.log_venue(finished.outcome)
    return finished.outcome


def _block(parts: Parts, intent: ExecuteIntent, token: str, step: Blocked, store_error: str) -> Outcome | Again:
    reason, detail = step.block.reason, step.block.detail
    if store_error and reason in _MISSING:
        # The permits may well have come: it was Redis that could not be asked in time.
        reason, detail = Reason.REDIS_UNAVAILABLE, f"{detail}; during the wait: {store_error}"
    ending = None
    if reason is Reason.SERVER_CHANGED:
        ending, said = look_up_forgotten(parts, intent, token)
        detail = f"{detail}; {said}"
    ending = ending or blocked_ending(intent.plan_id, intent.symbol, reason, detail)
    finished = parts.gate.finish(ending, token, "waiting")
    if finished is None:
        return Again(parts.settings.permit_step_ms, store_error)
    if finished.fresh:
        observed.ended(finished.outcome)
    if finished.fresh and finished.outcome.decision == "BLOCKED":
        log.log_block(finished.outcome, step.stands, detail)
    elif finished.fresh:
        log.log_venue(finished.outcome)
    return finished.outcome


def _not_durable(parts: Parts, intent: ExecuteIntent, step: NotDurable) -> Ending:
    detail = f"{step.acknowledged} acknowledgements, {parts.settings.consume_acks} wanted (APPLY_CONSUME_ACKS)"
    return blocked_ending(intent.plan_id, intent.symbol, Reason.NOT_DURABLE, detail, step.claim.safe_qty)
