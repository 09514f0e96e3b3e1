"""The test bed: a fresh server, one worker process at a time, the server's clock, and what a process cost."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import psutil
import redis

from ops.child import Child
from ops.server import EmbeddedServer
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.settings import Settings, read_settings
from tasks.store import connect


@dataclass
class Bed:
    """One server and what a workload needs of it."""

    server: EmbeddedServer
    client: redis.Redis
    settings: Settings
    keys: Keys
    broker_url: str

    def now_ms(self) -> float:
        """The server's clock."""
        seconds, micros = self.client.time()
        return float(seconds) * 1000 + float(micros) / 1000

    def entries(self, stream: str) -> list[tuple[float, dict[bytes, bytes]]]:
        """Every entry with the server time of its writing, in ms."""
        found = cast("list[tuple[bytes, dict[bytes, bytes]]]", self.client.xrange(stream))
        return [(float(name.split(b"-")[0]), entry) for name, entry in found]

    def await_entries(self, stream: str, count: int, within_s: float) -> None:
        """Return when the stream has `count` entries; raises TimeoutError after `within_s`."""
        give_up = time.monotonic() + within_s
        while (found := self.client.xlen(stream)) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{stream}: {found} of {count} entries after {within_s} s")
            time.sleep(0.02)

    def await_parked(self, count: int, within_s: float = 60.0) -> None:
        """Return when so many plans wait; raises TimeoutError after `within_s`."""
        give_up = time.monotonic() + within_s
        while (found := self.client.zcard(self.keys.open)) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{found} of {count} plans wait after {within_s} s")
            time.sleep(0.05)


@contextmanager
def bed(broker_url: str = "") -> Iterator[Bed]:
    """A fresh server with the paper positions of the workloads; the broker is the same server, or the one given."""
    with EmbeddedServer() as server:
        settings = read_settings(redis_url=server.url, mode="paper")
        keys = Keys(settings.namespace)
        client = connect(RedisAddress.parse(server.url), timeout_ms=10_000)
        client.hset(keys.paper_position("BTCUSDT"), mapping={"position_amt": "1000000", "mark_price": "64000"})
        try:
            yield Bed(server, client, settings, keys, broker_url or server.url)
        finally:
            client.close()


class Cost:
    """What a process tree used between construction and `stop`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._before = self._used_ms()

    def stop(self) -> float:
        """CPU used since, user and system, in ms."""
        return self._used_ms() - self._before

    def _used_ms(self) -> float:
        used = 0.0
        for process in self._tree():
            times = process.cpu_times()
            used += times.user + times.system
        return used * 1000

    def memory_kb(self) -> float:
        """Resident memory, in kB."""
        return sum(process.memory_info().rss for process in self._tree()) / 1024

    def _tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self._child.pid)
        return [parent, *parent.children(recursive=True)]


@contextmanager
def worker(command: Sequence[str], env: dict[str, str], says: str) -> Iterator[Child]:
    """One worker process, ready: it has said what it `says` then."""
    ready = threading.Event()
    lines: list[str] = []

    def read(line: str) -> None:
        lines.append(line)
        if says in line:
            ready.set()

    child = Child(list(command), {"PYTHONPATH": os.curdir, **env}, read)
    try:
        if not ready.wait(40):
            raise RuntimeError("the worker did not become ready:\n" + "\n".join(lines[-15:]))
        yield child
    finally:
        child.stop()


def at_rate(count: int, per_s: float, send: Callable[[int], Any]) -> None:
    """Call `send(0…count-1)` evenly, `per_s` times a second."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / per_s - time.monotonic()))
        send(number)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    return {
        "p50_ms": round(statistics.median(values), 1),
        "p99_ms": round(quantile(values, 0.99), 1),
        "max_ms": round(max(values), 1),
    }


def histogram(values: Sequence[float], width_ms: int = 10) -> dict[str, int]:
    """How many values fall into each step of `width_ms`."""
    counts: dict[int, int] = {}
    for value in values:
        step = int(value // width_ms) * width_ms
        counts[step] = counts.get(step, 0) + 1
    return {f"{step}-{step + width_ms}": counts[step] for step in sorted(counts)}
