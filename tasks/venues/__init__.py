"""What a venue is: the place an order goes to. Each venue is one file beside this one."""

import re
from dataclasses import dataclass
from decimal import Decimal
from time import monotonic
from typing import Final, Literal, Protocol

from tasks.consume import Claim

#: States of an accepted order, in the venues' own words (FIX, Binance), small letters.
Status = Literal["new", "partially_filled", "filled", "canceled", "expired"]

#: An accepted order in one of these may still execute.
_WORKING: Final[tuple[Status, ...]] = ("new", "partially_filled")

_PLAIN: Final = re.compile(r"\d+(\.\d*)?")


@dataclass(frozen=True)
class Window:
    """The time in which a venue may accept an order; never longer than what was left of the claim's lease.

    Attributes:
        until_ms: the latest moment, epoch ms on the Redis clock.
        left_ms: what was left until then when the claim was confirmed.
        opened_s: `time.monotonic()` before the claim was confirmed. A signed request is dated by this moment and is
            valid for `left_ms`: a process that was paused since then sends what the venue refuses.
    """

    until_ms: int
    left_ms: int
    opened_s: float

    def left_now_ms(self) -> int:
        """Milliseconds left now; 0 or less when nothing may be sent any more."""
        return self.left_ms - int((monotonic() - self.opened_s) * 1000)


@dataclass(frozen=True)
class Order:
    """A reduce-only market order; the venue takes the side from the position it closes.

    `window`: when the venue may accept it; None for a lookup, and where the venue checks the claim itself.
    """

    client_order_id: str
    plan_id: str
    symbol: str
    qty: Decimal
    window: Window | None = None


@dataclass(frozen=True)
class Receipt:
    """What the venue said about an order.

    `accepted`: it has or had the order; `status`, `executed_qty` and `price` (average, "" = none) are its figures.
    `rejected`: it refused, surely, and `code` and `message` are its own words. `unknown`: the request left, and what
    came back does not say whether the order exists (timeout, reset, 5xx without a definite code).
    `kill_switch`, `claim_lost`: the last check before submitting failed, nothing was ordered.
    Quantities and prices are exact decimal text.

    Raises:
        ValueError: accepted, and the figures are not such that the ledger could be moved by them.
    """

    answer: Literal["accepted", "rejected", "unknown", "kill_switch", "claim_lost"]
    order_id: str = ""
    side: str = ""
    qty: str = ""
    status: Status = "new"
    executed_qty: str = "0"
    price: str = ""
    code: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        readable = all(_PLAIN.fullmatch(figure) for figure in (self.qty, self.executed_qty))
        if self.answer == "accepted" and not (self.order_id and self.side in {"BUY", "SELL"} and readable):
            raise ValueError(f"an accepted order needs an id, a side and plain decimal quantities; found {self}")

    @property
    def working(self) -> bool:
        """Accepted, and its figures may still change."""
        return self.answer == "accepted" and self.status in _WORKING

    @property
    def void(self) -> bool:
        """Accepted, and ended by the venue before anything of it was executed."""
        return self.answer == "accepted" and not self.working and Decimal(self.executed_qty) == 0


@dataclass(frozen=True)
class Position:
    """What is held of one symbol: signed amount, and the mark price where the venue states one."""

    amt: Decimal
    mark_price: Decimal | None = None


class Venue(Protocol):
    """A place that takes orders. Its calls answer or raise within seconds: they hold a thread of the pool.

    Attributes:
        name: kept in the record of every plan whose order was sent here.
        checks_claim: whether the venue checks claim, lease and kill switch in the very step that accepts an order,
            so that after a lost claim the absence of an order is sure at once. Only a venue inside our Redis can.
        window_ms: how long after the last check of the claim a request may be accepted, at most.
        shows_within_ms: how long after the end of that window a lookup may still miss an order that was accepted,
            the error between the venue's clock and Redis' included. Both together must be well below
            `tasks.lookup.BOUND_MS`: an order that may still come to light then ends as unknown.
    """

    name: str
    checks_claim: bool
    window_ms: int
    shows_within_ms: int

    def position(self, symbol: str) -> Position:
        """What is held of a symbol now; 0 only when the venue says so.

        Raises:
            StoreUnavailable: the venue cannot be asked: that is never "flat".
        """

    def step(self, symbol: str) -> Decimal:
        """The smallest quantity increment of a symbol.

        Raises:
            StoreUnavailable: the venue cannot be asked.
        """

    def submit(self, order: Order, claim: Claim) -> Receipt:
        """Place the order, once: never send it again, whatever comes back. Only `tasks.dispatch` calls this.

        Whatever it raises counts as `unknown`. `kill_switch` and `claim_lost` are for venues that check the claim.
        """

    def lookup(self, order: Order) -> Receipt | None:
        """Find an order by its client order id; None when the venue does not show it now.

        Answers `accepted` (also for an order that has ended since) or `rejected`.

        Raises:
            StoreUnavailable: the venue cannot be asked.
        """
