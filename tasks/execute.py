"""`tasks.execute`: acts on what an attempt decided. One EXECUTE intent, one task, one outcome."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from celery import Task, shared_task
from celery.exceptions import Reject

from tasks import log
from tasks.attempt import Blocked, Waiting, attempt, rules_of
from tasks.consume import Abandoned, Busy, Claim, Conflict, Consumed, Finished, Gate, NotDurable
from tasks.dispatch import dispatch, dry_run_ending, ending_of, order_of
from tasks.errors import InvalidIntent, NotConfigured, StoreUnavailable
from tasks.intent import PLAN_ID, ExecuteIntent, parse_intent
from tasks.outcome import Ending, Outcome
from tasks.reasons import Reason, every_missing_reason
from tasks.settings import Settings
from tasks.venues import Venue
from tasks.wait import WaitPolicy

#: While Redis does not answer, a plan is tried again this often once its wait must be over.
OUTAGE_PAUSE_MS: Final = 1_000

#: Message header in which a plan carries the last error of its wait, so that its end can say why.
STORE_ERROR: Final = "permitwait_store_error"

_MISSING: Final = every_missing_reason() | {Reason.DEADLINE_PASSED}


@dataclass(frozen=True)
class Again:
    """The plan has no outcome yet: look at it again in `pause_ms`."""

    pause_ms: int
    store_error: str = ""


@dataclass(frozen=True)
class Parts:
    """Everything one process needs to execute plans; made by the worker at start."""

    settings: Settings
    gate: Gate
    venue: Venue

    @property
    def wait(self) -> WaitPolicy:
        """The bounded wait, as configured."""
        return WaitPolicy(self.settings.permit_wait_ms, self.settings.permit_step_ms)


def execute_once(parts: Parts, intent: ExecuteIntent, *, retries: int = 0, store_error: str = "") -> Outcome | Again:
    """Take a plan one attempt further: its outcome, or when to look again. Never raises for a Redis outage.

    `retries`, the attempts made before, only decides how patiently an outage is waited out; `store_error` is
    the last error met while this plan waited, empty where none.
    """
    try:
        return _act(parts, intent, uuid4().hex, store_error)
    except StoreUnavailable as error:
        waited_out = retries * parts.settings.permit_step_ms > parts.settings.permit_wait_ms
        pause_ms = OUTAGE_PAUSE_MS if waited_out else parts.settings.permit_step_ms
        log.log_unavailable(intent.plan_id, error, pause_ms)
        return Again(pause_ms, str(error)[:200])


def _act(parts: Parts, intent: ExecuteIntent, token: str, store_error: str) -> Outcome | Again:
    step = attempt(parts.gate, parts.venue, rules_of(parts.settings), intent, token)
    if isinstance(step, Consumed):
        return _dispatch(parts, intent, step)
    if isinstance(step, Waiting):
        return Again(parts.wait.pause_ms(step.stands.left_ms), store_error)
    if isinstance(step, Blocked):
        return _block(parts, intent, token, step, store_error)
    if isinstance(step, Finished):
        return step.outcome
    if isinstance(step, Busy):
        return Again(parts.wait.busy_pause_ms(step.lease_left_ms), store_error)
    if isinstance(step, NotDurable):
        return _end_claim(parts, step.claim, _not_durable(parts, intent, step))
    if isinstance(step, Abandoned):
        return _look_up(parts, intent, step.claim)
    return _conflict(parts, intent, step)


def _dispatch(parts: Parts, intent: ExecuteIntent, consumed: Consumed) -> Outcome | Again:
    log.log_ok(intent.plan_id, intent.symbol, consumed.claim)
    if parts.settings.mode == "dry_run":
        return _end_claim(parts, consumed.claim, dry_run_ending(intent, consumed.claim))
    receipt = dispatch(parts.venue, intent, consumed)
    ending = ending_of(intent, consumed.claim, receipt)
    if ending is None:
        return Again(parts.settings.permit_step_ms)
    return _end_claim(parts, consumed.claim, ending)


def _look_up(parts: Parts, intent: ExecuteIntent, claim: Claim) -> Outcome | Again:
    """A lost attempt consumed the permits: adopt its order, or end the plan; never submit again."""
    # In dry run too: the claimant may have run in another mode.
    receipt = parts.venue.lookup(order_of(intent, claim))
    ending = ending_of(intent, claim, receipt) if receipt else None
    return _end_claim(parts, claim, ending or _interrupted(intent, claim))


def _end_claim(parts: Parts, claim: Claim, ending: Ending) -> Outcome | Again:
    finished = parts.gate.finish(ending, claim.token, "consumed")
    if finished is None:
        return Again(parts.settings.permit_step_ms)
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
    ending = _blocked(intent, reason, detail)
    finished = parts.gate.finish(ending, token, "waiting")
    if finished is None:
        return Again(parts.settings.permit_step_ms, store_error)
    if finished.fresh:
        log.log_block(finished.outcome, step.stands, detail)
    return finished.outcome


def _conflict(parts: Parts, intent: ExecuteIntent, conflict: Conflict) -> Outcome:
    detail = f"known as {conflict.stored}, sent as {intent.content}"
    ending = _blocked(intent, Reason.PLAN_CONFLICT, detail)
    message = intent.model_dump_json(exclude_unset=True)
    finished = parts.gate.set_aside(intent.plan_id, intent.plan_id, Reason.PLAN_CONFLICT, ending, message)
    log.log_set_aside(intent.plan_id, intent.plan_id, finished.outcome.reason, detail)
    return finished.outcome


def refuse(parts: Parts, invalid: InvalidIntent, task_id: str, message: object) -> Outcome:
    """Record a message that is not an intent; a plan it may name is not touched.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    shown_id = (
        task_id
        if re.fullmatch(PLAN_ID[1:-1], task_id)
        else sha256(task_id.encode(errors="surrogatepass")).hexdigest()[:32]
    )
    ending = Ending(
        decision="BLOCKED", plan_id=shown_id, symbol="", reason=Reason.INVALID_INTENT, detail=invalid.detail
    )
    if_known = Reason.PLAN_CONFLICT if invalid.decision_only else Reason.INVALID_INTENT
    finished = parts.gate.set_aside(shown_id, invalid.plan_id, if_known, ending, ascii(message))
    log.log_set_aside(task_id, invalid.plan_id, finished.outcome.reason, invalid.detail)
    if finished.fresh:
        log.log_block(finished.outcome, None, invalid.detail)
    return finished.outcome


