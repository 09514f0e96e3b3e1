"""Holds every rule against the evidence of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos import once, right
from tests.chaos.evidence import Evidence
from tests.chaos.once import Violation

Rule = Callable[[Evidence], Iterator[Violation]]

RULES: Final[tuple[Rule, ...]] = (
    once.one_order,
    once.one_outcome,
    once.one_consumption,
    once.nothing_late,
    once.one_answer,
    once.lost_messages,
    once.nothing_left,
    once.nothing_trimmed,
    once.nothing_unknown,
    right.only_granted,
    right.one_story,
    right.right_reason,
    right.switch_obeyed,
    right.positions_add_up,
    right.others_set_aside,
)


@dataclass(frozen=True)
class Finding:
    """What one rule found."""

    rule: str
    promise: str
    violations: tuple[Violation, ...]


def count(evidence: Evidence) -> tuple[Finding, ...]:
    """Every rule, in a fixed order."""
    return tuple(Finding(rule.__name__, (rule.__doc__ or "").splitlines()[0], tuple(rule(evidence))) for rule in RULES)


def broken(findings: tuple[Finding, ...]) -> bool:
    """Whether a promise was broken."""
    return any(finding.violations for finding in findings)
