"""Signs of life, for `status`, `ready`, `doctor` and metrics: of this worker, and of every issuer that runs in it.

They come from the event loop of the worker's main process: they also come while the pool is busy, and they stop when
the loop hangs.
"""

import os
import time
from importlib.metadata import version
from typing import Any, Final

import celery
import redis
from celery import Celery, bootsteps
from celery.worker import state as _state

from tasks import life, log
from tasks.errors import StoreUnavailable
from tasks.issuers import TASKS
from tasks.parts import Parts, parts_of_process
from tasks.settings import in_force
from workers.checks import pool_name

#: Celery's type stubs do not know everything in there.
state: Any = _state

#: Seconds between two signs of an issuer, and until one is too old: a worker may miss two.
EVERY_S: Final = 5.0
LIFE_S: Final = 16


def reads(app: Celery) -> tuple[str, ...]:
    """The issuers whose queues this worker consumes."""
    queues = set(app.amqp.queues.consume_from)
    return tuple(issuer for issuer, (_, queue) in TASKS.items() if queue in queues)


def beat(parts: Parts, issuers: tuple[str, ...], hostname: str) -> None:
    """Write one sign of life per issuer; a Redis that does not answer is the gate's to report, not ours."""
    for issuer in issuers:
        try:
            parts.store.note(parts.gate.keys.heartbeat(issuer), hostname, LIFE_S)
        except StoreUnavailable as error:
            log.log_silent(issuer, error)
            return


class Sign:
    """What this worker says about itself; made once, given every few seconds."""

    def __init__(self, worker: Any, parts: Parts) -> None:  # noqa: ANN401 - Celery's, untyped
        self._worker, self._parts = worker, parts
        self._started_ms = _now_ms()
        self._config = in_force(parts.settings, parts.governor, parts.position)
        self._kombu = version("kombu")
        self._silent = False

    @property
    def _keys(self) -> list[str]:
        keys = self._parts.gate.keys
        return [keys.worker(self._worker.hostname), keys.workers]

    def give(self) -> None:
        """Tell Redis; where it does not answer, say so once."""
        now_ms, told = _now_ms(), self._life().fields()
        memory = [life.LIFE_MS, life.MEMORY_MS, life.MOST_REMEMBERED]
        try:
            # Not sent again where its reply is lost: the event loop has better things to wait for.
            self._parts.store.run(
                "sign_of_life", self._keys, [self._worker.hostname, now_ms, *memory, *told], resend=False
            )
        except StoreUnavailable as error:
            if not self._silent:
                log.log_no_sign(self._worker.hostname, error)
            self._silent = True
        else:
            self._silent = False

    def take_back(self) -> None:
        """A worker that stops in order is not missed."""
        worker, workers = self._keys
        self._parts.store.forget(worker, workers, self._worker.hostname)

    def _life(self) -> life.Life:
        worker = self._worker
        consumer = getattr(worker, "consumer", None)
        watch = getattr(consumer, "permit_watch", None)
        return life.Life(
            hostname=worker.hostname,
            pid=os.getpid(),
            version=life.own_version(),
            celery=celery.__version__,
            pool=pool_name(worker.pool_cls),
            concurrency=worker.concurrency,
            queues=tuple(worker.app.amqp.queues.consume_from),
            config=self._config,
            parked=len(getattr(consumer, "permit_lot", ())),
            running=len(state.active_requests),
            watch="starting" if watch is None else "alive" if watch.alive else "blind",
            watch_since_ms=0 if watch is None else _now_ms() - int(watch.for_s * 1000),
            started_ms=self._started_ms,
            kombu=self._kombu,
            redis_py=redis.__version__,
            root="yes" if os.geteuid() == 0 else "no",
            events="yes" if getattr(getattr(consumer, "event_dispatcher", None), "enabled", False) else "no",
        )


def _now_ms() -> int:
    return int(time.time() * 1000)


class Heartbeat(bootsteps.StartStopStep):
    """Beats from the worker's main process, on its own timer."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own interface
        super().__init__(parent, **options)
        self._entries: list[Any] = []
        self._sign: Sign | None = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Beat now and then for ever."""
        parts, issuers = parts_of_process(), reads(parent.app)
        self._sign = Sign(parent, parts)
        self._repeat(parent.timer, life.EVERY_S, self._sign.give)
        if issuers:
            self._repeat(parent.timer, EVERY_S, beat, parts, issuers, parent.hostname)

    def _repeat(self, timer: Any, every_s: float, give: Any, *arguments: Any) -> None:  # noqa: ANN401 - as above
        give(*arguments)
        self._entries.append(timer.call_repeatedly(every_s, give, arguments))

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Stop beating; an issuer's last sign expires by itself."""
        _ = parent
        for entry in self._entries:
            entry.cancel()
        if self._sign is not None:
            self._sign.take_back()

    terminate = stop
