"""Runs every check, prints what was found and the verdict."""

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Final

from ops import screen
from ops.commands import UNREACHABLE
from ops.doctor.checks import ALL
from ops.doctor.facts import Facts
from ops.doctor.finding import Finding, Severity
from ops.doctor.gather import gather
from tasks.errors import BadSettings
from tasks.settings import Settings, governor_settings, position_settings

_STYLES: Final = {Severity.DANGER: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_WIDTH: Final = 80


def examine(facts: Facts) -> list[Finding]:
    """Every finding, the worst first, otherwise in the order of the checks."""
    found = [finding for check in ALL for finding in check.findings(facts)]
    return sorted(found, key=lambda finding: tuple(Severity).index(finding.severity))


def run(settings: Settings, accepted: Sequence[str], flower_url: str, *, as_json: bool) -> int:
    """Print every finding with its fix. Exit code: 0 safe, 1 a danger that was not accepted, 3 no broker.

    Raises:
        StoreUnavailable: the permits' Redis gave no answer.
        BadSettings: a check to be accepted does not exist.
    """
    names = [check.name for check in ALL]
    for name in accepted:
        if name not in names:
            raise BadSettings(f"--accept {name}: there is no such check; known are {', '.join(names)}")
    facts = gather(settings, governor_settings(), position_settings(), flower_url=flower_url)
    findings = examine(facts)
    safe = not any(one.severity == Severity.DANGER and one.check not in accepted for one in findings)
    if as_json:
        listed = [asdict(one) | {"accepted": one.check in accepted} for one in findings]
        screen.data({"safe": safe, "checks": names, "findings": listed})
    else:
        _show(findings, accepted, safe=safe)
    return UNREACHABLE if facts.broker.error else 0 if safe else 1


def _show(findings: Sequence[Finding], accepted: Sequence[str], *, safe: bool) -> None:
    for one in findings:
        word = "accepted" if one.check in accepted else one.severity.value
        screen.out.print(f"{word.upper():8} {one.check}", markup=False, style=_STYLES[one.severity])
        for text, first in ((one.found, "  "), (one.fix, "  fix: ")):
            screen.out.print(
                fill(text, _WIDTH, initial_indent=first, subsequent_indent="  ", break_long_words=False,
                     break_on_hyphens=False),
                markup=False,
            )  # fmt: skip
    numbers = {severity: sum(one.severity == severity for one in findings) for severity in Severity}
    counts = [f"{number} {severity.value}{'s' * (number != 1)}" for severity, number in numbers.items()]
    verdict = "SAFE to trade" if safe else "NOT SAFE to trade"
    screen.out.print(
        f"{verdict}: {len(ALL)} checks, {', '.join(counts)}", markup=False, style="green" if safe else "bold red"
    )
