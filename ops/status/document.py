"""Checklist and figures as one JSON document. Times are epoch ms on the Redis clock, null where there is none yet."""

from dataclasses import asdict
from typing import Any

from ops.status.checklist import Checklist, race_errors
from ops.status.facts import Facts
from ops.status.figures import by_symbol, ends, histogram, parked, percentiles
from tasks.stats import RESOLUTION


def document(facts: Facts, points: Checklist) -> dict[str, Any]:
    """What `permitwait status --json` prints."""
    stats = facts.stats
    return {
        "validated": points.validated,
        "verdict": points.verdict,
        "at_ms": facts.now_ms,
        "namespace": facts.namespace,
        "checklist": [asdict(check) for check in points.checks],
        "kill_switch": asdict(facts.switch),
        "decisions": {
            "taken_up": stats.taken_up,
            "first_taken_up_ms": stats.first_taken_up_ms,
            "permits_consumed": stats.ok_waits.total,
            "first_ok_ms": stats.first_ok_ms,
            "last_ms": facts.last_decision_ms,
            **dict(ends(facts)),
            "attempts": stats.attempts,
            "repeats": stats.repeats,
            "by_reason": stats.by_reason(),
            "by_symbol": by_symbol(facts),
            "set_aside": dict(stats.set_aside),
            "resolved": dict(stats.resolved),
            "race_errors": race_errors(facts),
        },
        "wait_ms": {
            "bound": facts.bound_ms,
            "resolution": RESOLUTION,
            "ok": {
                "count": stats.ok_waits.total,
                **percentiles(stats.ok_waits),
                "histogram": [asdict(row) for row in histogram(stats.ok_waits, facts.bound_ms)],
            },
            "blocked": {"count": stats.blocked_waits.total, **percentiles(stats.blocked_waits)},
        },
        "now": {
            "waiting": facts.waiting,
            "overdue": facts.overdue,
            "parked": parked(facts),
            "oldest": asdict(facts.oldest) if facts.oldest else None,
        },
        "workers": [asdict(worker) for worker in facts.workers],
        "gone": [asdict(gone) for gone in facts.gone],
        "issuers": dict(facts.issuers),
        "differences": facts.differences,
        "unreadable": list(facts.unreadable),
    }
