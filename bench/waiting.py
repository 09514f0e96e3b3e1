"""*wait* and *cut*: plans at a rate, each permit after U(50, 600) ms; how late is the order after the later permit?"""

import random
import threading
import time
from typing import Any

import redis

from bench.bed import Bed, at_rate, bed, spread
from bench.contestants import GATE, Contestant, Sender, running
from bench.issuer import Issuer

#: The watch's connection is ended again and again for so long.
CUT_S = 2.0


def wait(who: Contestant, per_s: int, seconds: int, seed: int, broker_url: str = "") -> dict[str, Any]:
    """Latency from the later permit's SET to the order's entry in the journal, and what a plan costs."""
    with bed(broker_url) as on, running(on, who) as cost:
        late, cpu_ms = _latencies(on, who, per_s, seconds, seed, cost)
    plans = per_s * seconds
    figures = {"plans": plans, "executed": len(late), "cpu_ms_per_plan": round(cpu_ms / plans, 2)}
    return figures | spread([late_ms for _, late_ms in late])


def cut(per_s: int, seconds: int, seed: int) -> dict[str, Any]:
    """The same, while the watch's connection is cut off in the middle: before, during and after."""
    with bed() as on, running(on, GATE) as cost:
        began_ms = on.now_ms()
        cutter = threading.Timer(seconds / 2, _cut, [on.client])
        cutter.start()
        late, _ = _latencies(on, GATE, per_s, seconds, seed, cost)
        cutter.join()
    # The worker opens the connection again at most a second after it was ended for the last time.
    cut_ms, back_ms = began_ms + seconds * 500, began_ms + seconds * 500 + (CUT_S + 1.5) * 1000
    phases = {
        "before": [late_ms for at_ms, late_ms in late if at_ms < cut_ms],
        "during": [late_ms for at_ms, late_ms in late if cut_ms <= at_ms < back_ms],
        "after": [late_ms for at_ms, late_ms in late if at_ms >= back_ms],
    }
    return {"plans": per_s * seconds, "executed": len(late)} | {name: spread(values) for name, values in phases.items()}


def _latencies(
    on: Bed,
    who: Contestant,
    per_s: int,
    seconds: int,
    seed: int,
    cost: Any,  # noqa: ANN401 - bench.bed.Cost
) -> tuple[list[tuple[float, float]], float]:
    """Per order: when its permits were complete (server time, ms), and how much later its entry was written."""
    plans, chance, issuer, sender = per_s * seconds, random.Random(seed), Issuer(on), Sender(on, who)

    def send(number: int) -> None:
        sender.send(number)
        issuer.later(number, chance.uniform(50, 600), chance.uniform(50, 600))

    at_rate(plans, per_s, send)
    on.await_entries(who.results, plans, 60)
    cpu_ms = cost.stop()
    complete_ms = issuer.stop()
    entries = on.entries(who.orders)
    # An entry's id is a whole millisecond, rounded down: half of one is added.
    return [
        (complete_ms[plan_id], at_ms + 0.5 - complete_ms[plan_id])
        for at_ms, entry in entries
        for plan_id in [entry[b"plan_id"].decode()]
    ], cpu_ms


def _cut(client: "redis.Redis") -> None:
    give_up = time.monotonic() + CUT_S
    while time.monotonic() < give_up:
        for found in client.client_list():
            if "B" in found["flags"]:
                client.client_kill_filter(_id=found["id"])
        time.sleep(0.02)
