"""Tells whoever counts what happens in this process: one fact per call, at the one place where it becomes true.

Nobody counts unless the worker says so (`workers/exporter.py`); then no call waits, and none raises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from tasks.outcome import Outcome

#: Takes the name of a figure, its labels' values, and how much to add or what was measured.
Count = Callable[[str, tuple[str, ...], float], None]


def _nobody(_name: str, _labels: tuple[str, ...], _value: float) -> None:
    pass


_count: Count = _nobody


def by(count: Count | None) -> None:
    """Have `count` receive every fact of this process from now on; None: nobody."""
    global _count  # noqa: PLW0603 - one process, one set of figures
    _count = count or _nobody


def count(name: str, *labels: str, value: float = 1.0) -> None:
    """One fact; its name and labels are those of `workers/metrics.py`."""
    _count(name, labels, value)


def ended(outcome: Outcome) -> None:
    """A plan has its outcome now: once per plan, in the process that recorded it."""
    _count("decisions", (outcome.decision, outcome.reason or "-"), 1.0)
    if outcome.attempts:  # without any it was never taken up, and never waited
        _count("wait_seconds", (outcome.decision,), outcome.wait_ms / 1000)
        _count("attempts", (), float(outcome.attempts))


def issued(issuer: str, verdict: str, reason: str) -> None:
    """One of our own issuers answered about a plan; `verdict` is the word of its script."""
    granted = verdict == "granted" or (verdict == "written" and not reason)
    refused = verdict in {"refused", "written", "in_flight"}
    _count("issuer_verdicts", (issuer, "granted" if granted else "refused" if refused else verdict, reason or "-"), 1.0)


@dataclass
class VenueCall:
    """A call of a venue that is under way; without an answer it was lost."""

    answer: str = "no_answer"


@contextmanager
def venue_call(venue: str, call: str) -> Iterator[VenueCall]:
    """Measure one call of a venue; the caller says what was answered."""
    began_s, under_way = monotonic(), VenueCall()
    try:
        yield under_way
    finally:
        _count("venue_seconds", (venue, call, under_way.answer), monotonic() - began_s)
