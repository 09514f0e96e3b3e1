"""Reads the journals of a run out of its servers and logs."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, cast

import redis

from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.store import connect
from tests.chaos.evidence import Bounds, Event, Evidence, Fields, Order
from tests.chaos.journal import Journal
from tests.chaos.load import HELD, Load
from tests.chaos.site import LEASE_MS, MAX_AGE_MS, ON_THE_WIRE_MS, WAIT_MS, Site
from tests.helpers import hold, texts

_TIMEOUT_MS: Final = 20_000
_QUEUES: Final = ("execute", "governor", "position")
#: kombu keeps each queue in one list per priority; the first one bears the plain name.
_PRIORITY_SEPARATOR: Final = "\x06\x16"
_MARKER: Final = re.compile(r"junk[A-Za-z0-9_-]+")


class Reader:
    """Straight to both servers, beside everything that may be broken."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._keys = Keys(site.settings.namespace)
        self._store, self._broker = (
            connect(RedisAddress.parse(site.servers[name].url), timeout_ms=_TIMEOUT_MS) for name in ("store", "broker")
        )

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
        self._broker.close()

    def give_positions(self) -> None:
        """What the venue holds at the beginning."""
        for symbol, amount in HELD.items():
            hold(self._store, self._keys, str(amount), symbol)

    def left(self) -> dict[str, int]:
        """What is not done yet, by name."""
        lists = {
            key.decode(): self._length(key) for queue in _QUEUES for key in self._broker.scan_iter(f"{queue}*", 1000)
        }
        return {
            **{name.split(_PRIORITY_SEPARATOR)[0]: number for name, number in lists.items()},
            "unacked": int(self._broker.hlen("unacked")),
            "unacked_index": int(self._broker.zcard("unacked_index")),
            "open": int(self._store.zcard(self._keys.open)),
        }

    def progress(self) -> str:
        """One line about where the run is."""
        left = self.left()
        results, orders = self._store.xlen(self._keys.results), sum(1 for _ in self._orders())
        return f"{results} outcomes, {orders} orders; " + ", ".join(f"{name} {left[name]}" for name in sorted(left))

    def evidence(self, load: Load, journal: Journal, idle: tuple[str, ...]) -> Evidence:
        """Everything that is counted."""
        keys = self._keys
        records = dict(self._hashes(keys.record("")))
        replies = dict(self._replies())
        return Evidence(
            load=load,
            bounds=Bounds(WAIT_MS, LEASE_MS, MAX_AGE_MS, ON_THE_WIRE_MS if self._site.venue else 0),
            sent=journal.sent,
            written=journal.written,
            windows=journal.windows,
            orders=tuple(self._orders()),
            refused=tuple(map(_far_order, self._site.venue.refused())) if self._site.venue else (),
            held={} if self._site.venue else {symbol: Decimal(self._position(symbol)) for symbol in HELD},
            results=tuple(event.fields for event in self._entries(keys.results)),
            set_aside=tuple(event.fields for event in self._entries(keys.rejected)),
            records=records,
            timelines={plan_id: tuple(self._entries(keys.timeline(plan_id))) for plan_id in records},
            replies=replies,
            left=self.left(),
            trimmed={key: self._trimmed(key) for key in (keys.results, keys.paper_orders, keys.rejected)},
            logged=frozenset(self._markers()),
            idle=idle,
        )

    def _length(self, key: bytes) -> int:
        return int(self._broker.llen(key)) if self._broker.type(key) == b"list" else 0

    def _entries(self, key: str) -> Iterator[Event]:
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._store.xrange(key))
        for name, entry in entries:
            yield Event(int(name.split(b"-")[0]), texts(entry))

    def _orders(self) -> Iterator[Order]:
        if self._site.venue:
            yield from map(_far_order, self._site.venue.accepted())
        for event in self._entries(self._keys.paper_orders):
            entry = event.fields
            qty = Decimal(entry["qty"])
            yield Order(entry["plan_id"], entry["client_order_id"], entry["symbol"], qty, qty, event.at_ms)

    def _hashes(self, prefix: str) -> Iterator[tuple[str, Fields]]:
        for key in self._store.scan_iter(f"{prefix}*", 1000):
            yield key.decode().removeprefix(prefix), texts(cast("dict[bytes, bytes]", self._store.hgetall(key)))

    def _replies(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        prefix = "celery-task-meta-"
        for key in self._store.scan_iter(f"{prefix}*", 1000):
            document = json.loads(cast("bytes", self._store.get(key)))
            result = document["result"]
            yield (
                key.decode().removeprefix(prefix),
                result if isinstance(result, dict) and document["status"] == "SUCCESS" else document,
            )

    def _position(self, symbol: str) -> str:
        return cast("bytes", self._store.hget(self._keys.paper_position(symbol), "position_amt")).decode()

    def _trimmed(self, key: str) -> int:
        try:
            told = cast("dict[str, int]", self._store.xinfo_stream(key))
        except redis.ResponseError:
            return 0  # no such stream: nothing was ever written to it
        return int(told["entries-added"]) - int(told["length"])

    def _markers(self) -> Iterator[str]:
        for unit in self._site.fleet.units:
            for line in unit.log_lines():
                if "[SET_ASIDE]" in line:
                    yield from _MARKER.findall(line)


def _far_order(entry: Mapping[str, Any]) -> Order:
    """A line of the far venue's journals."""
    return Order(
        plan_id=entry["plan_id"],
        client_order_id=entry["client_order_id"],
        symbol=entry["symbol"],
        qty=Decimal(entry["qty"]),
        executed=Decimal(entry.get("executed_qty", 0)),
        at_ms=entry["at_ms"],
    )
