"""Keeps a worker's threads on one core at a time: the one that others use least (`APPLY_ONE_CORE`, Linux).

One interpreter runs one thread at a time. Where its threads are spread over cores, each call to Redis hands it to
another core and waits for it to come back, tens of times per plan: bound to one, a worker drains half as many plans
again (docs/performance.md). Left to itself the kernel spreads them, because it sees the other cores idle.

`taskset` binds, too, but to a core that a person chose once, and all workers of a host to the same one.
"""

import os
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celery import bootsteps

from tasks import log
from tasks.settings import settings_of_process
from workers.checks import pool_name

#: Between two looks at what the cores are used for.
_EVERY_S: Final = 1.0

#: A core is left where another one is used by others by so much less, as a share of its time.
_CLEARLY: Final = 0.25

#: Cores that differ by less are equally good; without a choice at random all workers of a host would take the first.
_ALIKE: Final = 0.05


@dataclass(frozen=True)
class Usage:
    """Time used until a moment, in seconds: of each core by everybody, and by this process."""

    at_s: float
    cores_s: Mapping[int, float]
    own_s: float


def others(before: Usage, after: Usage, here: int | None) -> dict[int, float]:
    """What share of each core was used by others between two looks, while this process was bound to `here`.

    Where it was bound to none, it counts as one of the others.
    """
    span_s = after.at_s - before.at_s
    own_s = after.own_s - before.own_s
    return {
        core: max(0.0, used_s - before.cores_s[core] - (own_s if core == here else 0.0)) / span_s
        for core, used_s in after.cores_s.items()
        if core in before.cores_s
    }


def freest(used: Mapping[int, float], here: int | None) -> list[int]:
    """The cores to choose from: `here` alone, unless others use it clearly more than another one."""
    least = min(used.values())
    if here is not None and here in used and used[here] <= least + _CLEARLY:
        return [here]
    return [core for core, share in used.items() if share <= least + _ALIKE]


def usage(cores: set[int]) -> Usage:
    """Usage of these cores until now; time that a hypervisor gave to others counts as used.

    Raises:
        OSError, ValueError: the system does not tell.
    """
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found = {}
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
            user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, counts[:8])
            found[int(name[3:])] = tick_s * (user + nice + system + irq + softirq + stolen)
    return Usage(time.monotonic(), found, time.process_time())


class Keeper:
    """Binds every thread of this process to one core, and moves them together."""

    def __init__(self) -> None:
        self._allowed = os.sched_getaffinity(0)
        self._here: int | None = None
        self._before: Usage | None = None

    def look(self) -> None:
        """Once a second: choose a core, or stay; does nothing where there is no choice, or the system forbids it."""
        bound = os.sched_getaffinity(0)
        if self._here is not None and bound != {self._here}:
            # Somebody else has a say in it, and wins.
            self._allowed, self._here, self._before = bound, None, None
        if len(self._allowed) < 2:  # noqa: PLR2004 - nothing to choose from
            return
        try:
            now, before = usage(self._allowed), self._before
            self._before = now
            used = others(before, now, self._here) if before else {}
            core = self._choose(used) if used else self._here
            if core is None:
                return
            # Also where it stays: a thread may just have been started by one that was not bound yet.
            _bind({core})
            if core != self._here:
                log.log_core(core, sorted(self._allowed))
                # Of the second in which it moved nobody can tell what it used where.
                self._here, self._before = core, None
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _choose(self, used: Mapping[int, float]) -> int:
        # Two workers on one core would move away from it together, and meet on the next: one of two stays.
        if self._here is not None and random.random() < 0.5:  # noqa: PLR2004, S311 - one of two; no secret
            return self._here
        return random.choice(freest(used, self._here))  # noqa: S311 - no secret

    def _give_up(self, error: Exception) -> None:
        # A core that was taken away is refused: what is left of those that were allowed is not.
        with suppress(OSError):
            _bind(self._allowed)
        log.log_core_unbound(str(error))
        self._allowed, self._here = set(), None


def _bind(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


class OneCore(bootsteps.StartStopStep):
    """Looks after the core of a worker that is to keep to one."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own interface
        super().__init__(parent, **options)
        self._entry: Any = None

    def include_if(self, parent: Any) -> bool:  # noqa: ANN401 - as above
        """Whether that was asked for."""
        _ = parent
        return settings_of_process().one_core

    def start(self, parent: Any) -> None:  # noqa: ANN401 - as above
        """Look once a second for ever; says so where there is nothing to look after."""
        pool = pool_name(parent.pool_cls)
        if pool != "threads":
            log.log_core_unbound(f"the {pool} pool has no threads that share an interpreter")
        elif not hasattr(os, "sched_setaffinity"):
            log.log_core_unbound("this system binds no threads to cores")
        elif len(os.sched_getaffinity(0)) == 1:
            log.log_core_unbound("this process may use one core only: there is nothing to choose")
        else:
            keeper = Keeper()
            keeper.look()
            self._entry = parent.timer.call_repeatedly(_EVERY_S, keeper.look)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - as above
        """Stop looking; the threads stay where they are."""
        _ = parent
        if self._entry is not None:
            self._entry.cancel()

    terminate = stop
