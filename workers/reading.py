"""Figures that are read when a scrape asks: what waits in this worker, and what stands in Redis."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tasks.errors import StoreUnavailable
from tasks.judge import SWITCH_OFF
from tasks.parts import Parts
from workers.metrics import PREFIX, READ
from workers.park import MOST_PARKED

#: Labels' values and figure.
Sample = tuple[tuple[str, ...], float]


class Reading(Collector):
    """Reads on the thread of the scrape; a Redis that does not answer costs the scrape one call's timeout."""

    def __init__(self, worker: Any, parts: Callable[[], Parts]) -> None:  # noqa: ANN401 - Celery's, untyped
        self._worker = worker
        self._parts = parts

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: otherwise it would be read once while the worker starts."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every figure of `READ` that is known now."""
        parts = self._parts()
        known = self._here(parts) | self._there(parts)
        for metric in READ:
            if known.get(metric.name):
                family = GaugeMetricFamily(f"{PREFIX}{metric.name}", metric.meaning, labels=metric.labels)
                for labels, value in known[metric.name]:
                    family.add_metric(labels, value)
                yield family

    def _here(self, parts: Parts) -> dict[str, list[Sample]]:
        consumer = getattr(self._worker, "consumer", None)
        # Both belong to a connection to the broker: without one nothing is parked, and nothing watched.
        lot, watch = getattr(consumer, "permit_lot", None), getattr(consumer, "permit_watch", None)
        settings = parts.settings
        packages = (version(name) for name in ("celery", "kombu", "redis"))
        pool = str(self._worker.pool_cls.__module__.rpartition(".")[2])
        build = (
            version("permitwait"), platform.python_version(), *packages, pool, settings.namespace, settings.mode
        )  # fmt: skip
        found: dict[str, list[Sample]] = {
            "build_info": [(build, 1.0)],
            "wait_limit_seconds": [((), settings.permit_wait_ms / 1000)],
            "parked_plans": [((), float(len(lot) if lot is not None else 0))],
            "parked_plans_limit": [((), float(MOST_PARKED))],
            "watch_alive": [((), float(bool(watch and watch.alive)))],
        }
        return found

    def _there(self, parts: Parts) -> dict[str, list[Sample]]:
        up: list[Sample] = [((), 1.0)]
        down: list[Sample] = [((), 0.0)]
        try:
            return {"redis_up": up} | _stands(parts)
        except StoreUnavailable:
            return {"redis_up": down}


def _stands(parts: Parts) -> dict[str, list[Sample]]:
    keys = parts.gate.keys
    asked_s = time.time()
    now_s = float(parts.store.now_s())
    offset_s = (asked_s + time.time()) / 2 - now_s
    open_plans, overdue_plans = parts.store.waiting(keys.open)
    switch = parts.store.text(keys.kill_switch)
    alive: list[Sample] = [
        ((issuer,), float(bool(parts.store.hash(keys.heartbeat(issuer))))) for issuer in parts.settings.issuers
    ]
    return {
        "clock_offset_seconds": [((), offset_s)],
        "kill_switch": [((), float(switch not in SWITCH_OFF))],
        "open_plans": [((), float(open_plans))],
        "overdue_plans": [((), float(overdue_plans))],
        "issuer_alive": alive,
    }
