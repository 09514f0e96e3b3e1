"""How `tasks.execute` meets Celery's worker: its messages go to the parking lot first, its retries return there.

Two documented extension points of a task: `Strategy` (what happens to a message) and `Request` (what happens to
its result). Each override is guarded by a test that fails when upstream changes.
"""

from typing import Any, ClassVar, Final

from celery.exceptions import Ignore, Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.strategy import default as stock_strategy

from tasks import log
from tasks.execute import ASK_ISSUERS, SEEN, STORE_ERROR
from tasks.parts import parts_of_process
from workers.events import Told
from workers.park import Lot, state
from workers.results import ResultNotStored

#: What ends a task without being an error of it; Celery knows what each means for the message.
_NO_ERRORS: Final = (
    Retry,
    Reject,
    Ignore,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
    SystemExit,
    KeyboardInterrupt,
    MemoryError,
)

#: Pauses after attempts that ended in an error double from 1 s up to this: what fails must not starve what does not.
_LONGEST_PAUSE_S: Final = 16
#: So often an outcome is offered to the result backend again, over 15 s: later the broker would deliver it once more.
_MOST_UNTOLD: Final = 4


class _Entrance:
    """The consumer as the stock strategy sees it, except that a request goes to the lot instead of the pool."""

    def __init__(self, consumer: Any, lot: Lot) -> None:  # noqa: ANN401 - Celery's, untyped
        self._consumer = consumer
        self.on_task_request = lot.arrive

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the consumer has
        return getattr(self._consumer, name)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Any:  # noqa: ANN401 - Celery's own interface
    """Celery's default strategy, with the parking lot in front of the pool."""
    consumer.permit_lot = Lot(consumer, parts_of_process())
    Request.lot = consumer.permit_lot
    return stock_strategy(task, app, _Entrance(consumer, consumer.permit_lot), **options)


class Request(Told):
    """A message of `tasks.execute`: a retry takes it back into the lot, unacknowledged."""

    #: The lot of the consumer that is connected now; set by `strategy`.
    lot: ClassVar[Lot]
    #: Attempts that ended in an error.
    _failed = 0

    def acknowledge(self) -> None:
        """Replaces upstream's, which wakes the event loop for each message."""
        if not self.acknowledged:
            self.acknowledged = True
            self.lot.end(self)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002 - Celery's own signature
        """Extends upstream's, which acknowledges a message whose attempt ended in an error.

        The plan has no outcome then, or one that could not be kept as the task's result: it is looked at again. A
        backend that stays away is not waited for for ever: the outcome is in the plan's record.
        """
        # Wrapped in the threads pool, as in `on_retry`.
        errors = (exc_info.exception, getattr(exc_info.exception, "exc", None))
        if any(isinstance(error, _NO_ERRORS) for error in errors):
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
            return
        state.task_ready(self)
        self._failed += 1
        if self._failed > _MOST_UNTOLD and any(isinstance(error, ResultNotStored) for error in errors):
            log.log_untold(self.id, exc_info.exception)
            self.acknowledge()
        else:
            self._take_back(min(2 ** (self._failed - 1), _LONGEST_PAUSE_S))

    def on_retry(self, exc_info: Any) -> None:  # noqa: ANN401 - Celery's own signature
        """Instead of acknowledging a message whose successor was published: there is no successor."""
        # In the threads pool the exception arrives wrapped, and whatever this method raised would be swallowed.
        found: Any = exc_info.exception
        retry: Any = found if isinstance(found, Retry) else found.exc
        self.request_dict[STORE_ERROR] = retry.message or ""
        if not retry.when:
            # That attempt waits, so it has asked them; one that Redis did not answer has not.
            self.request_dict[ASK_ISSUERS] = False
        waits_for = "another attempt, or a lookup of the order" if retry.when else "permits are missing"
        self.send_event("task-retried", exception=retry.message or waits_for, traceback="")
        self._take_back(float(retry.when))

    def _take_back(self, pause_s: float) -> None:
        self.request_dict["retries"] = (self.request_dict.get("retries") or 0) + 1
        # A look is good for one attempt.
        self.request_dict[SEEN] = None
        self.lot.from_pool(self, pause_s)
