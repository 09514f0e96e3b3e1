"""Cancelling against a real worker that is about to execute: at most one of the two wins, 64 times."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from tasks.by_hand import Cancelled, Refused, cancel
from tasks.intent import parse_intent
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.submit import _register
from tests.helpers import grant, hold, orders_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, permit_texts, plan, site_on, start_worker, wait_for_ends

ROUNDS = 64
SYMBOL = SYMBOLS[0]

#: Between the two contenders, seconds: about as long as a woken plan needs to its consumption.
APART_S = 0.01


@pytest.mark.parametrize("seed", [7])
def test_a_plan_is_cancelled_or_executed_and_never_both(
    settings: Settings, make_parts: Callable[..., Parts], seed: int
) -> None:
    """Permits arrive while an operator cancels: one outcome, an order exactly where it executed."""
    chance = random.Random(seed)
    names = [f"race-{number}" for number in range(ROUNDS)]
    with (
        RealServer() as server,
        start_worker(server, APPLY_PERMIT_WAIT_MS="60000") as worker,
        site_on(server) as site,
        ThreadPoolExecutor(2) as both,
    ):
        own = settings.model_copy(update={"redis_url": server.url, "namespace": "quantum", "allowlist": (SYMBOL,)})
        operator = make_parts(own)
        hold(site.client, site.keys, "100", SYMBOL)
        start = Barrier(2)
        said: dict[str, Cancelled | Refused] = {}

        def permit(name: str, after_s: float) -> None:
            start.wait(60)
            time.sleep(after_s)
            grant(site.client, site.keys, name, *permit_texts(SYMBOL))

        def end(name: str, after_s: float) -> None:
            start.wait(60)
            time.sleep(after_s)
            said[name] = cancel(operator, name, "alice", "race")

        for number, name in enumerate(names):
            if number % 2:
                _register(parse_intent(plan(name, SYMBOL)), own, [])
            site.send(plan(name, SYMBOL), name)
            wait_until(partial(site.client.hexists, site.keys.record(name), "taken_up_ms"), f"{name} taken up")
            racing = [
                both.submit(permit, name, chance.uniform(0, APART_S)),
                both.submit(end, name, chance.uniform(0, APART_S)),
            ]
            for future in racing:
                future.result(60)
        wait_for_ends(site, names)
        ends = {entry["plan_id"]: entry["reason"] or entry["decision"] for entry in results_of(site.client, site.keys)}
        orders = Counter(order["plan_id"] for order in orders_of(site.client, site.keys))

        assert dict.fromkeys(names, 1) == Counter(entry["plan_id"] for entry in results_of(site.client, site.keys))
        assert {"cancelled", "EXECUTE"} >= set(ends.values())
        assert orders == {name: 1 for name, how in ends.items() if how == "EXECUTE"}
        assert {name: isinstance(answer, Cancelled) for name, answer in said.items()} == {
            name: how == "cancelled" for name, how in ends.items()
        }
        for name, how in ends.items():
            left = site.client.exists(site.keys.permit("governor", name), site.keys.permit("p33", name))
            assert (2 if how == "cancelled" else 0) == left
        assert len(worker.lines("[PERMIT_WAIT] OK")) == len(orders)
