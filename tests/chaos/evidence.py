"""What a run left behind: everything that is counted, read from journals, as plain values."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TypeVar

from tests.chaos.journal import Sent, Window, Written
from tests.chaos.load import Load, Plan

Entry = TypeVar("Entry")

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """One entry of the venue's journal; `at_ms` is when the venue took it, `executed` how much of it was executed."""

    plan_id: str
    client_order_id: str
    symbol: str
    qty: Decimal
    executed: Decimal
    at_ms: int


@dataclass(frozen=True)
class Event:
    """One entry of a plan's timeline."""

    at_ms: int
    fields: Fields

    @property
    def what(self) -> str:
        """Its name."""
        return self.fields.get("event", "")


@dataclass(frozen=True)
class Bounds:
    """The settings that decide about moments, ms; `wire_ms`: how long an order may be on its way to the venue."""

    wait_ms: int
    lease_ms: int
    max_age_ms: int
    wire_ms: int = 0


@dataclass(frozen=True)
class Evidence:
    """Everything that is counted.

    Attributes:
        sent, written, windows: the program's own journal.
        orders, refused: the venue's journals. `held`: what it holds of each symbol at the end, where it tells.
        results: the result stream. `set_aside`: the stream of messages set aside.
        records, timelines: by plan id, of every plan that has one.
        replies: what Celery's result backend holds, by task id.
        left: what is still in queues, `unacked`, `open`, by name. `trimmed`: entries that each journal has lost.
        logged: markers of junk that a worker's log names.
        idle: workers that take no plan although they live.
    """

    load: Load
    bounds: Bounds
    sent: tuple[Sent, ...] = ()
    written: tuple[Written, ...] = ()
    windows: tuple[Window, ...] = ()
    orders: tuple[Order, ...] = ()
    refused: tuple[Order, ...] = ()
    held: Mapping[str, Decimal] = field(default_factory=dict)
    results: tuple[Fields, ...] = ()
    set_aside: tuple[Fields, ...] = ()
    records: Mapping[str, Fields] = field(default_factory=dict)
    timelines: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)
    replies: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    trimmed: Mapping[str, int] = field(default_factory=dict)
    logged: frozenset[str] = frozenset()
    idle: tuple[str, ...] = ()

    @cached_property
    def plans(self) -> Mapping[str, Plan]:
        """Every plan of the load, by its id."""
        return {plan.plan_id: plan for plan in self.load.plans}

    @cached_property
    def orders_of(self) -> Mapping[str, Sequence[Order]]:
        """Orders by plan id."""
        return _grouped((order.plan_id, order) for order in self.orders)

    @cached_property
    def results_of(self) -> Mapping[str, Sequence[Fields]]:
        """Result entries by plan id."""
        return _grouped((entry.get("plan_id", ""), entry) for entry in self.results)

    @cached_property
    def written_for(self) -> Mapping[str, Sequence[Written]]:
        """Permits that were written, or may have been, by plan id."""
        return _grouped((written.plan_id, written) for written in self.written)

    @cached_property
    def sent_for(self) -> Mapping[str, Sequence[Sent]]:
        """Sendings of each plan itself, by plan id; conflicting ones and junk are not among them."""
        others = {conflict.task_id for conflict in self.load.conflicts} | {junk.task_id for junk in self.load.junk}
        return _grouped((sent.plan_id, sent) for sent in self.sent if sent.task_id not in others)

    def happened(self, plan_id: str, what: str) -> Sequence[Event]:
        """The events of this name in a plan's timeline."""
        return [event for event in self.timelines.get(plan_id, ()) if event.what == what]

    def window(self, what: str, at_ms: int) -> Window | None:
        """The window of this name that surely covers this moment."""
        found = (window for window in self.windows if window.what == what)
        return next((window for window in found if window.from_ms < at_ms < window.until_ms), None)

    def maybe(self, what: str, from_ms: float, until_ms: float) -> bool:
        """Whether something of this name may have been so at some moment between these."""
        return any(
            window.what == what and window.maybe_from_ms <= until_ms and from_ms <= window.maybe_until_ms
            for window in self.windows
        )


def _grouped(pairs: Iterable[tuple[str, Entry]]) -> Mapping[str, Sequence[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for key, entry in pairs:
        groups[key].append(entry)
    return groups
