"""The figures of one worker, as prometheus-client keeps and shows them."""

from collections.abc import Callable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from tasks.address import HostPort
from workers.metrics import COUNTED, PREFIX, Metric
from workers.reading import Reading


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    name = f"{PREFIX}{metric.name}"
    if metric.kind == "counter":
        return Counter(name, metric.meaning, metric.labels, registry=registry)
    return Histogram(name, metric.meaning, metric.labels, buckets=metric.buckets, registry=registry)


class Figures:
    """A registry of its own: what other libraries of the process count is not ours to show."""

    def __init__(self, reading: Reading) -> None:
        # Twice the series, for the time at which each began, which Prometheus does not need.
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped in prometheus-client
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Counter | Histogram] = {}
        for metric in COUNTED:
            made = self._metrics[metric.name] = _made(metric, self._registry)
            for labels in metric.known:
                made.labels(*labels)
        ProcessCollector(registry=self._registry)
        self._registry.register(reading)
        # Finding a label's child costs more than adding to it.
        self._adders: dict[tuple[str, tuple[str, ...]], Callable[[float], Any]] = {}

    def count(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Add to a counter, or observe in a histogram; from any thread of this process."""
        add = self._adders.get((name, labels))
        if add is None:
            metric = self._metrics[name]
            child: Any = metric.labels(*labels) if labels else metric
            add = self._adders[name, labels] = child.inc if isinstance(metric, Counter) else child.observe
        add(value)

    def serve(self, address: HostPort) -> Callable[[], None]:
        """Show the figures there, on a thread; call the answer to stop.

        Raises:
            OSError: the address cannot be listened on.
        """
        server, thread = start_http_server(address.port, address.host, self._registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close
