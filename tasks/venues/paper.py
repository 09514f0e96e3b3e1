"""The paper venue: positions and an append-only order journal in Redis, reduce-only enforced."""

from decimal import Decimal, InvalidOperation
from time import monotonic
from typing import Final

from tasks.consume import Claim
from tasks.errors import StoreUnavailable
from tasks.keys import Keys
from tasks.outcome import plain
from tasks.permit import MAX_DIGITS
from tasks.settings import JOURNAL_MAXLEN
from tasks.store import Store
from tasks.venues import Order, Position, Receipt

#: BTCUSDT's step at the system we re-create; used where the position states none.
DEFAULT_STEP: Final = Decimal("0.001")


#: A symbol's step changes when the exchange changes its rules, not between two looks at a plan.
STEP_LIFE_S: Final = 1.0


class PaperVenue:
    """Fills every order at once, at the position's mark price, and remembers it under its client order id."""

    name = "paper"
    checks_claim = True
    window_ms = 0
    shows_within_ms = 0

    def __init__(self, store: Store, keys: Keys, order_ttl_s: int) -> None:
        self._store = store
        self._keys = keys
        self._order_ttl_s = order_ttl_s
        self._steps: dict[str, tuple[Decimal, float]] = {}

    def step(self, symbol: str) -> Decimal:
        """The position's `step`, else `DEFAULT_STEP`; asked for at most once in `STEP_LIFE_S` per symbol.

        Raises:
            StoreUnavailable: Redis gave no answer, or the step is not a positive number.
        """
        step, until = self._steps.get(symbol, (DEFAULT_STEP, 0.0))
        if monotonic() >= until:
            step = self._stated_step(symbol)
            self._steps[symbol] = step, monotonic() + STEP_LIFE_S
        return step

    def _stated_step(self, symbol: str) -> Decimal:
        stated = self._store.field(self._keys.paper_position(symbol), "step")
        if stated is None:
            return DEFAULT_STEP
        step = _decimal(stated.decode(errors="replace"), f"step of {symbol}", "a positive number")
        if step <= 0 or abs(step.adjusted()) > MAX_DIGITS:
            raise StoreUnavailable(f"paper venue: step of {symbol} is {step}; set a positive number")
        return step

    def position(self, symbol: str) -> Position:
        """See `Venue.position`. A symbol that was never given a position is flat: this venue knows of nothing else."""
        fields = self._store.hash(self._keys.paper_position(symbol))
        amt = _decimal(fields.get("position_amt", "0"), f"position_amt of {symbol}")
        price = fields.get("mark_price")
        return Position(amt, _decimal(price, f"mark_price of {symbol}") if price else None)

    def submit(self, order: Order, claim: Claim) -> Receipt:
        """See `Venue.submit`. Sent once: a second sending would be a second order."""
        keys = self._keys
        word, *rest = self._store.run(
            "paper_order",
            [
                keys.record(order.plan_id),
                keys.kill_switch,
                keys.paper_position(order.symbol),
                keys.paper_orders,
                keys.paper_order(order.client_order_id),
                keys.paper_counter,
                keys.stats,
            ],
            [
                claim.token,
                order.plan_id,
                order.symbol,
                order.client_order_id,
                plain(order.qty),
                JOURNAL_MAXLEN,
                self._order_ttl_s,
            ],
            resend=False,
        )
        texts = [part.decode(errors="replace") for part in rest]
        if word == b"accepted":
            return _filled(*texts)
        if word == b"rejected":
            code, message = texts
            return Receipt("rejected", code=code, message=message)
        return Receipt("kill_switch") if word == b"kill_switch" else Receipt("claim_lost")

    def lookup(self, order: Order) -> Receipt | None:
        """See `Venue.lookup`. Sure once the claim may only look up: the order script refuses it from then on."""
        fields = self._store.hash(self._keys.paper_order(order.client_order_id))
        return _filled(*(fields[name] for name in ("order_id", "side", "qty", "price"))) if fields else None


def _filled(order_id: str, side: str, qty: str, price: str) -> Receipt:
    return Receipt("accepted", order_id=order_id, side=side, qty=qty, status="filled", executed_qty=qty, price=price)


def _decimal(text: str, what: str, wanted: str = "a number") -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise StoreUnavailable(f"paper venue: {what} is {text[:40]!a}; set {wanted}")
    return number
