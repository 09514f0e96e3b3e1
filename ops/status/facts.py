"""Everything that `status` and `ready` know, gathered from Redis in two round trips."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasks.issuers import TASKS
from tasks.judge import SWITCH_OFF
from tasks.keys import Keys
from tasks.life import Life
from tasks.settings import Settings, in_force
from tasks.stats import Stats, read_stats
from tasks.store import Store

#: Settings that name the same place in other words on another machine.
_ADDRESSES: Final = frozenset({"APPLY_REDIS_URL", "APPLY_BROKER_URL", "APPLY_RESULT_BACKEND"})

#: Of the open plans so many of the longest due are looked at to find the oldest.
_LOOKED_AT: Final = 10


@dataclass(frozen=True)
class Switch:
    """The kill switch: whether it is set, and who did so, when (epoch seconds, as text) and why.

    `readable`: whether the gate can read it; where it cannot, no plan is decided.
    """

    is_set: bool = False
    readable: bool = True
    value: str = ""
    who: str = ""
    when: str = ""
    why: str = ""


@dataclass(frozen=True)
class Gone:
    """A worker whose signs of life stopped without a farewell, and when the last one came (epoch ms)."""

    hostname: str
    at_ms: int


@dataclass(frozen=True)
class Oldest:
    """The plan without an outcome that has been here for longest, and since when (epoch ms)."""

    plan_id: str
    state: str
    since_ms: int


@dataclass(frozen=True)
class Facts:
    """What stands in Redis at `now_ms` (epoch ms on its clock).

    Attributes:
        unreadable: what could not be read, in words; empty where everything could.
        issuers: host of every issuer of ours that is alive.
        waiting: plans without an outcome; `overdue`: those of them that should have one.
        last_decision_ms: when the last result entry was written.
        shell: settings of whoever asks, for what no worker tells.
    """

    namespace: str
    now_ms: int
    stats: Stats
    unreadable: tuple[str, ...]
    workers: tuple[Life, ...]
    gone: tuple[Gone, ...]
    issuers: Mapping[str, str]
    switch: Switch
    waiting: int
    overdue: int
    oldest: Oldest | None
    last_decision_ms: int | None
    shell: Mapping[str, str]

    def setting(self, name: str) -> str:
        """A setting as the first worker runs with it, else as this shell would."""
        told = self.workers[0].config if self.workers else {}
        return told.get(name, self.shell.get(name, ""))

    def listed(self, name: str) -> tuple[str, ...]:
        """A setting that is a comma list."""
        return tuple(part for part in self.setting(name).split(",") if part)

    @property
    def bound_ms(self) -> int:
        """The bound of the wait in force."""
        return int(self.setting("APPLY_PERMIT_WAIT_MS"))

    @property
    def differences(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Settings that workers do not agree about: name, value, the workers that have it."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        names = {name: None for worker in self.workers for name in worker.config}
        for name in (name for name in names if name not in _ADDRESSES):
            values: dict[str, tuple[str, ...]] = {}
            for worker in self.workers:
                value = worker.config.get(name, "(unknown)")
                values[value] = (*values.get(value, ()), worker.hostname)
            if len(values) > 1:
                found[name] = values
        return found


def gather(store: Store, settings: Settings) -> Facts:
    """Ask Redis, in two round trips whose cost depends on no number of plans.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    keys = Keys(settings.namespace)
    (seconds, micros), counters, waiting, due, switch, info, index, last, *beats = store.ask(
        ("TIME",),
        ("HGETALL", keys.stats),
        ("ZCARD", keys.open),
        ("ZRANGE", keys.open, 0, _LOOKED_AT - 1),
        ("GET", keys.kill_switch),
        ("HGETALL", keys.kill_switch_info),
        ("ZRANGE", keys.workers, 0, -1, "WITHSCORES"),
        ("XREVRANGE", keys.results, "+", "-", "COUNT", 1),
        *(("HGETALL", keys.heartbeat(issuer)) for issuer in TASKS),
    )
    now_ms = seconds * 1000 + micros // 1000
    plan_ids = _good(due, [])
    flat = _good(index, [])
    pairs = zip(flat[::2], flat[1::2], strict=True)
    names = sorted((name.decode(errors="replace"), int(float(at_ms))) for name, at_ms in pairs)
    overdue, *rest = store.ask(
        ("ZCOUNT", keys.open, "-inf", now_ms),
        *(
            ("HMGET", keys.record(plan_id.decode(errors="replace")), "state", "taken_up_ms", "registered_ms")
            for plan_id in plan_ids
        ),
        *(("HGETALL", keys.worker(name)) for name, _ in names),
    )
    lives = [Life.read(_texts(found)) for found in rest[len(plan_ids) :]]
    entries = _good(last, [])
    asked = {keys.stats: counters, keys.open: due, keys.workers: index, keys.results: last}
    stats = read_stats(_texts(counters))
    unreadable = [f"{key}: {answer}" for key, answer in asked.items() if isinstance(answer, Exception)]
    unreadable += [f"{keys.stats}: {name!a} is no counter of this version" for name in stats.unreadable]
    return Facts(
        namespace=settings.namespace,
        now_ms=now_ms,
        stats=stats,
        unreadable=tuple(unreadable),
        workers=tuple(life for life in lives if life),
        gone=tuple(Gone(*name) for name, life in zip(names, lives, strict=True) if not life),
        issuers={
            issuer: _texts(beat).get("host", "unknown") for issuer, beat in zip(TASKS, beats, strict=True) if beat
        },
        switch=_switch(switch, _texts(info)),
        waiting=_good(waiting, 0),
        overdue=_good(overdue, 0),
        oldest=_oldest(zip(plan_ids, rest, strict=False)),
        last_decision_ms=int(entries[0][0].partition(b"-")[0]) if entries else None,
        shell=in_force(settings),
    )


def _good(answer: Any, otherwise: Any) -> Any:  # noqa: ANN401 - Redis answers
    return otherwise if isinstance(answer, Exception) else answer


def _texts(answer: Any) -> dict[str, str]:  # noqa: ANN401 - Redis answers
    found = answer if isinstance(answer, dict) else {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


def _switch(value: Any, info: Mapping[str, str]) -> Switch:  # noqa: ANN401 - Redis answers
    if isinstance(value, Exception):
        # As the gate sees it: whatever is no off value is a set switch, also a key of another type.
        return Switch(is_set=True, readable="WRONGTYPE" in str(value), value=str(value))
    if (value or b"") in SWITCH_OFF:
        return Switch()
    who, moment, why = (info.get(name, "") for name in ("who", "when", "why"))
    return Switch(is_set=True, value=value.decode(errors="replace"), who=who, when=moment, why=why)


def _oldest(answers: Any) -> Oldest | None:  # noqa: ANN401 - Redis answers
    found = []
    for plan_id, answer in answers:
        state, taken_up, registered = _good(answer, (None, None, None))
        since = taken_up or registered or b""
        if state and since.isdigit():
            found.append(Oldest(plan_id.decode(errors="replace"), state.decode(errors="replace"), int(since)))
    return min(found, key=lambda plan: plan.since_ms, default=None)
