"""What the venue says is held, and what our own ledger says: read, refreshed, never guessed."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from tasks.errors import StoreUnavailable
from tasks.keys import Keys
from tasks.outcome import plain
from tasks.store import Store
from tasks.venues import Venue

#: Life of a snapshot, seconds (the figure of the system we re-create).
SNAPSHOT_TTL_S: Final = 3_600

#: The scripts move plain decimal text of at most this many digits (`lua/include/decimal.lua`).
_MOST_DIGITS: Final = 15

#: An order of ours may outdate a venue's answer; then it is asked again, this often.
_MOST_ASKED: Final = 3


@dataclass(frozen=True)
class Snapshot:
    """What the venue held of a symbol at `ts_epoch` (its text as stored; seconds, Redis clock)."""

    amt: Decimal
    mark_price: Decimal | None
    ts_epoch: str

    def age_s(self, now_s: Decimal) -> Decimal:
        """Seconds since the venue was asked."""
        return now_s - Decimal(self.ts_epoch)


@dataclass(frozen=True)
class Ledger:
    """What we believe is held: `amt_text` is the stored text, `amt` None where that is no amount we could move.

    `last_order_s`: epoch seconds of the last order, None without one.
    """

    amt: Decimal | None
    amt_text: str
    last_order_s: Decimal | None


class Positions:
    """Snapshots and ledgers of one namespace."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def now_s(self) -> Decimal:
        """Redis' clock, epoch seconds.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        return self._store.now_s()

    def snapshot(self, symbol: str) -> Snapshot | None:
        """The stored snapshot; None where there is none or it cannot be read.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        fields = self._store.hash(self._keys.snapshot(symbol))
        amt, at = _number(fields.get("position_amt")), _number(fields.get("ts_epoch"))
        if amt is None or at is None:
            return None
        return Snapshot(amt, _number(fields.get("mark_price")), fields["ts_epoch"])

    def ledger(self, symbol: str) -> Ledger | None:
        """The shadow ledger; None where there is none.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        fields = self._store.hash(self._keys.ledger(symbol))
        text = fields.get("last_known_amt", "")
        if not text:
            return None
        return Ledger(_movable(text), text, _number(fields.get("last_order_at")))

    def refresh(self, venue: Venue, symbol: str) -> Snapshot | None:
        """Ask the venue and keep its answer; None when our own orders keep overtaking it.

        Raises:
            StoreUnavailable: the venue or Redis could not be asked.
        """
        for _ in range(_MOST_ASKED):
            asked_at = f"{self.now_s():.6f}"
            held = venue.position(symbol)
            price = "" if held.mark_price is None else plain(held.mark_price)
            side = "FLAT" if held.amt == 0 else "LONG" if held.amt > 0 else "SHORT"
            facts = {"position_amt": plain(held.amt), "side": side, "mark_price": price, "source": venue.name}
            facts |= dict.fromkeys(("entry_price", "leverage", "unrealized_pnl"), "")
            answer = self._store.run(
                "write_snapshot",
                [self._keys.snapshot(symbol), self._keys.ledger(symbol)],
                [asked_at, SNAPSHOT_TTL_S, *(part for fact in facts.items() for part in fact)],
            )
            if answer[0] == b"kept":
                return Snapshot(held.amt, held.mark_price, asked_at)
            if answer[0] == b"overtaken":
                return self.snapshot(symbol)
        return None

    def fresh(self, venue: Venue, symbol: str, stale_after_s: Decimal) -> Snapshot | None:
        """A snapshot not older than `stale_after_s` where one can be had; else the stale one; else None.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        stored = self.snapshot(symbol)
        if stored and 0 <= stored.age_s(self.now_s()) <= stale_after_s:
            return stored
        try:
            return self.refresh(venue, symbol) or stored
        except StoreUnavailable:
            return stored


def _movable(text: str) -> Decimal | None:
    digits = text.removeprefix("-").replace(".", "", 1).lstrip("0")
    plain_text = re.fullmatch(r"-?[0-9]+\.?[0-9]*", text)
    return Decimal(text) if plain_text and len(digits) <= _MOST_DIGITS else None


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text or "NaN")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
