"""The seed's checklist, computed from what is known. Pure.

Where a figure cannot exist yet, a point says so: *not yet* is no failure. Validated means that every point holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ops.status.facts import Facts
from ops.status.words import ago, clock, number_of
from tasks.reasons import Reason

#: Cycles from intent to outcome that the seed wants to see before it promotes.
CYCLES: Final = 5


class Mark(StrEnum):
    """What becomes of a point."""

    OK = "ok"
    NOT_YET = "not yet"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Check:
    """One point of the checklist: its mark, the figure behind it, and what to do where it does not hold."""

    name: str
    mark: Mark
    figure: str
    todo: str = ""


@dataclass(frozen=True)
class Checklist:
    """Every point, in the order of the seed."""

    checks: tuple[Check, ...]

    @property
    def validated(self) -> bool:
        """Whether every point holds."""
        return all(check.mark is Mark.OK for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line that says it, with the numbers."""
        counts = ", ".join(f"{sum(check.mark is mark for check in self.checks)} {mark.lower()}" for mark in Mark)
        return f"{'VALIDATED' if self.validated else 'NOT VALIDATED'}: {counts}"


def checklist(facts: Facts) -> Checklist:
    """Judge every point."""
    return Checklist(tuple(Check(name, *judge(facts)) for name, judge in POINTS.items()) + tuple(_readable(facts)))


Judged = tuple[Mark, str] | tuple[Mark, str, str]

_SUBMIT: Final = "submit plans: permitwait submit FILE --wait"
_START: Final = "start one: celery -A workers worker"


def _worker(facts: Facts) -> Judged:
    versions = sorted({worker.version for worker in facts.workers})
    if len(versions) > 1:
        found = f"{number_of(facts.workers, 'worker')}, versions {' and '.join(versions)}"
        return Mark.FAILED, found, "restart the workers of the older version"
    if facts.workers:
        gone = f", {len(facts.gone)} gone" if facts.gone else ""
        return Mark.OK, f"{number_of(facts.workers, 'worker')}, permitwait {versions[0]}{gone}"
    if not facts.gone:
        # One that stops in order is not missed, but its plans are still counted.
        ran = facts.stats.taken_up
        return (Mark.FAILED, "none is alive", _START) if ran else (Mark.NOT_YET, "none was ever seen here", _START)
    last = max(facts.gone, key=lambda gone: gone.at_ms)
    return Mark.FAILED, f"none; {last.hostname} was last seen {ago(facts.now_ms - last.at_ms)} ago", _START


def _config(facts: Facts) -> Judged:
    if not facts.workers:
        return Mark.NOT_YET, "no worker to ask", _START
    if facts.differences:
        name, values = next(iter(facts.differences.items()))
        told = ", ".join(f"{value or 'unset'} on {workers[0]}" for value, workers in values.items())
        more = f" (and {len(facts.differences) - 1} more)" if len(facts.differences) > 1 else ""
        return Mark.FAILED, f"{name}: {told}{more}", "give every worker the same settings, and restart them"
    symbols = number_of(facts.listed("APPLY_ALLOWLIST"), "symbol")
    return Mark.OK, f"mode {facts.setting('APPLY_MODE')}, {symbols}, wait at most {facts.bound_ms} ms"


def _issuers(facts: Facts) -> Judged:
    own = facts.listed("APPLY_ISSUERS")
    outside = [permit for permit in facts.listed("APPLY_PERMITS") if permit not in own]
    silent = [issuer for issuer in own if issuer not in facts.issuers]
    if silent and not (facts.workers or facts.gone):
        return Mark.NOT_YET, "no worker to ask", _START
    if silent:
        found = f"silent: {', '.join(silent)}"
        return Mark.FAILED, found, "start a worker that reads the issuers' queues (governor, position)"
    if outside and not facts.stats.ok_waits.total:
        found = f"{', '.join(outside)} from outside: none consumed yet"
        return Mark.NOT_YET, found, "see that the services write permits, then " + _SUBMIT
    told = [f"{', '.join(names)} {how}" for names, how in ((own, "alive"), (outside, "seen from outside")) if names]
    return Mark.OK, "; ".join(told)


def _first_execute(facts: Facts) -> Judged:
    first_ms = facts.stats.first_taken_up_ms
    if first_ms is None:
        return Mark.NOT_YET, "no plan was taken up", _SUBMIT
    return Mark.OK, f"{clock(first_ms)}, {number_of(facts.stats.taken_up, 'plan')} since"


