"""The workers of a run, each started again when it has ended, as a service manager does it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from signal import SIGTERM
from threading import Event, Thread
from typing import Final

from tests.chaos.unit import STOP_WITHIN_S, Unit

_POLL_S: Final = 0.1
#: What systemd waits by default before it starts a service again.
_RESTART_AFTER_S: Final = 0.1
#: Of all workers at the start, on a machine where everything runs at once.
READY_WITHIN_S: Final = 60.0


class Fleet:
    """Keeps every unit running until `stop`; `counts` tells how often it had to."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units: Final = tuple(units)
        self.counts: Final[Counter[str]] = Counter()
        self._ending = Event()
        self._thread = Thread(target=self._look_after, name="fleet", daemon=True)

    @property
    def by_name(self) -> Mapping[str, Unit]:
        """Every unit."""
        return {unit.name: unit for unit in self.units}

    def start(self) -> None:
        """Start all, return when they take messages, and look after them from then on.

        Raises:
            TimeoutError: one was not ready in `READY_WITHIN_S`; its last lines are in the message.
        """
        for unit in self.units:
            unit.start()
        self.await_ready()
        self._thread.start()

    def await_ready(self) -> None:
        """Return when all take messages.

        Raises:
            TimeoutError: as `start`.
        """
        give_up = time.monotonic() + READY_WITHIN_S
        while not_ready := [unit for unit in self.units if not unit.ready()]:
            if time.monotonic() > give_up:
                tail = "\n".join(list(not_ready[0].log_lines())[-40:])
                raise TimeoutError(f"{not_ready[0].name} is not ready after {READY_WITHIN_S} s:\n{tail}")
            time.sleep(_POLL_S)

    def living(self, name: str) -> Unit | None:
        """The unit of that name, or the next one, that takes messages and is not on its way out."""
        names = [unit.name for unit in self.units]
        first = names.index(name) if name in names else 0
        ring = self.units[first:] + self.units[:first]
        return next((unit for unit in ring if unit.ready() and not unit.stopping_since), None)

    def stop(self, before_each: Callable[[Unit], None] = lambda _: None) -> None:
        """End all warmly; return when they are gone."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        for unit in self.units:
            before_each(unit)
            unit.thaw()
            unit.signal(SIGTERM)
        for unit in self.units:
            unit.end()

    def kill(self) -> None:
        """End all at once."""
        self._ending.set()
        for unit in self.units:
            unit.kill()

    def _look_after(self) -> None:
        while not self._ending.wait(_POLL_S):
            for unit in self.units:
                if not unit.running():
                    self._ending.wait(_RESTART_AFTER_S)
                    self.counts["worker restarts"] += 1
                    unit.start()
                elif unit.stopping_since and time.monotonic() - unit.stopping_since > STOP_WITHIN_S:
                    self.counts["stops by force"] += 1
                    unit.kill()
