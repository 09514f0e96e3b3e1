"""What a check finds, and the list of all checks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ops.doctor.facts import Facts


class Severity(StrEnum):
    """How bad a finding is."""

    DANGER = "danger"
    """An order may be wrong, lost or doubled, a plan may stay without an answer, or no plan can execute."""
    WARNING = "warning"
    """It trades, and something will hurt: slower, open to others, one fault away from danger."""
    NOTE = "note"
    """Not wrong; whoever trades should know."""


@dataclass(frozen=True)
class Said:
    """What one check found: one sentence, and the command or line of configuration that mends it."""

    severity: Severity
    found: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """What was found, by which check."""

    check: str
    severity: Severity
    found: str
    fix: str


@dataclass(frozen=True)
class Check:
    """One question about a deployment; `worst` is the worst answer it can get."""

    name: str
    question: str
    worst: Severity
    answers: Callable[[Facts], Iterable[Said]]

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """What is wrong, nothing where all is well."""
        for said in self.answers(facts):
            yield Finding(self.name, said.severity, said.found, said.fix)


#: Filled by the modules of checks; `ops/doctor/checks.py` has read them all.
CHECKS: Final[list[Check]] = []


def check(worst: Severity) -> Callable[[Callable[[Facts], Iterable[Said]]], Callable[[Facts], Iterable[Said]]]:
    """Enter a function into the list: its name is the check's name, its docstring the question."""

    def enter(answers: Callable[[Facts], Iterable[Said]]) -> Callable[[Facts], Iterable[Said]]:
        CHECKS.append(Check(answers.__name__, " ".join((answers.__doc__ or "").split()), worst, answers))
        return answers

    return enter


def danger(found: str, fix: str) -> Said:
    """See `Severity.DANGER`."""
    return Said(Severity.DANGER, found, fix)


def warning(found: str, fix: str) -> Said:
    """See `Severity.WARNING`."""
    return Said(Severity.WARNING, found, fix)


def note(found: str, fix: str) -> Said:
    """See `Severity.NOTE`."""
    return Said(Severity.NOTE, found, fix)
