"""What others are told about a plan: Celery's events, `celery inspect`, and Flower, which shows both.

A plan that we block is a task that succeeded: it did its work, and its result says BLOCKED. Told so, every dashboard
shows it in green. So a plan's end is an event named after its decision, and dashboards, which show the event they
do not know as a state of that name, tell them apart without being taught.

What is told of a message is what names its plan, never what else a client put in: events and `inspect` reach whoever
may look, and a client may have sent more than we read.
"""

import re
from typing import Any, Final

from celery.worker.request import Request as StockRequest

from tasks.intent import shown

#: What a plan's end is called where no order was placed. Celery's own `task-rejected` means a message thrown away, and
#: ranks below `task-started`. An order that nobody knows about is the one end at which somebody must look: it fails.
ENDS: Final = {"BLOCKED": "task-blocked", "REJECTED": "task-venue-rejected", "UNKNOWN": "task-failed"}

# The result as Celery's pool hands it over: its text, cut after 1024 characters.
_FACTS: Final = re.compile(
    r"\{'decision': '([A-Z]+)', 'reason': '(\w*)', 'plan_id': '[\w-]*', 'symbol': '\w*', 'executed': (True|False)"
)


def end_of(result: object) -> tuple[str, dict[str, Any]]:
    """The event that tells of an outcome, given as the text of the task's result, and what it says besides.

    `task-succeeded` means that an order was accepted, and nothing else does. A text that is no outcome is `task-ended`.
    """
    found = _FACTS.match(result) if isinstance(result, str) else None
    if found is None:
        return "task-ended", {}
    decision, reason, executed = found.groups()
    if decision == "EXECUTE":
        return "task-succeeded" if executed == "True" else "task-dry-run", {}
    more = {"exception": f"OrderUnknown({reason!r})", "traceback": ""} if decision == "UNKNOWN" else {}
    return ENDS.get(decision, "task-ended"), more


class Told(StockRequest):
    """A message as others are told of it.

    The parking lot sends `task-waiting` while permits are missing, `task-held` while there is another reason to wait:
    another attempt has the plan, its order is looked up, or Redis did not answer.
    """

    def __init__(self, message: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(message, **options)
        # Not the sender's headers: they hold whatever the sender wrote, or are missing.
        self._argsrepr = "(…)" if self.args else "()"
        self._kwargsrepr = shown(self.kwargs.get("intent") if isinstance(self.kwargs, dict) else None)

    def info(self, safe: bool = False) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002 - Celery's own signature
        """What `celery inspect` shows."""
        return super().info(safe=True)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002, ANN401 - Celery's own signature
        """Send an event, where somebody watches."""
        if type == "task-succeeded":
            type, more = end_of(fields.get("result"))  # noqa: A001 - as above
            fields |= more
        super().send_event(type, **fields)
