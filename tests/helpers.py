"""What tests do again and again: grant, hold, run to the outcome, read the journals."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.intent import ExecuteIntent, parse_intent
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts


def wait_until(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """The first true value of `condition`, polled; fails with `what` when the deadline passes."""
    give_up = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            pytest.fail(f"not within {within_s} s: {what}")
        time.sleep(0.01)


def intent_of(plan_id: str = "plan-1", **fields: Any) -> ExecuteIntent:
    """A valid intent, changed by `fields`."""
    return parse_intent(
        {"plan_id": plan_id, "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"} | fields
    )


def run_to_outcome(parts: Parts, intent: ExecuteIntent) -> Outcome:
    """What a worker does with one message, without Celery: attempts and pauses until the outcome."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        step = execute_once(parts, intent)
        if isinstance(step, Outcome):
            return step
        assert isinstance(step, Again)
        time.sleep(step.pause_ms / 1000)
    pytest.fail(f"no outcome for {intent.plan_id}")


GOVERNOR = '{"granted": true, "symbol": "BTCUSDT", "decision": "EXECUTE", "consumed": false}'
P33 = '{"allow": true, "symbol": "BTCUSDT", "safe_close_qty": 0.008, "exchange_position_amt": 0.062}'


def grant(client: redis.Redis, keys: Keys, plan_id: str, governor: str = GOVERNOR, p33: str = P33) -> None:
    """Write both permits as their issuers do."""
    client.set(keys.permit("governor", plan_id), governor, ex=60)
    client.set(keys.permit("p33", plan_id), p33, ex=60)


def hold(client: redis.Redis, keys: Keys, amount: str = "0.062", symbol: str = "BTCUSDT") -> None:
    """Give the paper venue a position."""
    client.hset(keys.paper_position(symbol), mapping={"position_amt": amount, "mark_price": "50000"})


def orders_of(client: redis.Redis, keys: Keys) -> list[dict[str, str]]:
    """The paper venue's journal, entry by entry."""
    return stream(client, keys.paper_orders)


def results_of(client: redis.Redis, keys: Keys) -> list[dict[str, str]]:
    """The result stream, entry by entry."""
    return stream(client, keys.results)


def stream(client: redis.Redis, key: str) -> list[dict[str, str]]:
    """Every entry of a stream, as text."""
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(key))
    return [texts(entry) for _, entry in entries]


def record_of(client: redis.Redis, keys: Keys, plan_id: str) -> dict[str, str]:
    """The plan's record as text."""
    return texts(cast("dict[bytes, bytes]", client.hgetall(keys.record(plan_id))))


def texts(entry: dict[bytes, bytes]) -> dict[str, str]:
    """A Redis entry as text."""
    # A timeline tells what an issuer wrote, whatever bytes that were.
    return {name.decode(): value.decode(errors="replace") for name, value in entry.items()}


def tells_of_its_file(client: redis.Redis) -> bool:
    """Whether the server can say that its append-only file holds a write: Valkey, and Redis from 7.2 on."""
    return tuple(map(int, client.info("server")["redis_version"].split(".")[:2])) >= (7, 2)


def some_always(cases: Mapping[str, Any], always: Iterable[str]) -> list[Any]:
    """A matrix of named cases as pytest's parameters: these of them always, the others in the long suite."""
    kept = set(always)
    return [pytest.param(case, id=name, marks=() if name in kept else pytest.mark.long) for name, case in cases.items()]


#: Every pool there is, as pytest's parameters.
POOLS = some_always({pool: pool for pool in ("threads", "prefork", "solo")}, ["threads"])
