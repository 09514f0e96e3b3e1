"""Checklist and figures as lines for a terminal: 80 columns, plain ASCII, no meaning in colour alone."""

from collections.abc import Iterable, Iterator
from typing import Final

from rich.text import Text

from ops.status.checklist import Checklist, Mark
from ops.status.facts import Facts
from ops.status.figures import KINDS, by_symbol, ends, histogram, percentiles
from ops.status.words import ago, bar, clock, cut, number_of
from ops.switch import when
from tasks.life import Life

WIDTH: Final = 80
_BAR: Final = 40
#: Rows of a list that are shown; the rest is counted.
_MOST: Final = 12

_STYLES: Final = {Mark.OK: "green", Mark.NOT_YET: "yellow", Mark.FAILED: "bold red"}


def page(facts: Facts, points: Checklist, height: int | None = None) -> list[Text]:
    """Everything, or in a terminal of `height` rows too few for that: the checklist and the figures in few lines."""
    lines = [*_head(facts, points), *_checks(points), *_todos(points), *_figures(facts)]
    if height is not None and len(lines) > height:
        lines = [*_head(facts, points), *_checks(points), Text(), *_brief(facts)][:height]
    return lines


def _line(text: str = "", style: str = "") -> Text:
    return Text(cut(text, WIDTH), style=style, no_wrap=True)


def _head(facts: Facts, points: Checklist) -> Iterator[Text]:
    mode = f"mode {facts.setting('APPLY_MODE')}" if facts.workers else "no worker"
    place = f"namespace {facts.namespace}, {mode}"
    yield _line(f"{clock(facts.now_ms)} UTC  {place}")
    failed = any(check.mark is Mark.FAILED for check in points.checks)
    style = "bold green" if points.validated else "bold red" if failed else "bold yellow"
    yield _line(points.verdict, style)
    if facts.switch.is_set:
        yield _line(f"HALTED: {_switch(facts)}", "bold red")


def _checks(points: Checklist) -> Iterator[Text]:
    for check in points.checks:
        rest = cut(f"{check.name:27}{check.figure}", WIDTH - 9)
        yield Text.assemble((f"{check.mark.value:9}", _STYLES[check.mark]), rest)


def _todos(points: Checklist) -> Iterator[Text]:
    todos = dict.fromkeys(check.todo for check in points.checks if check.todo)
    if todos:
        yield _line()
        yield _line("To do")
    for todo in todos:
        yield _line(f"  {todo}")


def _figures(facts: Facts) -> Iterator[Text]:
    yield from _section("Decisions", _decisions(facts))
    yield from _section("Waits", _waits(facts))
    yield from _section("Now", _now(facts))
    yield from _section("By symbol", _symbols(facts))


def _section(title: str, lines: Iterable[str]) -> Iterator[Text]:
    shown = list(lines)
    if shown:
        yield _line()
        yield _line(title, "bold")
        yield from (_line(f"  {line}") for line in shown)


def _brief(facts: Facts) -> Iterator[Text]:
    reasons = ", ".join(f"{reason} {count}" for reason, count in facts.stats.by_reason().items())
    told = {
        "decisions": _counts(facts),
        "blocked by": reasons or "-",
        "wait of OK": _percentiles_of(facts),
        "waiting": _waiting(facts),
        "oldest": _oldest(facts),
        "workers": "; ".join(f"{worker.hostname} {_watch(facts, worker)}" for worker in facts.workers) or "none",
        "kill switch": _switch(facts),
    }
    for name, value in told.items():
        yield _line(f"{name:13}{value}")


def _counts(facts: Facts) -> str:
    return ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in ends(facts))


def _decisions(facts: Facts) -> Iterator[str]:
    last_ms = facts.last_decision_ms
    yield _counts(facts)
    if last_ms:
        yield f"the last {ago(facts.now_ms - last_ms)} ago; answered again with a stored outcome: {facts.stats.repeats}"
    yield from _bars(facts.stats.by_reason())
    aside = ", ".join(f"{reason} {count}" for reason, count in facts.stats.set_aside.items())
    if aside:
        yield f"messages set aside: {aside}"


