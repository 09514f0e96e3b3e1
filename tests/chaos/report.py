"""The table of a run, and what broke a promise with everything known about it. 80 columns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.chaos.counter import Finding
from tests.chaos.evidence import Evidence
from tests.chaos.journal import Fate
from tests.chaos.right import acknowledged
from tests.chaos.schedule import Kind

_WIDTH: Final = 80
_COLUMN: Final = 11
_MOST_SHOWN: Final = 20


def table(evidence: Evidence, counts: Mapping[str, int], findings: Iterable[Finding]) -> Iterator[str]:
    """Figures, then one line per rule."""
    yield from _figures("load", _load(evidence))
    yield from _figures("outcomes", _outcomes(evidence))
    yield from _figures("broken", {kind.value: counts.get(kind.value, 0) for kind in Kind} | _other(counts))
    yield _heading("promises")
    for finding in findings:
        bad = len(finding.violations)
        verdict = f"{bad} BROKEN" if bad else "ok"
        yield f"{finding.promise:<{_WIDTH - _COLUMN}}{verdict:>{_COLUMN}}"


def details(evidence: Evidence, findings: Iterable[Finding]) -> Iterator[str]:
    """Every violation with its plan's whole story."""
    for finding in findings:
        for violation in finding.violations[:_MOST_SHOWN]:
            yield f"\n{finding.rule}: {violation.plan_id or '-'}: {violation.found}"
            yield from _story(evidence, violation.plan_id)
        if len(finding.violations) > _MOST_SHOWN:
            yield f"\n{finding.rule}: {len(finding.violations) - _MOST_SHOWN} more"


def _story(evidence: Evidence, plan_id: str) -> Iterator[str]:
    if not plan_id:
        return
    for at_ms, line in sorted(_moments(evidence, plan_id)):
        yield f"  {at_ms} {line}"
    record = evidence.records.get(plan_id, {})
    kept = {name: value for name, value in record.items() if name not in {"intent", "steps_results", "plan_id"}}
    yield f"  record {kept}"
    yield f"  reply {evidence.replies.get(plan_id)}"


def _moments(evidence: Evidence, plan_id: str) -> Iterator[tuple[int, str]]:
    for sent in evidence.sent:
        if plan_id in {sent.plan_id, sent.task_id}:
            yield sent.from_ms, f"sent {sent.by} as {sent.task_id}: {sent.fate} at {sent.until_ms}"
    for permit in evidence.written_for.get(plan_id, ()):
        yield permit.sent_ms, f"{permit.issuer} {permit.verdict}, confirmed at {permit.until_ms or '?'}"
    for event in evidence.timelines.get(plan_id, ()):
        yield event.at_ms, " ".join(f"{name}={value}" for name, value in event.fields.items())
    for order in evidence.orders_of.get(plan_id, ()):
        yield order.at_ms, f"ORDER {order.qty} {order.symbol}"


def _load(evidence: Evidence) -> dict[str, int]:
    sendings = [sent for plan in evidence.sent_for.values() for sent in plan]
    fates = Counter(sent.fate for sent in sendings)
    return {
        "plans": len(evidence.plans),
        "plans acknowledged": acknowledged(evidence),
        "plans unknown": len(evidence.plans) - acknowledged(evidence),
        "sent": len(sendings),
        "sent again": len(sendings) - len(evidence.sent_for),
        "sent, unknown": fates[Fate.UNKNOWN],
        "conflicts": len(evidence.load.conflicts),
        "junk": len(evidence.load.junk),
        "set aside": len(evidence.set_aside),
        "permits": len(evidence.written),
    }


def _outcomes(evidence: Evidence) -> dict[str, int]:
    plans = [result for result in evidence.results if result.get("plan_id") in evidence.plans]
    ended_as = Counter(result.get("reason") or result.get("decision", "") for result in plans)
    consumed = sum(len(evidence.happened(plan_id, "consumed")) for plan_id in evidence.timelines)
    return {
        "orders": len(evidence.orders),
        "orders refused": len(evidence.refused),
        "permit sets consumed": consumed,
        "outcomes": len(plans),
        "claims taken over": sum(len(evidence.happened(plan, "claim_taken_over")) for plan in evidence.timelines),
    } | dict(ended_as.most_common())


def _other(counts: Mapping[str, int]) -> dict[str, int]:
    kinds = {kind.value for kind in Kind}
    return {name: number for name, number in counts.items() if name not in kinds}


def _figures(heading: str, figures: Mapping[str, int]) -> Iterator[str]:
    """Two to a line."""
    yield _heading(heading)
    cells = [f"{name:<32}{number:>6}" for name, number in figures.items()]
    for first in range(0, len(cells), 2):
        yield "    ".join(cells[first : first + 2])


def _heading(text: str) -> str:
    return f"{'-- ' + text + ' ':-<{_WIDTH}}"
