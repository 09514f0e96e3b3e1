"""The figures behind the checklist, shaped for people: shares, a histogram of few rows, kinds of end by symbol."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ops.status.facts import Facts
from tasks.stats import Waits

#: How a plan can end, as the counters call it.
KINDS: Final = ("executed", "dry_run", "blocked", "rejected", "unknown")

#: Percentiles that are told.
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

#: Rows of a histogram begin here, then every twelfth of the bound: waits that need no waiting are not one lump.
_FIRST_ROWS: Final = (0, 10, 20, 50)
_MOST_ROWS: Final = 12


@dataclass(frozen=True)
class Row:
    """One row of a histogram: from `first_ms` on, and below `end_ms` (None: no end)."""

    first_ms: int
    end_ms: int | None
    count: int

    @property
    def name(self) -> str:
        """As it stands before the bar."""
        return f"{self.first_ms}-{self.end_ms - 1} ms" if self.end_ms else f"{self.first_ms} ms and more"


def histogram(waits: Waits, bound_ms: int) -> list[Row]:
    """From the first to the last row in which a wait was counted; the last begins at the bound."""
    step = max(-(-bound_ms // _MOST_ROWS // 10) * 10, 10)
    edges = [edge for edge in _FIRST_ROWS if edge < min(step, bound_ms)]
    edges += [*range(step, bound_ms, step), bound_ms]
    rows = [Row(first, end, waits.between(first, end)) for first, end in pairwise(edges)]
    rows.append(Row(bound_ms, None, waits.between(bound_ms, float("inf"))))
    counted = [place for place, row in enumerate(rows) if row.count]
    return rows[counted[0] : counted[-1] + 1] if counted else []


def percentiles(waits: Waits) -> dict[str, int | None]:
    """Every share's wait in ms, and the longest; None without any wait."""
    return {name: waits.percentile_ms(share) for name, share in SHARES.items()} | {"longest": waits.longest_ms}


def by_symbol(facts: Facts) -> dict[str, dict[str, int]]:
    """Every kind of end per symbol, the symbol with most orders first."""
    counts = {kind: facts.stats.by_symbol(kind) for kind in KINDS}
    symbols = {symbol for kind in KINDS for symbol in counts[kind]}
    table = {symbol: {kind: counts[kind].get(symbol, 0) for kind in KINDS} for symbol in symbols}
    return dict(sorted(table.items(), key=lambda item: (-item[1]["executed"], -sum(item[1].values()), item[0])))


def parked(facts: Facts) -> int:
    """Plans that waited for permits in workers when these gave their last signs of life."""
    return sum(worker.parked for worker in facts.workers)


def ends(facts: Facts) -> Iterator[tuple[str, int]]:
    """Every kind of end and how often it was counted."""
    for kind in KINDS:
        yield kind, facts.stats.how_many(kind)
