"""What tests of the Position judge share: a venue that can be watched, and the keys as other programs see them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, cast

import redis

from tasks.consume import Claim
from tasks.errors import StoreUnavailable
from tasks.keys import Keys
from tasks.settings import PositionSettings
from tasks.strictjson import parse_strict
from tasks.venues import Order, Position, Receipt, Venue
from tests.helpers import texts

#: The limits of the Position judge, without its cooldown.
NO_REST: Final = PositionSettings(_env_file=None, cooldown_sec=Decimal(0))

#: The reason of the system we re-create's example: ledger and exchange are too far apart.
MISMATCH: Final = "reconcile_required_qty_mismatch"


@dataclass
class Watched:
    """The paper venue, its questions counted; hooks run around its answers, given the count, order or receipt."""

    inner: Venue
    before: Callable[[int], None] = lambda _: None
    after: Callable[[int], None] = lambda _: None
    at_step: Callable[[int], None] = lambda _: None
    before_submit: Callable[[Order], None] = lambda _: None
    after_submit: Callable[[Receipt], None] = lambda _: None
    positions: int = 0
    steps: int = 0
    name: str = field(default="paper", init=False)
    checks_claim: bool = field(default=True, init=False)
    window_ms: int = field(default=0, init=False)
    shows_within_ms: int = field(default=0, init=False)

    def position(self, symbol: str) -> Position:
        """See `Venue.position`."""
        self.positions += 1
        self.before(self.positions)
        held = self.inner.position(symbol)
        self.after(self.positions)
        return held

    def step(self, symbol: str) -> Decimal:
        """See `Venue.step`."""
        self.steps += 1
        self.at_step(self.steps)
        return self.inner.step(symbol)

    def submit(self, order: Order, claim: Claim) -> Receipt:
        """See `Venue.submit`."""
        self.before_submit(order)
        receipt = self.inner.submit(order, claim)
        self.after_submit(receipt)
        return receipt

    def lookup(self, order: Order) -> Receipt | None:
        """See `Venue.lookup`."""
        return self.inner.lookup(order)


def silent(*_: object) -> None:
    raise StoreUnavailable("the venue is down")


def raw_permit(client: redis.Redis, keys: Keys, plan_id: str) -> bytes:
    return cast("bytes", client.get(keys.permit("p33", plan_id)) or b"")


def permit_of(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> dict[str, Any]:
    return parse_strict(raw_permit(client, keys, plan_id))


def answer_of(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> str:
    """What the permit says: `allow` or the reason of the denial; empty without a permit."""
    raw = raw_permit(client, keys, plan_id)
    return ("allow" if parse_strict(raw)["allow"] else str(parse_strict(raw)["reason"])) if raw else ""


def snapshot_of(client: redis.Redis, keys: Keys, symbol: str = "BTCUSDT") -> dict[str, str]:
    return texts(cast("dict[bytes, bytes]", client.hgetall(keys.snapshot(symbol))))


def ledger_of(client: redis.Redis, keys: Keys, symbol: str = "BTCUSDT") -> dict[str, str]:
    return texts(cast("dict[bytes, bytes]", client.hgetall(keys.ledger(symbol))))


def paper_amount(client: redis.Redis, keys: Keys, symbol: str = "BTCUSDT") -> Decimal:
    """What the paper venue holds."""
    return Decimal(texts(cast("dict[bytes, bytes]", client.hgetall(keys.paper_position(symbol))))["position_amt"])


def give_snapshot(client: redis.Redis, keys: Keys, age_s: str, amt: str) -> None:
    """A snapshot as another service may have left it, `age_s` ago."""
    seconds, micros = client.time()
    at = Decimal(seconds) + Decimal(micros) / 1_000_000 - Decimal(age_s)
    client.hset(keys.snapshot("BTCUSDT"), mapping={"position_amt": amt, "ts_epoch": f"{at:.3f}", "source": "theirs"})
    client.expire(keys.snapshot("BTCUSDT"), 3600)


def give_ledger(client: redis.Redis, keys: Keys, amt: str) -> None:
    client.hset(keys.ledger("BTCUSDT"), "last_known_amt", amt)
    client.expire(keys.ledger("BTCUSDT"), 86_400)
