"""*park*: plans whose permits never come; is each blocked in time, and what does a waiting one weigh?"""

from typing import Any

from bench.bed import at_rate, bed, spread
from bench.contestants import GATE, Contestant, Sender, running

#: Long enough that every plan of the workload waits at the same time.
ALL_AT_ONCE_MS = 20_000


def park(who: Contestant, plans: int, per_s: int) -> dict[str, Any]:
    """How late after its deadline each plan is blocked, and what it costs."""
    with bed() as on, running(on, who) as cost:
        sender, sent_ms = Sender(on, who), {}

        def send(number: int) -> None:
            sent_ms[f"bench-{number}"] = on.now_ms()
            sender.send(number)

        at_rate(plans, per_s, send)
        on.await_entries(who.results, plans, 120)
        cpu_ms = cost.stop()
        orders = on.client.xlen(who.orders)
        late = []
        for at_ms, entry in on.entries(who.results):
            plan_id = entry[b"plan_id"].decode()
            deadline = on.client.hget(on.keys.record(plan_id), "deadline_ms")
            # The stock task has no deadline: its bound is counted from the sending.
            late.append(at_ms - float(deadline or sent_ms[plan_id] + 1200))
    return {"plans": plans, "blocked": plans - orders, "cpu_ms_per_plan": round(cpu_ms / plans, 2)} | spread(late)


def weight(plans: int) -> dict[str, Any]:
    """Memory of a worker per waiting plan, in kB, all of them waiting at once."""
    with bed() as on, running(on, GATE, APPLY_PERMIT_WAIT_MS=str(ALL_AT_ONCE_MS)) as cost:
        sender = Sender(on, GATE)
        # A few first: what the first plan brings along is no plan's weight.
        for number in range(50):
            sender.send(number)
        on.await_parked(50)
        before_kb = cost.memory_kb()
        for number in range(50, plans + 50):
            sender.send(number)
        on.await_parked(plans + 50)
        after_kb = cost.memory_kb()
    return {"plans": plans, "kb_per_plan": round((after_kb - before_kb) / plans, 1)}
