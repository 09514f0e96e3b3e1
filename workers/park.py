"""Waiting without moving: a plan whose permits are missing stays in this worker as the unacknowledged message it is.

Nothing is published while a plan waits, so nothing can be lost or doubled between two messages, and a wait costs
one timer. On arrival, and whenever something about a waiting plan may have changed, the plan is *looked* at from
the event loop, many plans in one round trip; a task attempt starts only where it can end the wait.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from time import monotonic
from typing import Any, Final

from celery.worker import state as _state

from tasks import log, observed
from tasks.attempt import appraise
from tasks.consume import Answer, Busy
from tasks.errors import StoreUnavailable
from tasks.execute import ASK_ISSUERS, SEEN, intent_of
from tasks.intent import ExecuteIntent
from tasks.judge import Stands
from tasks.parts import Parts

#: Celery's type stubs do not know everything in there.
state: Any = _state

#: Plans parked in one worker at most; beyond it messages wait in the broker (`make bench` tells bytes per plan).
MOST_PARKED: Final = 20_000

#: Of the messages that a worker may hold, one in so many may wait for its acknowledgement without waking the loop.
_HELD_BACK: Final = 8

#: A plan of which a permit is still missing is looked at together with the next that arrive, but within this time: it
#: can only end in a refusal.
_UNHURRIED_S: Final = 0.02


class Parked:
    """One waiting message: `entry` is its timer while it is held, `deadline` when its wait is over (monotonic).

    `missing`: the permits that were missing when it was looked at, without those that were written since.
    """

    __slots__ = ("deadline", "entry", "intent", "missing", "request")

    def __init__(self, request: Any, intent: ExecuteIntent) -> None:  # noqa: ANN401 - Celery's, untyped
        self.request = request
        self.intent = intent
        self.entry: Any = None
        self.deadline: float | None = None
        self.missing: frozenset[str] = frozenset()

    def stop_timer(self) -> None:
        """Cancel its timer and let go of it.

        Cancelled, it stays in Celery's heap until its time, and all that it was given with it: memory, an entry of
        `inspect scheduled`, and a cycle that only the garbage collector ends (70 ms at 250 plans a second, measured).
        """
        self.entry.cancel()
        self.entry.args = ()
        self.request._eta_timer_entry = self.entry = None  # noqa: SLF001 - see `Lot._hold`


class Lot:
    """The parked plans of one connection. Everything here runs on the thread of the event loop.

    A lost connection drops the lot: Celery cancels its timers, the broker delivers the messages again, and the next
    connection has a lot of its own.
    """

    def __init__(self, consumer: Any, parts: Parts) -> None:  # noqa: ANN401 - Celery's, untyped
        self._consumer = consumer
        self._parts = parts
        self._arrived: list[Any] = []
        # The same plan can be here twice: two messages of one plan both wait for its outcome.
        self._parked: dict[str, list[Parked]] = {}
        self._count = 0
        # Those that the next look takes along.
        self._unhurried: dict[Parked, None] = {}
        self._unhurried_since = 0.0
        self._unhurried_entry: Any = None
        # Messages whose plans have ended, told by whatever thread the pool reports on.
        self._ended: deque[Any] = deque()
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def arrive(self, request: Any) -> None:  # noqa: ANN401 - Celery's, untyped
        """Take a new message; it is looked at together with all others of this turn of the event loop."""
        if not self._arrived:
            self._consumer.call_soon(self._look_at_arrived)
        self._arrived.append(request)

    def from_pool(self, request: Any, pause_s: float) -> None:  # noqa: ANN401 - Celery's, untyped
        """`take_back`, from whatever thread the pool reports on."""
        self._consumer.call_soon(self.take_back, request, pause_s)

    def take_back(self, request: Any, pause_s: float) -> None:  # noqa: ANN401 - Celery's, untyped
        """Take a message whose attempt could not end the wait, and look again after `pause_s`.

        A pause of 0 looks at once: a permit may have arrived between that attempt's look and now.
        """
        parked = _readable(request)
        if parked is None:
            # It could not be recorded; the next attempt tries again.
            self._consumer.timer.call_after(pause_s, self._consumer.apply_eta_task, (request,))
            self._consumer.qos.increment_eventually()
            return
        if pause_s > 0:
            self._hold(parked, pause_s)
        else:
            self._look([parked])

    def heard(self, written: Mapping[str, Collection[str]]) -> None:
        """Something was written about these plans: permits by name, or "" for another thing.

        Where a permit is still missing there is no hurry.
        """
        hurried = []
        for plan_id, names in written.items():
            for parked in self._parked.get(plan_id, ()):
                parked.missing = parked.missing.difference(names)
                if parked.missing and "" not in names:
                    self._put_off(parked)
                else:
                    hurried.append(parked)
        self._look(hurried)

    def changed(self, plan_ids: Iterable[str]) -> None:
        """Look at these plans now, where they are parked."""
        self._look([parked for plan_id in plan_ids for parked in self._parked.get(plan_id, ())])

    def changed_all(self) -> None:
        """Look at every parked plan now."""
        self.changed(tuple(self._parked))

    def end(self, request: Any) -> None:  # noqa: ANN401 - Celery's, untyped
        """Acknowledge a message with the next turn of the event loop; from any thread.

        Celery wakes the loop for each, and the loop then competes with the attempts for the interpreter. It is woken
        only where messages would soon be missed: when an eighth of what this worker may hold waits.
        """
        self._ended.append(request)
        if self._closed or len(self._ended) * _HELD_BACK > (self._consumer.initial_prefetch_count or 1):
            self._consumer.call_soon(self.settle)

    def close(self) -> None:
        """No turn follows: what ends from now on is acknowledged as Celery would."""
        self._closed = True
        self._unhurried.clear()
        self.settle()

    def settle(self) -> None:
        """Acknowledge every message whose plan has ended."""
        while self._ended:
            request = self._ended.popleft()
            # A broker that is gone delivers it again, and its plan answers that it has ended.
            request.message.ack_log_error(log.logger, self._consumer.connection_errors)

    def give_back(self) -> None:
        """Return every message that waits here to its queue, for another worker to take while this one ends.

        Celery does so after the last attempt in the pool has ended, which may be seconds: longer than most waits.
        """
        waiting = [parked.request for several in self._parked.values() for parked in several]
        self._arrived, waiting = [], [*self._arrived, *waiting]
        self._parked.clear()
        self._unhurried.clear()
        for request in waiting:
            # A broker that is gone gives them back itself, or to the next one who restores them.
            request.message.reject_log_error(log.logger, self._consumer.connection_errors, requeue=True)

    def _look_at_arrived(self) -> None:
        requests, self._arrived = self._arrived, []
        waiting = []
        for request in requests:
            parked = _readable(request)
            if parked:
                waiting.append(parked)
            else:
                self._consumer.on_task_request(request)
        self._look([*waiting, *self._unhurried])

    def _put_off(self, parked: Parked) -> None:
        if not self._unhurried:
            self._unhurried_since = monotonic()
        self._unhurried[parked] = None
        if self._unhurried_entry is None:
            self._unhurried_entry = self._consumer.timer.call_after(_UNHURRIED_S, self._look_at_unhurried)

    def _look_at_unhurried(self) -> None:
        self._unhurried_entry = None
        left_s = self._unhurried_since + _UNHURRIED_S - monotonic()
        if self._unhurried and left_s > 0:
            # Those of then were taken along: these are younger.
            self._unhurried_entry = self._consumer.timer.call_after(left_s, self._look_at_unhurried)
        else:
            self._look([*self._unhurried])

    def _look(self, waiting: list[Parked]) -> None:
        if not waiting:
            return
        for parked in waiting:
            self._unhurried.pop(parked, None)
        looks = [(parked.intent, self._parts.token()) for parked in waiting]
        answers = self._parts.gate.look_many(looks)
        for parked, (_, token), answer in zip(waiting, looks, answers, strict=True):
            self._looked(parked, token, answer)

    def _looked(self, parked: Parked, token: str, answer: Answer | StoreUnavailable) -> None:
        request, issuers = parked.request.request_dict, bool(self._parts.settings.issuers)
        if isinstance(answer, StoreUnavailable):
            # An attempt finds out, and says so. That look may have taken the plan up, unheard: nobody else would
            # ask the issuers. Asking twice is harmless, each answers a plan once. Not where this message's plan
            # was seen before.
            request[SEEN] = None
            if issuers:
                request.setdefault(ASK_ISSUERS, parked.deadline is None)
            self._run(parked)
            return
        if isinstance(answer, Busy):
            # Another attempt has it: nothing to do until its lease is over, and then it is for an attempt.
            request[SEEN] = parked.deadline = None
            parked.missing = frozenset()
            if answer.lease_left_ms > 0:
                self._hold(parked, self._parts.wait.busy_pause_ms(answer.lease_left_ms) / 1000)
            else:
                self._run(parked)
            return
        request[SEEN] = seen = appraise(self._parts, parked.intent, token, answer)
        if isinstance(answer, Stands) and answer.first:
            observed.count("taken_up")
        if not isinstance(answer, Stands) or not seen.missing:
            self._run(parked)
        elif issuers and (answer.first or request.get(ASK_ISSUERS)):
            request[ASK_ISSUERS] = True
            self._run(parked)
        else:
            left_s = self._parts.wait.verdict_after_ms(answer.left_ms) / 1000
            parked.deadline, parked.missing = monotonic() + left_s, seen.missing
            self._hold(parked, left_s)

    def _due(self, request: Any, parked: Parked) -> None:  # noqa: ANN401 - the request is for `inspect scheduled`
        if parked.deadline is not None and monotonic() >= parked.deadline:
            # What was seen last is history now.
            request.request_dict[SEEN] = None
            self._run(parked)
        else:
            self._look([parked])

    def _hold(self, parked: Parked, for_s: float) -> None:
        request = parked.request
        if parked.entry is None:
            self._parked.setdefault(parked.intent.plan_id, []).append(parked)
            self._count += 1
            request.send_event("task-waiting" if parked.deadline else "task-held")
            state.reserved_requests.discard(request)
            if self._count <= MOST_PARKED:
                # A parked message must not count against the prefetch limit, or 32 of them would starve all others.
                self._consumer.qos.increment_eventually()
        else:
            parked.stop_timer()
        # Celery cancels `_eta_timer_entry` of every scheduled request when the connection is lost.
        request._eta_timer_entry = parked.entry = self._consumer.timer.call_after(  # noqa: SLF001 - see above
            for_s, self._due, (request, parked), priority=6
        )
        state.task_scheduled(request)

    def _run(self, parked: Parked) -> None:
        self._unhurried.pop(parked, None)
        if parked.entry is not None:
            parked.stop_timer()
            others = self._parked[parked.intent.plan_id]
            others.remove(parked)
            if not others:
                del self._parked[parked.intent.plan_id]
            if self._count <= MOST_PARKED:
                self._consumer.qos.decrement_eventually()
            self._count -= 1
            state.task_reserved(parked.request)
        try:
            self._consumer.on_task_request(parked.request)
        except RuntimeError as error:
            # The pool is closed while a cold stop ends the loop: the message goes back as it is.
            log.log_not_started(parked.intent.plan_id, error)


def _readable(request: Any) -> Parked | None:  # noqa: ANN401 - Celery's, untyped
    """The plan in a message; None where there is none: an attempt refuses it, and says why."""
    try:
        return Parked(request, intent_of(request.args, request.kwargs))
    except Exception:  # noqa: BLE001 - whatever is in there, it must not keep its neighbours from being looked at
        return None
