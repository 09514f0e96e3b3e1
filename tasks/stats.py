"""The counters that the scripts keep in the very step that decides: what they are called, and how they are read.

One HASH per namespace (`Keys.stats`), so that reading it costs the same however many plans ever ran. Pure: a HASH
goes in as text, frozen figures come out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tasks.outcome import Ending

#: Every field of the HASH, and what it counts. `lua/include/count.lua` writes them.
FIELDS: Final = {
    "taken_up": "Plans that a worker took up: EXECUTE intents seen.",
    "first_taken_up_ms": "When the first of them was, epoch ms on the Redis clock.",
    "wait_ok:<ms>": "Plans whose permits were consumed after so many ms: `[PERMIT_WAIT] OK`.",
    "first_ok_ms": "When the first of them was, epoch ms on the Redis clock.",
    "wait_blocked:<ms>": "Plans that were taken up and ended after so many ms without a consumption.",
    "qty_not_positive": "Consumptions whose quantity was not positive. Must stay absent.",
    "ended:<symbol>:<how>:<reason>": "Result entries: how is executed, dry_run, blocked, rejected or unknown; a symbol "
    "that is not in APPLY_ALLOWLIST is counted as `other`.",
    "resolved:<as>": "Plans that ended as unknown and were resolved by an operator: executed or not_executed.",
    "attempts": "Attempts at all plans that have ended.",
    "repeats": "Attempts that found their plan ended, and were answered with its outcome.",
    "set_aside:<reason>": "Messages that were set aside without touching a plan.",
    "orders_doubled": "Orders that the paper venue accepted a second time. Must stay absent.",
    "about": "A sentence for whoever finds the key.",
}

#: How finely waits are counted.
RESOLUTION: Final = "exact below 2 s, to 100 ms below 60 s"

#: Symbols that are not allowed are counted together: anybody can send any symbol.
OTHER: Final = "other"

_EXACT_BELOW_MS: Final = 2_000
_LAST_MS: Final = 60_000
_COARSE_MS: Final = 100


def counted_as(ending: Ending, allowlist: Iterable[str]) -> str:
    """The field `ended:…` under which `lua/finish_plan.lua` counts this end, without its first part."""
    symbol = ending.symbol if ending.symbol in allowlist else OTHER
    executed = "executed" if ending.executed else "dry_run"
    how = executed if ending.decision == "EXECUTE" else ending.decision.lower()
    return f"{symbol}:{how}:{ending.reason.value if ending.reason else ''}"


class Ended(NamedTuple):
    """One kind of end: the symbol, how (`executed`, `dry_run`, `blocked`, `rejected`, `unknown`), the reason."""

    symbol: str
    how: str
    reason: str


@dataclass(frozen=True)
class Waits:
    """A histogram of waits: the first ms of each step that was counted, in order, and how many there were."""

    counts: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """How many waits were counted."""
        return sum(count for _, count in self.counts)

    @property
    def sum_ms(self) -> int:
        """All of them together; where they were not counted exactly, from the first ms of their step."""
        return sum(ms * count for ms, count in self.counts)

    @property
    def longest_ms(self) -> int | None:
        """The longest, rounded up to the end of its step; None without any."""
        return _end_ms(self.counts[-1][0]) if self.counts else None

    def percentile_ms(self, share: float) -> int | None:
        """What `share` of the waits did not exceed (nearest rank), rounded up to the end of its step; None without any.

        It is never below the true figure, and above it by less than `RESOLUTION`.
        """
        rank, seen = share * self.total, 0
        for ms, count in self.counts:
            seen += count
            if seen >= rank:
                return _end_ms(ms)
        return None

    def between(self, first_ms: int, end_ms: float) -> int:
        """How many waits began their step at `first_ms` or later, and before `end_ms`."""
        return sum(count for ms, count in self.counts if first_ms <= ms < end_ms)


@dataclass(frozen=True)
class Stats:
    """What the counters say. Times are epoch ms on the Redis clock, None where it has not happened yet.

    `unreadable`: fields that are no counters of this version; they are left out of every figure.
    """

    first_taken_up_ms: int | None = None
    first_ok_ms: int | None = None
    taken_up: int = 0
    attempts: int = 0
    repeats: int = 0
    qty_not_positive: int = 0
    orders_doubled: int = 0
    ok_waits: Waits = Waits()
    blocked_waits: Waits = Waits()
    ended: Mapping[Ended, int] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    resolved: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def how_many(self, *how: str) -> int:
        """Plans that ended in one of these ways."""
        return sum(count for ended, count in self.ended.items() if ended.how in how)

    def by_reason(self) -> dict[str, int]:
        """Plans that were not executed, by reason, most first."""
        return _most_first((ended.reason, count) for ended, count in self.ended.items() if ended.reason)

    def by_symbol(self, *how: str) -> dict[str, int]:
        """Plans that ended in one of these ways, by symbol, most first."""
        return _most_first((ended.symbol, count) for ended, count in self.ended.items() if ended.how in how)


_NUMBERS: Final = (
    "first_taken_up_ms",
    "first_ok_ms",
    "taken_up",
    "attempts",
    "repeats",
    "qty_not_positive",
    "orders_doubled",
)


def read_stats(fields: Mapping[str, str]) -> Stats:
    """The counters in the HASH; an empty one is a deployment that has seen no plan yet."""
    numbers: dict[str, int] = {}
    waits: dict[str, dict[int, int]] = {"wait_ok": {}, "wait_blocked": {}}
    ended: dict[Ended, int] = {}
    named: dict[str, dict[str, int]] = {"set_aside": {}, "resolved": {}}
    unreadable: list[str] = []
    for name, text in fields.items():
        family, *parts = name.split(":")
        if name == "about":
            continue
        if not text.isdecimal():
            unreadable.append(name)
        elif name in _NUMBERS:
            numbers[name] = int(text)
        elif family in waits and len(parts) == 1 and parts[0].isdecimal():
            waits[family][int(parts[0])] = int(text)
        elif family == "ended" and len(parts) == len(Ended._fields):
            ended[Ended(*parts)] = int(text)
        elif family in named and len(parts) == 1:
            named[family][parts[0]] = int(text)
        else:
            unreadable.append(name)
    return Stats(
        **numbers,
        ok_waits=Waits(tuple(sorted(waits["wait_ok"].items()))),
        blocked_waits=Waits(tuple(sorted(waits["wait_blocked"].items()))),
        ended=ended,
        set_aside=_most_first(named["set_aside"].items()),
        resolved=_most_first(named["resolved"].items()),
        unreadable=tuple(sorted(unreadable)),
    )


def _end_ms(first_ms: int) -> int:
    """The last ms of the step that begins there; the last step has no end."""
    return first_ms + _COARSE_MS - 1 if _EXACT_BELOW_MS <= first_ms < _LAST_MS else first_ms


def _most_first(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for name, count in pairs:
        counts[name] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
