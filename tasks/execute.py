"""`tasks.execute`: the Celery task. It only translates: an outcome is returned, "not yet" becomes a retry."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Task, shared_task
from celery.exceptions import Retry

from tasks import log
from tasks.act import OUTAGE_PAUSE_MS, Again, execute_once
from tasks.errors import InvalidIntent, StoreUnavailable
from tasks.intent import ExecuteIntent, parse_intent
from tasks.issuers import ask_issuers
from tasks.outcome import Outcome
from tasks.parts import parts_of_process
from tasks.refuse import refuse

#: The look that the worker made at the plan just before it started this attempt (`tasks.attempt.Seen`).
SEEN: Final = "permitwait_seen"

#: Set on a request whose plan was taken up by a look of the worker's, before this attempt.
ASK_ISSUERS: Final = "permitwait_ask_issuers"

#: Field of a request in which a plan carries the last error of its wait, so that its end can say why.
STORE_ERROR: Final = "permitwait_store_error"


@shared_task(name="tasks.execute", bind=True, max_retries=None)  # type: ignore[arg-type] # bound
def execute(self: Task[Any, Any], *args: object, **kwargs: object) -> Outcome:
    """Execute one plan: the only keyword argument is `intent` (see `tasks.intent`); returns the outcome, in JSON.

    Everything else about the message is refused as `invalid_intent`. While permits are missing the task
    retries, bounded by `APPLY_PERMIT_WAIT_MS` on the Redis clock.

    Raises:
        NotConfigured: in a process that is not our worker.
    """
    parts, request = parts_of_process(), self.request
    store_error = str(request.get(STORE_ERROR) or "")
    try:
        intent = intent_of(args, kwargs)
        step = execute_once(parts, intent, retries=request.retries, store_error=store_error, seen=request.get(SEEN))
    except InvalidIntent as invalid:
        try:
            return refuse(parts, invalid, str(request.id), kwargs or args)
        except StoreUnavailable as error:
            log.log_unavailable(str(request.id), error, OUTAGE_PAUSE_MS)
            step = Again(OUTAGE_PAUSE_MS, str(error)[:200])
    if isinstance(step, Outcome):
        return step
    if step.first or (step.waiting and request.get(ASK_ISSUERS)):
        ask_issuers(self.app, parts.settings.issuers, intent)
    # While it only waits, the worker looks at it at once and then when something changes.
    raise Retry(step.store_error, when=0.0 if step.waiting else step.pause_ms / 1000)  # type: ignore[arg-type] # a float is a number


def intent_of(args: Sequence[object], kwargs: Mapping[str, object]) -> ExecuteIntent:
    """The intent in a message's arguments.

    Raises:
        InvalidIntent: there is none, or something else beside it.
    """
    if args or set(kwargs) != {"intent"}:
        found = json.dumps({"args": len(args), "kwargs": sorted(kwargs)[:10]})[:300]
        raise InvalidIntent(f"the task takes one keyword argument, intent; found {found}")
    return parse_intent(kwargs["intent"])
