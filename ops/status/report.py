"""Checklist and figures as a Markdown document that can be read alone, and is dated."""

from collections.abc import Iterable, Iterator, Sequence

from ops.status.checklist import Checklist, Mark, race_errors
from ops.status.facts import Facts
from ops.status.figures import KINDS, by_symbol, ends, histogram, parked, percentiles
from ops.status.words import ago, bar, clock
from ops.switch import when
from tasks.reasons import Reason
from tasks.stats import OTHER, RESOLUTION

_BAR = 40


def report(facts: Facts, points: Checklist) -> str:
    """The status document."""
    return "\n".join([*_head(facts, points), *_decisions(facts), *_waits(facts), *_now(facts), *_workers(facts)]) + "\n"


def _head(facts: Facts, points: Checklist) -> Iterator[str]:
    yield f"# Permit Wait: status of namespace `{facts.namespace}`, {clock(facts.now_ms)} UTC"
    yield ""
    yield (
        f"**{points.verdict}.** An order leaves only after every permit for it was consumed in one step; everything "
        "else blocks, which is the safe outcome. This page was written by `permitwait status --report` from the "
        "counters that the gate keeps with its decisions."
    )
    switch = facts.switch
    if switch.is_set:
        yield ""
        yield (
            f"**The kill switch is set**, by {_cell(switch.who or 'unknown')} {when(switch.when)}: "
            f"{_cell(switch.why or 'no reason given')}. No order leaves until `permitwait resume`."
        )
    yield ""
    yield from _table(("", "point", "figure"), ((check.mark, check.name, check.figure) for check in points.checks))
    todos = dict.fromkeys(check.todo for check in points.checks if check.todo)
    if todos:
        yield ""
        yield "To do:"
        yield ""
        yield from (f"- {todo}" for todo in todos)
    if any(check.mark is Mark.NOT_YET for check in points.checks):
        yield ""
        yield "*Not yet* means that the figure cannot exist yet; it is no failure."


def _decisions(facts: Facts) -> Iterator[str]:
    stats, total = facts.stats, sum(facts.stats.ended.values())
    since = f" since {clock(stats.first_taken_up_ms)} UTC" if stats.first_taken_up_ms else ""
    yield from ("", "## Decisions", "")
    counts = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in ends(facts))
    yield f"{total} plans and messages were decided{since}: {counts}."
    if facts.last_decision_ms:
        yield f"The last decision was {ago(facts.now_ms - facts.last_decision_ms)} before this page."
    reasons = stats.by_reason()
    if reasons:
        yield ""
        meanings = {reason.value: reason.meaning for reason in Reason}
        rows = ((f"`{name}`", str(count), meanings.get(name, "")) for name, count in reasons.items())
        yield from _table(("reason", "plans", "what happened"), rows)
    table = by_symbol(facts)
    if table:
        yield ""
        heads = ("symbol", *(kind.replace("_", " ") for kind in KINDS))
        yield from _table(heads, ((symbol, *(str(row[kind]) for kind in KINDS)) for symbol, row in table.items()))
    if OTHER in table:
        yield ""
        yield f"`{OTHER}` are all symbols that are not in APPLY_ALLOWLIST."
    aside = ", ".join(f"{reason} {count}" for reason, count in stats.set_aside.items())
    races = ", ".join(f"{name} {count}" for name, count in race_errors(facts).items())
    yield ""
    yield f"Answered again with a stored outcome: {stats.repeats}. Messages set aside: {aside or 'none'}."
    yield f"Race errors: {races}."


def _waits(facts: Facts) -> Iterator[str]:
    waits = facts.stats.ok_waits
    yield from ("", "## Waits", "")
    told = percentiles(waits)
    if told["longest"] is None:
        yield f"No permits were consumed yet. A plan waits for them at most {facts.bound_ms} ms."
        return
    figures = ", ".join(f"{name} {ms} ms" for name, ms in told.items())
    yield (
        f"From the moment a worker took the plan up until its permits were consumed, {waits.total} plans: {figures}; "
        f"bound {facts.bound_ms} ms. Waits are counted {RESOLUTION}; figures are rounded up to that."
    )
    rows = histogram(waits, facts.bound_ms)
    most = max(row.count for row in rows)
    yield from ("", "```")
    yield from (f"{row.name:>18}{row.count:>8} {bar(row.count, most, _BAR)}".rstrip() for row in rows)
    yield "```"


def _now(facts: Facts) -> Iterator[str]:
    plan = facts.oldest
    yield from ("", "## At that moment", "")
    yield f"- plans without an outcome: {facts.waiting}; overdue: {facts.overdue}; parked in workers: {parked(facts)}"
    if plan:
        yield f"- the oldest: `{plan.plan_id}`, {plan.state} for {ago(facts.now_ms - plan.since_ms)}"
    yield f"- issuers of ours alive: {', '.join(facts.issuers) or 'none'}"


def _workers(facts: Facts) -> Iterator[str]:
    yield from ("", "## Workers", "")
    heads = ("worker", "version", "pool", "queues", "parked", "watch", "clock")
    rows = (
        (
            f"`{worker.hostname}`",
            worker.version,
            f"{worker.pool} x{worker.concurrency}",
            ", ".join(worker.queues),
            str(worker.parked),
            worker.watch,
            f"{worker.clock_offset_ms:+} ms",
        )
        for worker in facts.workers
    )
    yield from _table(heads, rows) if facts.workers else ("None is alive.",)
    for gone in facts.gone:
        yield ""
        yield f"`{_cell(gone.hostname)}` is gone without a farewell, last seen {clock(gone.at_ms)} UTC."
    config = facts.workers[0].config if facts.workers else {}
    if config:
        yield from ("", "## Configuration in force", "")
        yield from _table(("setting", "value"), ((f"`{name}`", value) for name, value in config.items()))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_cell(part) for part in row)} |"


def _cell(text: str) -> str:
    return ascii(f"{text}")[1:-1].replace("|", "\\|")