def _bars(counts: dict[str, int]) -> Iterator[str]:
    most = max(counts.values(), default=0)
    for name, count in list(counts.items())[:_MOST]:
        yield f"{name:28}{count:>8} {bar(count, most, _BAR)}"
    if len(counts) > _MOST:
        yield f"and {number_of(len(counts) - _MOST, 'more reason')}, {sum(list(counts.values())[_MOST:])} plans"


def _percentiles_of(facts: Facts) -> str:
    told = percentiles(facts.stats.ok_waits)
    if told["longest"] is None:
        return "none yet"
    return ", ".join(f"{name} {ms} ms" for name, ms in told.items())


def _waits(facts: Facts) -> Iterator[str]:
    waits = facts.stats.ok_waits
    if not waits.total:
        return
    yield f"of {number_of(waits.total, 'plan')} until the permits were consumed; bound {facts.bound_ms} ms"
    yield _percentiles_of(facts)
    rows = histogram(waits, facts.bound_ms)
    most = max((row.count for row in rows), default=0)
    for row in rows:
        yield f"{row.name:>18}{row.count:>8} {bar(row.count, most, _BAR)}".rstrip()


def _now(facts: Facts) -> Iterator[str]:
    yield f"waiting      {_waiting(facts)}"
    yield f"oldest       {_oldest(facts)}"
    yield f"kill switch  {_switch(facts)}"
    asked = (name for name in facts.listed("APPLY_ISSUERS") if name in facts.issuers)
    yield f"issuers      {', '.join(f'{name} on {facts.issuers[name]}' for name in asked) or 'none of ours'}"
    for worker in facts.workers[:_MOST]:
        sign = f"{ago(facts.now_ms - worker.at_ms)} ago"
        yield f"{cut(worker.hostname, 30)}  pid {worker.pid}  {worker.pool} x{worker.concurrency}, {sign}:"
        clocks = f"clock {worker.clock_offset_ms:+} ms"
        yield f"    parked {worker.parked}  running {worker.running}  watch {_watch(facts, worker)}  {clocks}"
    if len(facts.workers) > _MOST:
        yield f"and {number_of(len(facts.workers) - _MOST, 'more worker')}"
    for gone in facts.gone[:_MOST]:
        yield f"{cut(gone.hostname, 30)}  GONE without a farewell, last seen {ago(facts.now_ms - gone.at_ms)} ago"


def _waiting(facts: Facts) -> str:
    return f"{number_of(facts.waiting, 'plan')} without an outcome, {facts.overdue} overdue"


def _oldest(facts: Facts) -> str:
    plan = facts.oldest
    return f"{plan.plan_id}, {plan.state} for {ago(facts.now_ms - plan.since_ms)}" if plan else "-"


def _watch(facts: Facts, worker: Life) -> str:
    # Both moments are told by the worker's own clock.
    since_ms = facts.now_ms - worker.clock_offset_ms - worker.watch_since_ms
    return worker.watch + (f" {ago(since_ms)}" if worker.watch_since_ms else "")


def _switch(facts: Facts) -> str:
    switch = facts.switch
    if not switch.is_set:
        return "off"
    who = f"set by {switch.who or 'unknown'} {when(switch.when)}"
    return f"{who}: {switch.why or 'no reason given'}"


def _symbols(facts: Facts) -> Iterator[str]:
    table = by_symbol(facts)
    if table:
        yield f"{'':16}" + "".join(f"{kind.replace('_', ' '):>11}" for kind in KINDS)
    for symbol, counts in list(table.items())[:_MOST]:
        yield f"{cut(symbol, 15):16}" + "".join(f"{counts[kind]:>11}" for kind in KINDS)
    if len(table) > _MOST:
        yield f"and {number_of(len(table) - _MOST, 'more symbol')}"
