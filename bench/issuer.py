"""Writes permits when they are due, and remembers when each plan's later one stood."""

import heapq
import json
import threading
import time

from bench.bed import Bed
from tasks.wire import Wire


def permit_text(name: str) -> str:
    """A permit as its issuer writes it (SEED "Permit contents"): no two are the same."""
    created_at = time.time()
    if name == "governor":
        figures = {"computed_qty": 0.008, "computed_notional": 512.0}
        facts = {"granted": True, "symbol": "BTCUSDT", "decision": "EXECUTE", **figures, "consumed": False}
    else:
        figures = {"safe_close_qty": 0.008, "exchange_position_amt": 0.01, "ledger_amt": 0.01}
        facts = {"allow": True, "symbol": "BTCUSDT", **figures, "reason": "sanity_checks_passed"}
    return json.dumps({**facts, "created_at": created_at})


def grant(on: Bed, number: int) -> None:
    """Both permits of a plan, at once."""
    pipeline = on.client.pipeline(transaction=False)
    for name in ("governor", "p33"):
        pipeline.set(on.keys.permit(name, f"bench-{number}"), permit_text(name), ex=100)
    pipeline.execute()


class Issuer:
    """One thread that writes each permit at its time. Times are the server's, in ms."""

    def __init__(self, on: Bed) -> None:
        self._on = on
        self._wire = Wire(on.client)
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
        """Stop, and tell for each plan when its later permit stood."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join()
        self._wire.close()
        return self._complete_ms

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._stopping and (not self._due or self._due[0][0] > time.monotonic()):
                    self._change.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._stopping:
                    return
                _, name, plan_id = heapq.heappop(self._due)
            key, text = self._on.keys.permit(name, plan_id), permit_text(name)
            # Sent in one piece, which the server works through before it turns to another client.
            _, (seconds, micros) = self._wire.ask([("SET", key, text, "EX", 60), ("TIME",)])
            self._complete_ms[plan_id] = int(seconds) * 1000 + int(micros) / 1000
