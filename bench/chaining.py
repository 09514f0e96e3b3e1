"""*chain*: from submit to paper order through our own judges, all three queues in one worker."""

from typing import Any

from bench.bed import at_rate, bed, histogram, spread
from bench.contestants import GATE, intent_of, running
from tasks.submit import submit


def chain(per_s: int, seconds: int) -> dict[str, Any]:
    """Latency from the plan's registration to its order's entry in the journal."""
    plans = per_s * seconds
    # A symbol is judged for one plan at a time, so every plan has its own.
    symbols = [f"C{number:05d}USDT" for number in range(plans)]
    with bed() as on:
        for symbol in symbols:
            on.client.hset(on.keys.paper_position(symbol), mapping={"position_amt": "1", "mark_price": "100"})
        settings = on.settings.model_copy(update={"allowlist": tuple(symbols)})
        with running(on, GATE, APPLY_ISSUERS="governor,p33", APPLY_ALLOWLIST=",".join(symbols)) as cost:
            at_rate(
                plans, per_s, lambda number: submit(intent_of(number) | {"symbol": symbols[number]}, settings=settings)
            )
            on.await_entries(GATE.results, plans, 60)
            cpu_ms = cost.stop()
            took: list[float] = []
            for at_ms, entry in on.entries(GATE.orders):
                registered = on.client.hget(on.keys.record(entry[b"plan_id"].decode()), "registered_ms")
                took.append(at_ms - float(registered or 0))
    figures = {"plans": plans, "executed": len(took), "cpu_ms_per_plan": round(cpu_ms / plans, 2)}
    return figures | spread(took) | {"histogram_ms": histogram(took)}