def _first_ok(facts: Facts) -> Judged:
    first_ms = facts.stats.first_ok_ms
    if first_ms is None:
        explain = "see why the plans were blocked: permitwait explain PLAN_ID"
        return Mark.NOT_YET, "no permits were consumed", explain if facts.stats.ended else _SUBMIT
    return Mark.OK, f"{clock(first_ms)}, {facts.stats.ok_waits.total} since"


def _waits(facts: Facts) -> Judged:
    waits = facts.stats.ok_waits
    if waits.longest_ms is None:
        return Mark.NOT_YET, "no permits were consumed", _SUBMIT
    late = waits.between(facts.bound_ms, float("inf"))
    found = f"{waits.total - late} of {waits.total} below {facts.bound_ms} ms, longest {waits.longest_ms} ms"
    return (
        (Mark.FAILED, found, "was APPLY_PERMIT_WAIT_MS lowered? then begin anew: permitwait status --reset")
        if (late)
        else (Mark.OK, found)
    )


def _quantities(facts: Facts) -> Judged:
    total, wrong = facts.stats.ok_waits.total, facts.stats.qty_not_positive
    if not total:
        return Mark.NOT_YET, "no permits were consumed", _SUBMIT
    found = f"{total - wrong} of {total} positive"
    return (Mark.FAILED, found, "halt now: permitwait halt; then explain those plans") if wrong else (Mark.OK, found)


def _orders(facts: Facts) -> Judged:
    executed, rejected, unknown = (facts.stats.how_many(how) for how in ("executed", "rejected", "unknown"))
    resolved = sum(facts.stats.resolved.values())
    found = f"{executed} confirmed, {rejected} rejected, {unknown} unknown" + (
        f" ({resolved} resolved)" if resolved else ""
    )
    if unknown > resolved:
        return Mark.FAILED, found, "ask the venue, then: permitwait open --resolve PLAN_ID"
    if executed:
        return Mark.OK, found
    if facts.setting("APPLY_MODE") == "dry_run":
        return Mark.NOT_YET, "dry run makes no orders", "set APPLY_MODE=paper"
    return Mark.NOT_YET, found, _SUBMIT


def _cycles(facts: Facts) -> Judged:
    executed, dry = facts.stats.how_many("executed"), facts.stats.how_many("dry_run")
    found = f"{executed + dry} successful" + (f", {dry} of them in dry run" if dry else "")
    return (Mark.OK, found) if executed + dry >= CYCLES else (Mark.NOT_YET, found, _SUBMIT)


def race_errors(facts: Facts) -> dict[str, int]:
    """What must never happen when everything works together, and how often it was counted.

    `plan_conflict`: one plan id came with two contents. `interrupted`: permits were consumed, and the worker was lost
    before its order. `order_unknown`: an order that may exist and is not known. `orders doubled`: the paper venue took
    an order twice.
    """
    by_reason, set_aside = facts.stats.by_reason(), facts.stats.set_aside
    counts = {reason.value: by_reason.get(reason, 0) for reason in (Reason.INTERRUPTED, Reason.ORDER_UNKNOWN)}
    conflict = Reason.PLAN_CONFLICT.value
    return {conflict: set_aside.get(conflict, 0), **counts, "orders doubled": facts.stats.orders_doubled}


def _races(facts: Facts) -> Judged:
    found = {name: count for name, count in race_errors(facts).items() if count}
    ended = sum(facts.stats.ended.values())
    if found:
        told = ", ".join(f"{name} {count}" for name, count in found.items())
        return Mark.FAILED, told, "find each cause (permitwait explain), then begin anew: permitwait status --reset"
    if not ended:
        return Mark.NOT_YET, "no plan has ended", _SUBMIT
    return Mark.OK, f"none in {number_of(ended, 'decision')}"


#: The points, in the order of the seed.
POINTS: Final[dict[str, Callable[[Facts], Judged]]] = {
    "worker and version seen": _worker,
    "one configuration in force": _config,
    "issuers alive": _issuers,
    "first EXECUTE observed": _first_execute,
    "first [PERMIT_WAIT] OK": _first_ok,
    "every wait_ms below bound": _waits,
    "every safe_qty above 0": _quantities,
    "orders confirmed": _orders,
    f"{CYCLES} or more cycles": _cycles,
    "no race error": _races,
}


def _readable(facts: Facts) -> Iterator[Check]:
    if facts.unreadable:
        more = f" (and {len(facts.unreadable) - 1} more)" if len(facts.unreadable) > 1 else ""
        todo = "something else wrote there: look at the key, and delete what is not ours"
        yield Check("figures readable", Mark.FAILED, f"{facts.unreadable[0]}{more}", todo)
