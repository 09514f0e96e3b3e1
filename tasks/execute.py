"""`tasks.execute`: the Celery task. It only translates: an outcome is returned, "not yet" becomes a retry."""

import json
from typing import Any, Final

from celery import Task, shared_task
from celery.exceptions import Reject

from tasks import log
from tasks.act import OUTAGE_PAUSE_MS, Again, execute_once
from tasks.errors import InvalidIntent, StoreUnavailable
from tasks.intent import ExecuteIntent, parse_intent
from tasks.issuers import ask_issuers
from tasks.outcome import Outcome
from tasks.parts import parts_of_process
from tasks.refuse import refuse

#: Message header in which a plan carries the last error of its wait, so that its end can say why.
STORE_ERROR: Final = "permitwait_store_error"


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
    parts, request = parts_of_process(), self.request
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
    if step.ask_issuers:
        ask_issuers(self.app, parts.settings.issuers, intent)
    headers = {STORE_ERROR: step.store_error} if step.store_error else None
    raise self.retry(countdown=step.pause_ms / 1000, headers=headers)


def _intent_of(args: tuple[object, ...], kwargs: dict[str, object]) -> ExecuteIntent:
    if args or set(kwargs) != {"intent"}:
        found = json.dumps({"args": len(args), "kwargs": sorted(kwargs)[:10]})[:300]
        raise InvalidIntent(f"the task takes one keyword argument, intent; found {found}")
    return parse_intent(kwargs["intent"])
