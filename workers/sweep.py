"""The sweep: brings plans to their end whose message or worker was lost. It asks Redis, never the broker."""

import json
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Final

from celery import bootsteps, states

from tasks import log, observed
from tasks.act import execute_once
from tasks.errors import InvalidIntent, StoreUnavailable
from tasks.intent import parse_intent
from tasks.outcome import Outcome, blocked_ending
from tasks.parts import Parts, parts_of_process
from tasks.reasons import Reason

#: An overdue plan is found within this time.
PERIOD_S: Final = 1.0

#: Plans read at once, oldest first.
_MOST: Final = 200

#: Orders that one worker looks up for others at the same time: a venue may keep each waiting for seconds.
LOOKUPS_AT_ONCE: Final = 8

Report = Callable[[Outcome], None]


def sweep_once(parts: Parts, report: Report, elsewhere: Callable[[str], None] | None = None) -> None:
    """Take every overdue plan one attempt further, and report those that have their outcome now.

    A plan that cannot be ended keeps no other from its end. Those whose order has to be looked up are handed to
    `elsewhere`, where given: it must not wait for the venue.

    Raises:
        StoreUnavailable: Redis gave no answer; the rest is for the next turn.
    """
    stuck = 0
    while plan_ids := parts.gate.overdue(_MOST, stuck):
        for plan_id in plan_ids:
            outcome = _try(parts, plan_id, report, elsewhere)
            if outcome is None:
                stuck += 1
                # Raises where it is not this plan, but Redis that does not answer.
                parts.store.now_s()


def _try(parts: Parts, plan_id: str, report: Report, elsewhere: Callable[[str], None] | None = None) -> Outcome | None:
    outcome = None
    try:
        record = parts.gate.record(plan_id)
        if elsewhere and record.get("state") == "consumed":
            elsewhere(plan_id)
            return None
        outcome = _end(parts, plan_id, record)
        if outcome:
            report(outcome)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this plan's
        log.log_sweep(plan_id, f"{type(error).__name__}: {error}")
    return outcome


def _end(parts: Parts, plan_id: str, record: dict[str, str]) -> Outcome | None:
    try:
        intent = parse_intent(json.loads(record.get("intent", "")))
    except (InvalidIntent, ValueError) as error:
        log.log_sweep(plan_id, f"cannot be read back: {error}")
        return None
    if record.get("state") == "registered":
        return _never_taken_up(parts, plan_id, intent.symbol)
    step = execute_once(parts, intent)
    return step if isinstance(step, Outcome) else None


def _never_taken_up(parts: Parts, plan_id: str, symbol: str) -> Outcome | None:
    # Its age is above the maximum by registration alone: it must not be taken up now.
    ending = blocked_ending(plan_id, symbol, Reason.PLAN_EXPIRED, "registered, and taken up by no worker in time")
    finished = parts.gate.finish(ending, parts.token(), "registered")
    if finished and finished.fresh:
        observed.ended(finished.outcome)
        log.log_block(finished.outcome, None, ending.detail)
    return finished.outcome if finished else None


class Lookers:
    """A few threads that look orders up, each plan in one of them at a time."""

    def __init__(self, parts: Callable[[], Parts], report: Report) -> None:
        self._parts, self._report = parts, report
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._in_hand: set[str] = set()
        self._stopped = False
        for _ in range(LOOKUPS_AT_ONCE):
            Thread(target=self._run, name="sweep-lookup", daemon=True).start()

    def take(self, plan_id: str) -> None:
        """Look this plan's order up soon; does not wait for it."""
        if plan_id not in self._in_hand:
            self._in_hand.add(plan_id)
            self._waiting.put(plan_id)

    def stop(self) -> None:
        """Begin no further lookup; waits for none."""
        self._stopped = True
        for _ in range(LOOKUPS_AT_ONCE):
            self._waiting.put(None)

    def _run(self) -> None:
        while (plan_id := self._waiting.get()) and not self._stopped:
            try:
                _try(self._parts(), plan_id, self._report)
            except Exception:  # noqa: BLE001 - logged with its traceback on the next line
                log.logger.exception("[SWEEP] failed")
            self._in_hand.discard(plan_id)


class Sweep(bootsteps.StartStopStep):
    """One thread in the main process of every worker. Workers need not agree: every end is one atomic step."""

    requires = ("celery.worker.components:Pool",)  # a thread before the fork would not be in the children

    def __init__(self, parent: Any, **_: Any) -> None:  # noqa: ANN401 - Celery's own signature
        self._ending = Event()
        self._thread: Thread | None = None
        self._lookers: Lookers | None = None
        self._app = parent.app

    def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own signature
        """Start the thread."""
        self._lookers = Lookers(parts_of_process, self._report)
        self._thread = Thread(target=self._run, args=(self._lookers.take,), name="sweep", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own signature
        """End the thread after the plan in hand."""
        self._ending.set()
        if self._thread:
            self._thread.join(PERIOD_S)
        if self._lookers:
            self._lookers.stop()

    terminate = stop

    def _run(self, elsewhere: Callable[[str], None]) -> None:
        while not self._ending.wait(PERIOD_S):
            try:
                parts_of_process().gate.meet_server()
                sweep_once(parts_of_process(), self._report, elsewhere)
            except StoreUnavailable as error:
                log.log_sweep("-", str(error))
            except Exception:  # noqa: BLE001 - logged with its traceback on the next line
                # A sweep that died would be missed only when it is needed.
                log.logger.exception("[SWEEP] failed")

    def _report(self, outcome: Outcome) -> None:
        observed.count("sweep_endings", outcome.decision, outcome.reason or "-")
        self._app.backend.store_result(outcome.plan_id, outcome.as_result(), states.SUCCESS)
