"""A sign of life of every permit issuer whose queue this worker reads, for `status` and `doctor`."""

from typing import Any, Final

from celery import Celery, bootsteps

from tasks import log
from tasks.errors import StoreUnavailable
from tasks.issuers import TASKS
from tasks.parts import Parts, parts_of_process

#: Seconds between two signs, and until one is too old: a worker may miss two.
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


class Heartbeat(bootsteps.StartStopStep):
    """Beats from the worker's main process, on its own timer: it also beats while the pool is busy."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own interface
        super().__init__(parent, **options)
        self._entry: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Beat now and then for ever."""
        issuers = reads(parent.app)
        if issuers:
            arguments = (parts_of_process(), issuers, parent.hostname)
            beat(*arguments)
            self._entry = parent.timer.call_repeatedly(EVERY_S, beat, arguments)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Stop beating; the last sign expires by itself."""
        _ = parent
        if self._entry is not None:
            self._entry.cancel()
