"""Every figure that a worker shows under `/metrics`: name, kind, labels, meaning. Pure data; docs/metrics.md lists it.

Labels take few values, all known beforehand: never a plan, a symbol or an account.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tasks.reasons import Reason

PREFIX: Final = "permitwait_"

#: Seconds. The wait is bounded by 1.2 s unless configured otherwise, and at most by 60 s.
_WAIT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.5, 5.0, 10.0, 60.0)
_CALL_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_VENUES_WORD: Final = {Reason.ORDER_REJECTED: "REJECTED", Reason.ORDER_UNKNOWN: "UNKNOWN"}

#: Every decision and reason with which a plan can end.
_ENDS: Final = (
    ("EXECUTE", "-"),
    *((_VENUES_WORD.get(reason, "BLOCKED"), reason.value) for reason in Reason if reason != Reason.PLAN_CONFLICT),
)


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        known: labels' values that are there from the start, at 0: what first appears at 1 is no increase to Prometheus.
        shared: it says the same on every worker, so max() and not sum() is right.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()
    shared: bool = False

    @property
    def exported(self) -> str:
        """The name as Prometheus sees it; a histogram's series add `_bucket`, `_sum` and `_count`."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


#: Counted where they happen (`tasks/observed.py`), by the process that saw it: sum() over workers is right.
COUNTED: Final = (
    Metric("taken_up", "counter", (), "Plans that this worker was the first to look at."),
    Metric("decisions", "counter", ("decision", "reason"), "Plans that ended here, by outcome; reason - where none.",
           known=_ENDS),
    Metric("wait_seconds", "histogram", ("decision",), "From a plan's take-up to its consumption or its block.",
           _WAIT_BUCKETS),
    Metric("attempts", "counter", (), "Looks at plans until they ended, counted at their end."),
    Metric("sweep_endings", "counter", ("decision", "reason"), "Overdue plans that the sweep of this worker ended.",
           known=_ENDS),
    Metric("takeovers", "counter", (), "Claims of lost workers taken over; each order is then looked up."),
    Metric("set_aside", "counter", ("reason",), "Messages and queue entries put aside without touching a plan.",
           known=(("undecodable",), ("invalid_intent",), ("plan_conflict",))),
    Metric("venue_seconds", "histogram", ("venue", "call", "answer"), "Time until the venue answered; no_answer: lost.",
           _CALL_BUCKETS),
    Metric("issuer_verdicts", "counter", ("issuer", "verdict", "reason"), "Answers of our own judges."),
    Metric("redis_errors", "counter", ("kind",), "Calls of the permits' Redis that failed.",
           known=(("timeout",), ("connection",), ("refused",))),
    Metric("watch_blind_seconds", "counter", (), "Time in which permits were found by looking, not by being told."),
    Metric("metrics_dropped", "counter", (), "Facts of pool children that the main process was too busy to count."),
)  # fmt: skip

#: Read when they are asked for.
READ: Final = (
    Metric("build_info", "gauge", ("version", "python", "celery", "kombu", "redis_py", "pool", "namespace", "mode"),
           "Always 1."),
    Metric("wait_limit_seconds", "gauge", (), "APPLY_PERMIT_WAIT_MS."),
    Metric("parked_plans", "gauge", (), "Plans that wait in this worker now."),
    Metric("parked_plans_limit", "gauge", (), "Beyond it, messages wait in the broker."),
    Metric("watch_alive", "gauge", (), "1 while arriving permits wake their plans, 0 while the watch is blind."),
    Metric("redis_up", "gauge", (), "1 when the permits' Redis answered this scrape."),
    Metric("clock_offset_seconds", "gauge", (), "This machine's clock minus the Redis server's."),
    Metric("kill_switch", "gauge", (), "1 while the kill switch is set.", shared=True),
    Metric("open_plans", "gauge", (), "Plans without an outcome.", shared=True),
    Metric("overdue_plans", "gauge", (), "Plans that should have ended, and have not.", shared=True),
    Metric("issuer_alive", "gauge", ("issuer",), "1 while an issuer of ours gives signs of life.", shared=True),
)  # fmt: skip

METRICS: Final = (*COUNTED, *READ)
