"""`/metrics` on the worker: what happened is counted in its main process, and shown at `APPLY_METRICS_ADDRESS`.

Threads and solo count directly. Children of the prefork pool send each fact through a pipe, in one write that cannot be
torn and never waits: a killed child leaves nothing locked and nothing stale behind, which files shared between
processes would. The port opens after the fork; a scrape runs on a thread of its own.
"""

import json
import os
from collections.abc import Callable
from threading import Thread
from typing import Any, Final

from celery import bootsteps

from tasks import observed
from tasks.address import HostPort
from tasks.parts import parts_of_process
from tasks.settings import settings_of_process

_READ_BYTES: Final = 65_536
_STOP: Final = b"\n"


class Pipe:
    """Facts on their way from pool children to the main process, one line of JSON each."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        # Shared with every child: a full pipe drops facts, it never stops a plan.
        os.set_blocking(self._in, False)
        self._dropped = 0

    def send(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Pass one fact on, from a child; lines are far below PIPE_BUF, so that none is torn."""
        if self._dropped and self._written("metrics_dropped", (), self._dropped):
            self._dropped = 0
        if not self._written(name, labels, value):
            self._dropped += 1

    def _written(self, name: str, labels: tuple[str, ...], value: float) -> bool:
        try:
            os.write(self._in, json.dumps((name, labels, value)).encode() + b"\n")
        except OSError:
            return False
        return True

    def read(self, count: observed.Count) -> None:
        """Count what comes, until `stop`."""
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._out, _READ_BYTES)).split(b"\n")
            for line in lines:
                if not line:
                    return
                name, labels, value = json.loads(line)
                count(name, tuple(labels), value)

    def stop(self) -> None:
        """End `read`; a full pipe has it busy, and lets go in a moment."""
        os.set_blocking(self._in, True)
        os.write(self._in, _STOP)

    def close(self) -> None:
        """Free both ends in this process."""
        os.close(self._out)
        os.close(self._in)


#: What a forked child has to do, and in which process it was made; None where there is nothing.
_in_child: tuple[int, Callable[[], None]] | None = None


def forked() -> None:
    """In a new process of the pool: from now on its facts go to the main process. Elsewhere nothing changes."""
    if _in_child is not None and os.getpid() != _in_child[0]:
        _in_child[1]()


class Exporter(bootsteps.StartStopStep):
    """The figures of one worker and their page. After the pool: no child inherits the page's thread or its lock."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own interface
        super().__init__(parent, **options)
        address = settings_of_process().metrics_address
        self.enabled = bool(address)
        if not self.enabled:
            return
        # A worker without figures need not load them.
        from workers.figures import Figures  # noqa: PLC0415 - see above
        from workers.reading import Reading  # noqa: PLC0415 - see above

        self._address = HostPort.parse(address)
        self._figures = Figures(Reading(parent, parts_of_process))
        self._pipe = Pipe()
        self._reader: Thread | None = None
        self._close: Callable[[], None] | None = None
        observed.by(self._figures.count)
        # Before the pool forks: children inherit the pipe, and this.
        global _in_child  # noqa: PLW0603 - one worker per process
        _in_child = (os.getpid(), lambda: observed.by(self._pipe.send))

    def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own interface
        """Open the page."""
        self._reader = Thread(target=self._pipe.read, args=(self._figures.count,), name="metrics-pipe", daemon=True)
        self._reader.start()
        self._close = self._figures.serve(self._address)

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own interface
        """Close it; the last facts of this worker are lost with it, as with every worker that ends."""
        observed.by(None)
        if self._close:
            self._close()
            self._close = None
        if self._reader:
            self._pipe.stop()
            self._reader.join()
            self._reader = None

    terminate = stop
