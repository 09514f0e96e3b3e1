"""What is broken when: a seed and a length give one list of timed actions, always the same one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from random import Random
from typing import Final

#: The site of producers and issuers, beside the workers; each site reaches the servers through relays of its own.
CLIENTS: Final = "clients"

#: Part of a run, at its beginning and at its end, in which nothing is broken: there are plans to be lost first.
_QUIET: Final = 0.03


class Kind(StrEnum):
    """A way to break something; the words are those of the printed schedule."""

    KILL = "kill -9"
    KILL_MAIN = "kill -9 main"
    KILL_CHILD = "kill -9 child"
    STOP = "TERM"
    QUIT = "QUIT"
    FREEZE = "freeze"
    RESTART_STORE = "kill -9 store"
    RESTART_BROKER = "kill -9 broker"
    FREEZE_STORE = "freeze store"
    FREEZE_BROKER = "freeze broker"
    CUT_BROKER = "cut broker"
    HALF_OPEN_BROKER = "half-open broker"
    CUT_STORE = "cut store"
    HALF_OPEN_STORE = "half-open store"
    STALE_BROKER = "stale broker"
    STALE_STORE = "stale store"
    DROP_BROKER_REPLIES = "drop broker replies"
    DROP_STORE_REPLIES = "drop store replies"
    FLUSH_SCRIPTS = "SCRIPT FLUSH"
    KILL_CLIENTS = "CLIENT KILL"
    FILL_STORE = "fill store"
    FILL_BROKER = "fill broker"
    SWITCH = "kill switch"
    RESTART_VENUE = "kill -9 venue"
    FREEZE_VENUE = "freeze venue"


@dataclass(frozen=True)
class Action:
    """One thing to break.

    Attributes:
        at_s: seconds after the start of the run.
        target: a worker, a site, or "" where the kind says it all.
        for_s: how long it stays broken; 0 for what is over at once.
        late: what was held back meanwhile is delivered afterwards, instead of being lost with its connection.
    """

    at_s: float
    kind: Kind
    target: str = ""
    for_s: float = 0.0
    late: bool = False

    def __str__(self) -> str:
        parts = [f"{self.at_s:7.2f} s  {self.kind}", self.target, f"for {self.for_s:.2f} s" if self.for_s else ""]
        return " ".join(part for part in [*parts, "then late" if self.late else ""] if part)


@dataclass(frozen=True)
class _Rate:
    """How often a kind comes, and how long it lasts, seconds from and to."""

    per_minute: float
    for_s: tuple[float, float] = (0.0, 0.0)


#: About one action in two seconds: more, and no plan would come through; CONTRACT and issue want 5 kills a minute,
#: one restart of the server in two minutes, one cut in two.
RATES: Final = {
    Kind.KILL: _Rate(5),
    Kind.KILL_MAIN: _Rate(2),
    Kind.KILL_CHILD: _Rate(2),
    Kind.STOP: _Rate(1),
    Kind.QUIT: _Rate(1),
    Kind.FREEZE: _Rate(3, (0.3, 12.0)),
    Kind.RESTART_STORE: _Rate(1, (0.0, 1.5)),
    Kind.RESTART_BROKER: _Rate(1, (0.0, 1.5)),
    Kind.FREEZE_STORE: _Rate(1, (0.2, 2.0)),
    Kind.FREEZE_BROKER: _Rate(1, (0.2, 2.0)),
    Kind.CUT_BROKER: _Rate(1, (0.3, 4.0)),
    Kind.HALF_OPEN_BROKER: _Rate(1, (0.5, 6.0)),
    Kind.CUT_STORE: _Rate(2, (0.3, 6.0)),
    Kind.HALF_OPEN_STORE: _Rate(2, (0.3, 6.0)),
    Kind.STALE_BROKER: _Rate(2),
    Kind.STALE_STORE: _Rate(1),
    Kind.DROP_BROKER_REPLIES: _Rate(1, (0.2, 1.0)),
    Kind.DROP_STORE_REPLIES: _Rate(2, (0.1, 1.0)),
    Kind.FLUSH_SCRIPTS: _Rate(2),
    Kind.KILL_CLIENTS: _Rate(3),
    Kind.FILL_STORE: _Rate(1, (0.2, 1.0)),
    Kind.FILL_BROKER: _Rate(1, (0.2, 1.0)),
    Kind.SWITCH: _Rate(1, (0.2, 1.0)),
    Kind.RESTART_VENUE: _Rate(1, (0.0, 3.0)),
    Kind.FREEZE_VENUE: _Rate(1, (0.2, 4.0)),
}

#: Kinds that hit one worker.
_ONE_WORKER: Final = (Kind.KILL, Kind.KILL_MAIN, Kind.STOP, Kind.QUIT, Kind.FREEZE)
#: Kinds that hit one site's way to a server; producers and issuers have one too.
_ONE_SITE: Final = (
    Kind.CUT_STORE,
    Kind.HALF_OPEN_STORE,
    Kind.HALF_OPEN_BROKER,
    Kind.STALE_BROKER,
    Kind.STALE_STORE,
    Kind.DROP_BROKER_REPLIES,
    Kind.DROP_STORE_REPLIES,
)
_MAY_DELIVER_LATE: Final = (Kind.HALF_OPEN_STORE, Kind.HALF_OPEN_BROKER)


def make_schedule(seed: str, seconds: float, workers: Sequence[str], forking: Sequence[str]) -> tuple[Action, ...]:
    """The actions of a run in order of time; every kind comes at least once. `forking` are the prefork workers."""
    random = Random(f"{seed}:schedule")
    actions = [
        _action(random, kind, at_s, workers, forking)
        for kind, rate in RATES.items()
        for at_s in _moments(random, ceil(rate.per_minute * seconds / 60), seconds)
    ]
    return tuple(sorted(actions, key=lambda action: action.at_s))


def _moments(random: Random, number: int, seconds: float) -> Iterable[float]:
    """One moment in each of `number` equal parts of the run: each kind is spread over all of it."""
    first, width = _QUIET * seconds, (1 - 2 * _QUIET) * seconds / number
    return (round(first + (part + random.random()) * width, 2) for part in range(number))


def _action(random: Random, kind: Kind, at_s: float, workers: Sequence[str], forking: Sequence[str]) -> Action:
    targets: Sequence[str] = ("",)
    if kind in _ONE_WORKER:
        targets = workers
    elif kind in _ONE_SITE:
        targets = (*workers, CLIENTS)
    elif kind is Kind.KILL_CHILD:
        targets = forking
    elif kind is Kind.KILL_CLIENTS:
        targets = ("store", "broker")
    late = kind in _MAY_DELIVER_LATE and random.random() < 0.5
    return Action(at_s, kind, random.choice(targets), round(random.uniform(*RATES[kind].for_s), 2), late)
