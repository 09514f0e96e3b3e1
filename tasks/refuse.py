"""Messages that must not touch a plan: no intent at all, or one that contradicts a known plan."""

import re
from hashlib import sha256

from tasks import log, observed
from tasks.errors import InvalidIntent
from tasks.intent import PLAN_ID, ExecuteIntent
from tasks.outcome import Outcome, blocked_ending
from tasks.parts import Parts
from tasks.reasons import Reason


def refuse(parts: Parts, invalid: InvalidIntent, task_id: str, message: object) -> Outcome:
    """Record a message that is not an intent; a plan it may name is not touched.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    shown_id = task_id
    if not re.fullmatch(PLAN_ID[1:-1], task_id):
        shown_id = sha256(task_id.encode(errors="surrogatepass")).hexdigest()[:32]
    ending = blocked_ending(shown_id, "", Reason.INVALID_INTENT, invalid.detail)
    if_known = Reason.PLAN_CONFLICT if invalid.decision_only else Reason.INVALID_INTENT
    finished = parts.gate.set_aside(shown_id, invalid.plan_id, if_known, ending, ascii(message))
    log.log_set_aside(task_id, invalid.plan_id, finished.outcome.reason, invalid.detail)
    observed.count("set_aside", finished.outcome.reason)
    if finished.fresh:
        observed.ended(finished.outcome)
        log.log_block(finished.outcome, None, invalid.detail)
    return finished.outcome


def set_conflict_aside(parts: Parts, intent: ExecuteIntent, detail: str) -> Outcome:
    """Record an intent that contradicts a known plan, which stays as it is.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    ending = blocked_ending(intent.plan_id, intent.symbol, Reason.PLAN_CONFLICT, detail)
    finished = parts.gate.set_aside(intent.plan_id, intent.plan_id, Reason.PLAN_CONFLICT, ending, intent.text)
    log.log_set_aside(intent.plan_id, intent.plan_id, finished.outcome.reason, detail)
    observed.count("set_aside", finished.outcome.reason)
    return finished.outcome
