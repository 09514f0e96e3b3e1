"""Sends the load: with `submit()`, with a Celery client that knows none of our code, and raw into the queue."""

import time
from collections.abc import Callable
from typing import Any, Final

from celery import Celery

from tasks.address import RedisAddress
from tasks.errors import PlanConflict, StoreUnavailable
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.store import connect
from tasks.submit import submit
from tests.chaos.agenda import Agenda
from tests.chaos.issuers import Issuers
from tests.chaos.journal import Fate, Journal, Sent, now_ms
from tests.chaos.load import By, Conflict, Junk, Load, Plan, Send

_QUEUE: Final = "execute"
_TASK: Final = "tasks.execute"
#: A producer tries again until it is acknowledged, this long.
_GIVE_UP_AFTER_S: Final = 20.0
_PAUSE_S: Final = 0.25
#: A half-open broker must not hold a producer for ever.
_BROKER_OPTIONS: Final = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}


class BrokenWordError(Exception):
    """`submit()` raised what it does not promise to raise."""


class Producers:
    """Puts every sending of a load on the agenda, and notes what became of it."""

    def __init__(self, settings: Settings, journal: Journal, issuers: Issuers, agenda: Agenda) -> None:
        self._settings, self._journal, self._issuers, self._agenda = settings, journal, issuers, agenda
        self._app = Celery("chaos", broker=settings.effective_broker_url, set_as_current=False)
        self._app.conf.broker_transport_options = _BROKER_OPTIONS
        broker, store = (RedisAddress.parse(url) for url in (settings.effective_broker_url, settings.redis_url))
        self._queue = connect(broker, timeout_ms=2_000)
        self._store = connect(store, timeout_ms=2_000)
        self._keys = Keys(settings.namespace)

    def begin(self, load: Load) -> None:
        """Everything is sent at its time from now on."""
        for plan in load.plans:
            created = {"created_at": time.time() + plan.sends[0].at_s} if plan.dated else {}
            for send in plan.sends:
                self._agenda.after(send.at_s, self._sender(plan, send, plan.intent(**created)))
            # As services that hear of plans elsewhere: they judge it whether its message comes through or not.
            self._issuers.judge(plan, in_s=plan.sends[0].at_s)
        for conflict in load.conflicts:
            self._agenda.after(conflict.at_s, self._conflicter(conflict))
        for junk in load.junk:
            self._agenda.after(junk.at_s, self._junker(junk))

    def close(self) -> None:
        """Close every connection."""
        self._app.pool.force_close_all()  # type: ignore[attr-defined] # typed as the pool of producers
        self._app.close()
        self._queue.close()
        self._store.close()

    def _sender(self, plan: Plan, send: Send, intent: dict[str, Any]) -> Callable[[], None]:
        def act() -> None:
            if send.by == "submit":
                try:
                    submit(intent, app=self._app, settings=self._settings)
                except (StoreUnavailable, PlanConflict):
                    raise
                except Exception as error:
                    raise BrokenWordError(f"{type(error).__name__}: {error}") from error
            else:
                self._send_task({"intent": intent}, send.task_id)

        return lambda: self._until_acknowledged(send.task_id, plan.plan_id, send.by, act)

    def _conflicter(self, conflict: Conflict) -> Callable[[], None]:
        intent = {"plan_id": conflict.plan_id, "symbol": conflict.symbol, "action": conflict.action}

        def act() -> None:
            # Sent before the plan is known it would be the plan.
            if not self._store.hexists(self._keys.record(conflict.plan_id), "content"):
                raise StoreUnavailable("the plan is not known yet")
            self._send_task({"intent": intent | {"decision": "EXECUTE"}}, conflict.task_id)

        return lambda: self._until_acknowledged(conflict.task_id, conflict.plan_id, "plain", act)

    def _junker(self, junk: Junk) -> Callable[[], None]:
        def act() -> None:
            if junk.raw:
                self._queue.lpush(_QUEUE, junk.raw)
            else:
                self._send_task(junk.kwargs, junk.task_id)

        return lambda: self._until_acknowledged(junk.task_id, "", "plain", act)

    def _send_task(self, kwargs: dict[str, Any], task_id: str) -> None:
        self._app.send_task(_TASK, kwargs=kwargs, task_id=task_id, queue=_QUEUE)

    def _until_acknowledged(self, task_id: str, plan_id: str, by: By, act: Callable[[], None]) -> None:
        from_ms, give_up = now_ms(), time.monotonic() + _GIVE_UP_AFTER_S
        fate, said = Fate.UNKNOWN, ""
        while time.monotonic() < give_up:
            try:
                act()
            except (PlanConflict, BrokenWordError) as error:
                fate, said = Fate.REFUSED, str(error)
                break
            except Exception:  # noqa: BLE001 - kombu and redis-py raise errors of any kind while a connection ends
                time.sleep(_PAUSE_S)
            else:
                fate = Fate.ACKNOWLEDGED
                break
        self._journal.note_sent(Sent(task_id, plan_id, by, fate, from_ms, now_ms(), said))
