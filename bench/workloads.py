"""The workloads. Every figure is read from outside: stream ids are the server's clock, CPU is the process's."""

import heapq
import json
import random
import threading
import time
from typing import Any

from bench.bed import Bed, Cost, at_rate, bed, histogram, spread, worker
from ops.child import celery_command
from tasks.execute import execute as execute_task
from tasks.submit import submit

#: Where the stock task writes its entries.
NOOP_STREAM = "bench:noop"

_GOVERNOR = json.dumps({"granted": True, "symbol": "BTCUSDT", "decision": "EXECUTE", "consumed": False})
_P33 = json.dumps({"allow": True, "symbol": "BTCUSDT", "safe_close_qty": 0.008})
_NOOP = [*celery_command()[:3], "-A", "bench.stock", "worker", "-l", "INFO", "--without-mingle"]
_OURS = celery_command("worker", "-l", "INFO", "--without-mingle")


def _env(on: Bed) -> dict[str, str]:
    return {
        "APPLY_REDIS_URL": on.server.url,
        "APPLY_MODE": "paper",
        "APPLY_ISSUERS": "",
        "BENCH_URL": on.server.url,
        "BENCH_STREAM": NOOP_STREAM,
    }


def _intent(number: int) -> dict[str, Any]:
    return {"plan_id": f"bench-{number}", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"}


def drain(plans: int) -> dict[str, Any]:
    """All permits ready, all messages queued, then one worker: how fast does the queue empty?"""
    with bed() as on:
        app = on.producer()
        for number in range(plans):
            _permits(on, number)
            _send(app, number)
        ours = _drained(on, _OURS, on.keys.results, plans)
        gate = [_inside_ms(on, number) for number in range(plans)]
        executed = on.client.xlen(on.keys.paper_orders)
    with bed() as on:
        app = on.producer()
        for number in range(plans):
            app.send_task("bench.noop", args=[f"bench-{number}"], queue="noop")
        noop = _drained(on, _NOOP, NOOP_STREAM, plans)
    return {
        "plans": plans,
        "ours": ours | {"executed": executed} | spread(gate),
        "stock": noop,
        "ratio": {
            "throughput": round(ours["plans_per_s"] / noop["plans_per_s"], 2),
            "cpu": round(ours["cpu_ms_per_plan"] / noop["cpu_ms_per_plan"], 2),
        },
    }


def wait(per_s: int, seconds: int, seed: int) -> dict[str, Any]:
    """Plans at a rate, each permit after U(50, 600) ms: how late is the order after the later permit?"""
    plans, chance = per_s * seconds, random.Random(seed)
    with bed() as on, worker(_OURS, _env(on)) as process:
        app, issuer = on.producer(), _Issuer(on)
        cost = Cost(process)

        def send(number: int) -> None:
            _send(app, number)
            issuer.later(number, chance.uniform(50, 600), chance.uniform(50, 600))

        at_rate(plans, per_s, send)
        on.await_entries(on.keys.results, plans, 30)
        cpu_ms = cost.stop()
        complete_ms = issuer.stop()
        late = [at_ms - complete_ms[entry[b"plan_id"].decode()] for at_ms, entry in on.entries(on.keys.paper_orders)]
    with bed() as on, worker(_NOOP, _env(on)) as process:
        app = on.producer()
        sent_ms: dict[str, float] = {}
        cost = Cost(process)

        def send_noop(number: int) -> None:
            sent_ms[f"bench-{number}"] = _now_ms(on)
            app.send_task("bench.noop", args=[f"bench-{number}"], queue="noop")

        at_rate(plans, per_s, send_noop)
        on.await_entries(NOOP_STREAM, plans, 30)
        noop_cpu_ms = cost.stop()
        noop = [at_ms - sent_ms[entry[b"plan_id"].decode()] for at_ms, entry in on.entries(NOOP_STREAM)]
    return {
        "plans": plans,
        "per_s": per_s,
        "seed": seed,
        "ours": {"executed": len(late), "cpu_ms_per_plan": round(cpu_ms / plans, 2)} | spread(late),
        "stock": {"cpu_ms_per_plan": round(noop_cpu_ms / plans, 2)} | spread(noop),
        "ratio": {"cpu": round(cpu_ms / noop_cpu_ms, 2)},
    }


def chain(per_s: int, seconds: int) -> dict[str, Any]:
    """Submit to paper order through our own judges, all three queues in one worker: how long does it take?"""
    plans = per_s * seconds
    # A symbol is judged for one plan at a time, so every plan has its own.
    symbols = [f"C{number:05d}USDT" for number in range(plans)]
    with bed() as on:
        for symbol in symbols:
            on.client.hset(on.keys.paper_position(symbol), mapping={"position_amt": "1", "mark_price": "100"})
        env = _env(on) | {"APPLY_ISSUERS": "governor,p33", "APPLY_ALLOWLIST": ",".join(symbols)}
        settings = on.settings.model_copy(update={"allowlist": tuple(symbols)})
        with worker(_OURS, env) as process:
            cost = Cost(process)
            at_rate(
                plans, per_s, lambda number: submit(_intent(number) | {"symbol": symbols[number]}, settings=settings)
            )
            on.await_entries(on.keys.results, plans, 30)
            cpu_ms = cost.stop()
            took: list[float] = []
            for at_ms, entry in on.entries(on.keys.paper_orders):
                plan_id = entry[b"plan_id"].decode()
                registered = on.client.hget(on.keys.record(plan_id), "registered_ms")
                took.append(at_ms - float(registered or 0))
    figures = {"executed": len(took), "cpu_ms_per_plan": round(cpu_ms / plans, 2)} | spread(took)
    return {"plans": plans, "per_s": per_s, "ours": figures, "histogram_ms": histogram(took)}


def _drained(on: Bed, command: list[str], stream: str, plans: int) -> dict[str, float]:
    with worker(command, _env(on)) as process:
        cost = Cost(process)
        on.await_entries(stream, plans, 120)
        cpu_ms = cost.stop()
        times = [at_ms for at_ms, _ in on.entries(stream)]
    # The first tenth is left out: it falls into the worker's start.
    counted = times[plans // 10 :]
    return {
        "plans_per_s": round((len(counted) - 1) / (counted[-1] - counted[0]) * 1000, 1),
        "cpu_ms_per_plan": round(cpu_ms / plans, 2),
    }


def _inside_ms(on: Bed, number: int) -> float:
    found = on.client.hmget(on.keys.record(f"bench-{number}"), "taken_up_ms", "ended_ms")
    taken_up, ended = (float(value) for value in found if isinstance(value, bytes))
    return ended - taken_up


def _permits(on: Bed, number: int) -> None:
    plan_id = f"bench-{number}"
    pipeline = on.client.pipeline(transaction=False)
    pipeline.set(on.keys.permit("governor", plan_id), _GOVERNOR, ex=100)
    pipeline.set(on.keys.permit("p33", plan_id), _P33, ex=100)
    pipeline.execute()


def _send(app: Any, number: int) -> None:  # noqa: ANN401 - celery's application is untyped here
    intent = _intent(number)
    app.send_task(execute_task.name, kwargs={"intent": intent}, task_id=intent["plan_id"], queue="execute")


def _now_ms(on: Bed) -> float:
    seconds, micros = on.client.time()
    return float(seconds) * 1000 + float(micros) / 1000


class _Issuer:
    """Writes permits when they are due, and remembers the server time of each plan's later one."""

    def __init__(self, on: Bed) -> None:
        self._on = on
        self._due: list[tuple[float, str, str]] = []
        self._change = threading.Condition()
        self._complete_ms: dict[str, float] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def later(self, number: int, governor_ms: float, p33_ms: float) -> None:
        """Schedule both permits of a plan, ms from now."""
        now, plan_id = time.monotonic(), f"bench-{number}"
        with self._change:
            heapq.heappush(self._due, (now + governor_ms / 1000, "governor", plan_id))
            heapq.heappush(self._due, (now + p33_ms / 1000, "p33", plan_id))
            self._change.notify()

    def stop(self) -> dict[str, float]:
        """Stop, and tell for each plan when its later permit stood (server time, ms)."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join()
        return self._complete_ms

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._stopping and (not self._due or self._due[0][0] > time.monotonic()):
                    self._change.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._stopping:
                    return
                _, name, plan_id = heapq.heappop(self._due)
            pipeline = self._on.client.pipeline(transaction=True)
            pipeline.set(self._on.keys.permit(name, plan_id), _GOVERNOR if name == "governor" else _P33, ex=60)
            pipeline.time()
            seconds, micros = pipeline.execute()[1]
            self._complete_ms[plan_id] = seconds * 1000 + micros / 1000
