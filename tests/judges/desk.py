"""The Governor at work under a Redis clock that stands still: decide plans, take them to the gate, read the figures."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
import redis

import lua
from tasks.act import Again, execute_once
from tasks.governor import evaluate
from tasks.intent import ExecuteIntent
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import GovernorSettings
from tasks.strictjson import parse_strict
from tasks.venues import Venue
from tests.helpers import intent_of, texts

#: In front of a shipped script: only TIME is answered from a key, every other command is the server's.
_PRELUDE: Final = """
local real = redis
local redis = setmetatable({ call = function(command, ...)
  if command ~= 'TIME' then return real.call(command, ...) end
  local micros = real.call('GET', '%s')
  return { string.sub(micros, 1, -7), string.sub(micros, -6) }
end }, { __index = real })
"""

#: Seconds; longer than any test, and the key is outside the namespace that tests look into.
_LIFE_S: Final = 300

#: What the figures are while nothing was ever granted.
NOTHING: Final[dict[str, Any]] = {"granted": {}, "days": {}}

GRANTED: Final = ("granted", "")


class FixedClock:
    """What `redis.call('TIME')` answers in every shipped script of this test; it moves only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: redis.Redis, keys: Keys) -> None:
        self._client, self._key = client, f"clock:{keys.namespace}"
        prelude = _PRELUDE % self._key
        monkeypatch.setattr(
            "tasks.store.lua", SimpleNamespace(source=lambda name: prelude + lua.source(name), digest=lua.digest)
        )
        self.set("2026-03-10T12:00:00")

    def set(self, moment: str) -> None:
        """Stand at an ISO time, UTC."""
        self._moment = datetime.fromisoformat(f"{moment}+00:00")
        self._client.set(self._key, int(self._moment.timestamp()) * 10**6 + self._moment.microsecond, ex=_LIFE_S)

    def forward(self, ms: int) -> None:
        """Move on by milliseconds."""
        self.set((self._moment + timedelta(milliseconds=ms)).replace(tzinfo=None).isoformat())

    @property
    def seconds(self) -> Decimal:
        """Epoch seconds."""
        return int(self._moment.timestamp()) + Decimal(self._moment.microsecond) / 10**6


def limits(**changed: Any) -> GovernorSettings:
    """Limits that no plan of a test reaches, and no disarm, but for those that are `changed`."""
    wide: dict[str, Any] = {
        "max_exec_per_hour": 10_000,
        "max_exec_per_5min": 10_000,
        "max_reduce_notional_per_day_usd": Decimal(10**9),
        "max_reduce_qty_per_day": Decimal(10**7),
        "enable_auto_disarm": False,
    }
    return GovernorSettings(_env_file=None, **(wide | changed))


def figures_of(client: redis.Redis, keys: Keys, symbol: str = "BTCUSDT") -> dict[str, Any]:
    """Everything that counts against a symbol's limits: granted plans by epoch ms, and each day's sums."""
    prefix = keys.governor_daily(symbol)
    names = [cast("bytes", key).decode() for key in client.scan_iter(f"{prefix}*", count=1000)]
    days = {name.removeprefix(prefix): texts(cast("dict[bytes, bytes]", client.hgetall(name))) for name in names}
    granted = cast("list[tuple[bytes, float]]", client.zrange(keys.governor_exec(symbol), 0, -1, withscores=True))
    return {"granted": {plan.decode(): score for plan, score in granted}, "days": days}


@dataclass
class Desk:
    """One process' parts beside an operator's client, both on the clock of this test."""

    parts: Parts
    client: redis.Redis
    clock: FixedClock
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def keys(self) -> Keys:
        """Key names of this test."""
        return self.parts.gate.keys

    def hold(self, amount: str, price: str | None = "50000", symbol: str = "BTCUSDT") -> None:
        """Give the paper venue a position; without a price it knows none."""
        fields = {"position_amt": amount} | ({} if price is None else {"mark_price": price})
        self.client.delete(self.keys.paper_position(symbol))
        self.client.hset(self.keys.paper_position(symbol), mapping=cast("Any", fields))

    def decide(self, plan_id: str = "", /, **changed: Any) -> tuple[str, str]:
        """Decide a plan, one never seen unless it is named, by changed fields of the intent and changed limits."""
        fields = {name: value for name, value in changed.items() if name in ExecuteIntent.model_fields}
        bounds = {name: value for name, value in changed.items() if name not in fields}
        return evaluate(self.parts, limits(**bounds), intent_of(plan_id or f"next-{next(self._numbers)}", **fields))

    def look(self) -> Outcome | Again:
        """What a worker's next attempt at plan-1 gives."""
        return execute_once(self.parts, intent_of())

    def end(self) -> Outcome:
        """The outcome of plan-1, which a worker's next attempt finds."""
        outcome = self.look()
        assert isinstance(outcome, Outcome)
        return outcome

    def time_out(self) -> Outcome:
        """Plan-1 waits in vain for a permit of Position."""
        assert isinstance(self.look(), Again)
        self.clock.forward(self.parts.settings.permit_wait_ms)
        return self.end()

    def figures(self, symbol: str = "BTCUSDT") -> dict[str, Any]:
        """See `figures_of`."""
        return figures_of(self.client, self.keys, symbol)

    def document(self, key: str) -> dict[str, object]:
        """A key's JSON, read as strictly as the gate does."""
        raw = self.client.get(key)
        assert isinstance(raw, bytes)
        return parse_strict(raw)

    def errors(self) -> dict[str, int]:
        """Failed evaluations by date."""
        prefix = self.keys.governor_errors
        names = [cast("bytes", key).decode() for key in self.client.scan_iter(f"{prefix}*", count=1000)]
        return {name.removeprefix(prefix): int(cast("bytes", self.client.get(name))) for name in names}

    def at(self, venue: Venue) -> "Desk":
        """The same desk in front of another venue."""
        return Desk(replace(self.parts, venue=venue), self.client, self.clock, self._numbers)