def _blocked(intent: ExecuteIntent, reason: Reason, detail: str) -> Ending:
    return Ending(decision="BLOCKED", plan_id=intent.plan_id, symbol=intent.symbol, reason=reason, detail=detail)


def _interrupted(intent: ExecuteIntent, claim: Claim) -> Ending:
    ending = _blocked(intent, Reason.INTERRUPTED, "the attempt that consumed was lost; the venue has no such order")
    return ending.model_copy(update={"safe_qty": claim.safe_qty})


def _not_durable(parts: Parts, intent: ExecuteIntent, step: NotDurable) -> Ending:
    detail = f"{step.acknowledged} acknowledgements, {parts.settings.consume_acks} wanted (APPLY_CONSUME_ACKS)"
    return _blocked(intent, Reason.NOT_DURABLE, detail).model_copy(update={"safe_qty": step.claim.safe_qty})


_parts: Callable[[], Parts] | None = None


def configure(parts: Callable[[], Parts]) -> None:
    """Open the task for this process. Until this was called it refuses every message."""
    global _parts  # noqa: PLW0603 - one process, one gate; Celery builds tasks without arguments
    _parts = parts


class GateTask(Task[Any, Any]):
    """A task whose message is never lost by a retry that could not be published."""

    def retry(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Celery's own signature
        """As Celery's, but a failed publication gives the message back instead of dropping it.

        Stock Celery raises `Reject(requeue=False)` then, and the plan is gone without an outcome.
        """
        try:
            return super().retry(*args, **kwargs)
        except Reject as reject:
            raise Reject("the retry could not be published", requeue=True) from reject


@shared_task(name="tasks.execute", base=GateTask, bind=True, max_retries=None)  # type: ignore[arg-type] # bound
def execute(self: GateTask, *args: object, **kwargs: object) -> dict[str, Any]:
    """Execute one plan: the only keyword argument is `intent` (see `tasks.intent`); returns the outcome.

    Everything else about the message is refused as `invalid_intent`. While permits are missing the task
    retries, bounded by `APPLY_PERMIT_WAIT_MS` on the Redis clock.

    Raises:
        NotConfigured: in a process that is not our worker.
    """
    if _parts is None:
        raise NotConfigured("tasks.execute runs only in `celery -A workers worker`; nothing was executed")
    parts, request = _parts(), self.request
    store_error = str((request.headers or {}).get(STORE_ERROR, ""))
    try:
        intent = _intent_of(args, kwargs)
        step = execute_once(parts, intent, retries=request.retries, store_error=store_error)
    except InvalidIntent as invalid:
        try:
            return refuse(parts, invalid, str(request.id), kwargs or args).as_result()
        except StoreUnavailable as error:
            log.log_unavailable(str(request.id), error, OUTAGE_PAUSE_MS)
            step = Again(OUTAGE_PAUSE_MS, str(error)[:200])
    if isinstance(step, Outcome):
        return step.as_result()
    headers = {STORE_ERROR: step.store_error} if step.store_error else None
    raise self.retry(countdown=step.pause_ms / 1000, headers=headers)


def _intent_of(args: tuple[object, ...], kwargs: dict[str, object]) -> ExecuteIntent:
    if args or set(kwargs) != {"intent"}:
        found = json.dumps({"args": len(args), "kwargs": sorted(kwargs)[:10]})[:300]
        raise InvalidIntent(f"the task takes one keyword argument, intent; found {found}")
    return parse_intent(kwargs["intent"])
