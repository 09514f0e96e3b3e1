"""*drain* and *scale*: permits ready, messages queued, then a worker; how fast does the queue empty?"""

from contextlib import ExitStack
from typing import Any, Final

from bench.bed import bed
from bench.contestants import GATE, Contestant, Sender, running
from bench.issuer import grant

#: Where messages are kept until every worker is ready.
_HELD: Final = "bench:held"


def drain(who: Contestant, plans: int, broker_url: str = "") -> dict[str, Any]:
    """Plans a second over the middle of the run, and what a plan costs."""
    with bed(broker_url) as on, ExitStack() as stack:
        sender = Sender(on, who)
        for number in range(plans):
            if who is GATE:
                grant(on, number)
            sender.send(number)
        # A worker is ready when it has begun to read: the little that it has done by then is not counted.
        cost = stack.enter_context(running(on, who))
        on.await_entries(who.results, plans, 180)
        cpu_ms = cost.stop()
        times = [at_ms for at_ms, _ in on.entries(who.results)]
        executed = on.client.xlen(who.orders)
    # The first tenth is left out: it falls into the start of the worker.
    counted = times[plans // 10 :]
    return {
        "plans": plans,
        "executed": executed,
        "plans_per_s": round((len(counted) - 1) / (counted[-1] - counted[0]) * 1000, 1),
        "cpu_ms_per_plan": round(cpu_ms / plans, 2),
    }


def scale(plans: int, workers: int) -> dict[str, Any]:
    """`drain` with so many worker processes, all ready before the first message is sent."""
    with bed() as on, ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(running(on, GATE))
        for number in range(plans):
            grant(on, number)
        sender = Sender(on, GATE, queue=_HELD)
        for number in range(plans):
            sender.send(number)
        began_ms = on.now_ms()
        on.client.rename(_HELD, GATE.queue)
        on.await_entries(GATE.results, plans, 180)
        times = [at_ms for at_ms, _ in on.entries(GATE.results)]
    return {"plans": plans, "workers": workers, "plans_per_s": round(plans / (times[-1] - began_ms) * 1000, 1)}
