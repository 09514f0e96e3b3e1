"""A plan at a venue outside Redis, on a clock that stands still: what the venue says is the test's to choose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain, repeat
from typing import Any, Final

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.consume import Claim
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.venues import Order, Position, Receipt
from tests.helpers import grant, intent_of, record_of, results_of, stream
from tests.judges.desk import FixedClock

WINDOW_MS: Final = 5_000
SHOWS_WITHIN_MS: Final = 3_000

#: More than any plan needs: the bound, by the longest pauses.
MOST_ATTEMPTS: Final = 300

#: What a venue says of the order of these tests.
FILLED: Final = Receipt(
    "accepted", order_id="far-1", side="SELL", qty="0.008", status="filled", executed_qty="0.008", price="50000"
)
NEW: Final = replace(FILLED, status="new", executed_qty="0")

#: What `submit` and `lookup` do: answer, or raise.
Says = Callable[[], Receipt | None]


def silent() -> Receipt | None:
    """No answer comes."""
    raise TimeoutError("no answer")


def one_after_the_other(*says: Receipt | Exception | None) -> Says:
    """Each of these in its turn, and then the last one for ever."""
    turns = chain(says, repeat(says[-1]))

    def say() -> Receipt | None:
        said = next(turns)
        if isinstance(said, Exception):
            raise said
        return said

    return say


@dataclass
class FarVenue:
    """See `tasks.venues.Venue`. `orders` are the requests that left, each with its window."""

    submits: Says = silent
    finds: Says = silent
    name: str = "far"
    checks_claim: bool = False
    window_ms: int = WINDOW_MS
    shows_within_ms: int = SHOWS_WITHIN_MS
    orders: list[Order] = field(default_factory=list)
    lookups: int = 0

    def position(self, symbol: str) -> Position:
        """See `Venue.position`."""
        raise NotImplementedError(symbol)

    def step(self, symbol: str) -> Decimal:
        """See `Venue.step`."""
        return Decimal("0.001") if symbol else Decimal(1)

    def submit(self, order: Order, claim: Claim) -> Receipt:
        """See `Venue.submit`."""
        assert claim.token

        self.orders.append(order)
        said = self.submits()
        assert said

        return said

    def lookup(self, order: Order) -> Receipt | None:
        """See `Venue.lookup`."""
        assert order.window is None

        self.lookups += 1
        return self.finds()


@dataclass
class Bed:
    """One executor, and the plan of the test."""

    parts: Parts
    venue: FarVenue
    client: redis.Redis
    clock: FixedClock

    @property
    def keys(self) -> Keys:
        """Key names of this test."""
        return self.parts.gate.keys

    def steps(self) -> Iterator[Again | Outcome]:
        """One attempt after the other, each when the one before asked for it, up to the outcome."""
        grant(self.client, self.keys, "plan-1")
        for _ in range(MOST_ATTEMPTS):
            step = execute_once(self.parts, intent_of())
            yield step
            if isinstance(step, Outcome):
                return
            self.clock.forward(step.pause_ms)
        pytest.fail(f"no outcome after {MOST_ATTEMPTS} attempts")

    def end(self) -> Outcome:
        """The outcome."""
        *_, last = self.steps()
        assert isinstance(last, Outcome)
        assert [last.reason] == [entry["reason"] for entry in results_of(self.client, self.keys)]
        assert last == execute_once(self.parts, intent_of())

        return last

    def since_consumption_ms(self) -> int:
        """On the clock of the test."""
        return int(self.clock.seconds * 1000) - int(self.record()["consumed_ms"])

    def record(self) -> dict[str, str]:
        """The plan's record."""
        return record_of(self.client, self.keys, "plan-1")

    def found(self) -> list[str]:
        """What each lookup gave, as the timeline tells it."""
        told: list[dict[str, Any]] = [dict(entry) for entry in stream(self.client, self.keys.timeline("plan-1"))]
        return [entry["found"] for entry in told if entry["event"] == "looked_up"]

    def with_venue(self, **changes: Any) -> "Bed":
        """The same plan seen by a worker with another venue."""
        venue = replace(self.venue, **changes)
        return replace(self, venue=venue, parts=replace(self.parts, venue=venue))
