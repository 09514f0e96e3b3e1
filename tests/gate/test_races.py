"""Many executors at once on the real server: one consumption, one order, one outcome, exact positions."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier, Event
from typing import Any, cast

import pytest
import redis

from tasks.consume import Answer, Consumed, Gate
from tasks.intent import ExecuteIntent
from tasks.judge import Ready
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tests.helpers import GOVERNOR, P33, grant, hold, intent_of, orders_of, results_of, run_to_outcome

EXECUTORS = 64

#: A race is over when every executor has its outcome; one that is Busy asks again this soon.
_STEP_MS = 10

#: Sets or clears the switch and tells, at the same instant: Redis time, orders accepted, permits left.
_TOGGLE = """
if ARGV[1] == 'on' then redis.call('SET', KEYS[1], 'true') else redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local permits = 0
for i = 3, #KEYS do permits = permits + redis.call('EXISTS', KEYS[i]) end
return { tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), redis.call('XLEN', KEYS[2]), permits }
"""


class CountingGate(Gate):
    """The gate, counting how often it opened."""

    opened = 0

    def consume(self, intent: ExecuteIntent, token: str, ready: Ready) -> Answer:
        """See `Gate.consume`."""
        answer = super().consume(intent, token, ready)
        self.opened += isinstance(answer, Consumed)
        return answer


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Executors that ask again soon, and are not hurried by a deadline or a lease."""
    return settings.model_copy(update={"permit_step_ms": _STEP_MS, "permit_wait_ms": 60_000, "claim_lease_ms": 60_000})


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as executors, kept over all rounds."""
    with ThreadPoolExecutor(EXECUTORS) as pool:
        yield pool


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.fault("F5", "F7")
def test_one_of_many_executors_consumes(
    client: redis.Redis,
    keys: Keys,
    quick: Settings,
    make_parts: Callable[[Settings], Parts],
    threads: ThreadPoolExecutor,
    rounds: int,
) -> None:
    """However many executors have the same plan at once, one consumes, one order leaves, all tell the same outcome."""
    hold(client, keys, "100")
    executors = []
    for _ in range(EXECUTORS):
        parts = make_parts(quick)
        gate = CountingGate(parts.gate._store, parts.gate._patient, quick)
        executors.append(Parts(quick, gate, parts.venue, parts.store))
    start = Barrier(EXECUTORS)

    def race(parts: Parts, number: int, late: bool) -> Outcome:  # noqa: FBT001 - positional through the pool
        start.wait(timeout=60)
        if late:
            # The last permit arrives in the middle of the race.
            client.set(keys.permit("p33", f"plan-{number}"), P33, ex=60)
        return run_to_outcome(parts, intent_of(f"plan-{number}"))

    for number in range(rounds):
        grant(client, keys, f"plan-{number}")
        if number % 2:
            client.delete(keys.permit("p33", f"plan-{number}"))
        racing = [
            threads.submit(race, parts, number, bool(number % 2) and place == EXECUTORS // 2)
            for place, parts in enumerate(executors)
        ]
        outcomes = {future.result(timeout=60).model_dump_json() for future in racing}
        opened = sum(cast("CountingGate", parts.gate).opened for parts in executors)

        assert 1 == len(outcomes)
        assert '{"decision":"EXECUTE"' in outcomes.pop()
        assert number + 1 == opened

    plans = [f"plan-{number}" for number in range(rounds)]

    assert plans == [order["plan_id"] for order in orders_of(client, keys)]
    assert plans == [entry["plan_id"] for entry in results_of(client, keys)]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_moves_while_the_switch_is_set(
    seed: int,
    client: redis.Redis,
    keys: Keys,
    quick: Settings,
    make_parts: Callable[[Settings], Parts],
    threads: ThreadPoolExecutor,
) -> None:
    """Between setting and clearing the kill switch no permit is consumed and no order is accepted."""
    plans = [f"plan-{number}" for number in range(400)]
    hold(client, keys, "100")
    for plan_id in plans:
        grant(client, keys, plan_id)
    permits = [keys.permit(name, plan_id) for plan_id in plans for name in ("governor", "p33")]
    toggle = cast("Callable[..., Any]", client.register_script(_TOGGLE))
    chance = random.Random(seed)
    begun, done = Event(), Event()

    def operate() -> list[list[int]]:
        seen = []
        while not done.is_set():
            for value in ("on", "off"):
                seen.append(toggle(keys=[keys.kill_switch, keys.paper_orders, *permits], args=[value]))
                begun.set()
                # Nothing is awaited here: the operator's moments are random, that is all.
                time.sleep(chance.random() / 200)
        return seen

    operator = threads.submit(operate)
    assert begun.wait(timeout=60)
    executors = [make_parts(quick) for _ in range(4)]
    work = [
        threads.submit(lambda parts, mine: [run_to_outcome(parts, intent_of(plan_id)) for plan_id in mine], parts, mine)
        for parts, mine in ((executors[place], plans[place::4]) for place in range(4))
    ]
    try:
        outcomes = [outcome for future in work for outcome in future.result(timeout=60)]
    finally:
        done.set()
    seen = operator.result(timeout=60)
    halted = list(zip(seen[::2], seen[1::2], strict=True))
    order_ms = [int(entry_id.split(b"-")[0]) for entry_id, _ in cast("list[Any]", client.xrange(keys.paper_orders))]

    assert {"EXECUTE", "BLOCKED"} == {outcome.decision for outcome in outcomes}
    assert {"", "kill_switch"} == {outcome.reason for outcome in outcomes}
    assert [on[1:] for on, _ in halted] == [off[1:] for _, off in halted]
    # A stream id is as coarse as a millisecond: the ends of a period belong to both sides.
    assert [] == [ms for ms in order_ms for on, off in halted if on[0] < ms < off[0]]
    assert len(order_ms) == sum(outcome.executed for outcome in outcomes)


@pytest.mark.parametrize(("start", "side"), [("0.500", "SELL"), ("-0.500", "BUY")])
def test_concurrent_orders_add_up(
    start: str,
    side: str,
    client: redis.Redis,
    keys: Keys,
    quick: Settings,
    make_parts: Callable[[Settings], Parts],
    threads: ThreadPoolExecutor,
) -> None:
    """Orders of many plans on one symbol take exactly their quantities off the position, and never cross zero."""
    hold(client, keys, start)
    chance = random.Random(start)
    quantities = {f"plan-{number}": chance.randint(1, 9) for number in range(160)}
    for plan_id, thousandths in quantities.items():
        grant(client, keys, plan_id, GOVERNOR, P33.replace("0.008", f"0.00{thousandths}"))
    executors = [make_parts(quick) for _ in range(8)]

    def execute(place: int) -> list[Outcome]:
        return [run_to_outcome(executors[place], intent_of(plan_id)) for plan_id in list(quantities)[place::8]]

    outcomes = [outcome for some in threads.map(execute, range(8)) for outcome in some]
    journal = orders_of(client, keys)
    ordered = [Decimal(order["qty"]) for order in journal]
    held = client.hget(keys.paper_position("BTCUSDT"), "position_amt")
    left = abs(Decimal(start)) - sum(ordered)

    assert {side} == {order["side"] for order in journal}
    assert {order["plan_id"] for order in journal} == {outcome.plan_id for outcome in outcomes if outcome.executed}
    assert {"EXECUTE", "REJECTED"} == {outcome.decision for outcome in outcomes}
    assert left == abs(Decimal(cast("bytes", held).decode()))
    assert left >= 0
    assert [Decimal(quantities[order["plan_id"]]) / 1000 for order in journal] == ordered
