"""What a venue is: the place an order goes to. Each venue is one file beside this one."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from tasks.consume import Claim


@dataclass(frozen=True)
class Order:
    """A reduce-only market order; the venue takes the side from the position it closes."""

    client_order_id: str
    plan_id: str
    symbol: str
    qty: Decimal


@dataclass(frozen=True)
class Receipt:
    """What the venue said about an order.

    `accepted`: it has the order. `rejected`: it refused, and `code` and `message` are its own words.
    `kill_switch`, `claim_lost`: the last check before submitting failed, nothing was ordered.
    """

    answer: Literal["accepted", "rejected", "kill_switch", "claim_lost"]
    order_id: str = ""
    side: str = ""
    qty: str = ""
    price: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Position:
    """What is held of one symbol: signed amount, and the mark price where the venue states one."""

    amt: Decimal
    mark_price: Decimal | None = None


class Venue(Protocol):
    """A place that takes orders."""

    name: str

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
        """Place the order, if the claim and the kill switch still allow it. Only `tasks.dispatch` calls this.

        Raises:
            StoreUnavailable: no answer: the order may or may not have been accepted.
        """

    def lookup(self, order: Order) -> Receipt | None:
        """Find an order by its client order id; None when the venue surely has none.

        Raises:
            StoreUnavailable: the venue cannot be asked.
        """
