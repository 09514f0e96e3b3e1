"""Checks of what stands at the gate: the switch, plans that should have ended, the judges."""

from collections.abc import Iterator
from typing import Final

from ops.doctor.facts import Facts
from ops.doctor.finding import Said, Severity, check, danger, note, warning
from ops.switch import when
from tasks.judge import SWITCH_OFF

#: The sweep looks once a second and may have much to do.
OVERDUE_S: Final = 5.0


@check(Severity.WARNING)
def kill_switch(facts: Facts) -> Iterator[Said]:
    """Is trading halted?"""
    state = facts.state
    if state.kill_switch not in SWITCH_OFF:
        who, why = state.switch_info.get("who", "unknown"), state.switch_info.get("why", "no reason given")
        yield warning(
            f"the kill switch is set, by {who} {when(state.switch_info.get('when', ''))}: {why}; no order leaves",
            "find out why, then `permitwait resume`",
        )


@check(Severity.DANGER)
def overdue(facts: Facts) -> Iterator[Said]:
    """Does every plan get its answer in time? A sweep in every worker ends the ones that were lost."""
    state = facts.state
    if state.oldest_overdue_s > OVERDUE_S:
        yield danger(
            f"{state.overdue} of {state.open_plans} open plans should have ended, the oldest "
            f"{state.oldest_overdue_s:.0f} s ago",
            "`celery -A workers worker`: any worker ends them; if one runs, its log says why not: [SWEEP]; "
            "permitwait open lists them",
        )


@check(Severity.DANGER)
def issuers(facts: Facts) -> Iterator[Said]:
    """Does every issuer of ours give a sign of life? Without it, each plan ends as missing_<issuer>."""
    silent = [name for name, age_s in facts.state.issuers.items() if age_s is None]
    if not (facts.broker.readers or facts.state.workers):
        return  # no worker at all is one finding, not three
    queues = {"governor": "governor", "p33": "position"}
    for name in silent:
        yield danger(
            f"issuer {name} gives no sign of life: no worker reads queue {queues[name]}",
            f"`celery -A workers worker -Q {queues[name]}`; or, where another service writes this permit, drop it "
            "from APPLY_ISSUERS",
        )


@check(Severity.NOTE)
def mode(facts: Facts) -> Iterator[Said]:
    """Where do orders go?"""
    settings = facts.settings
    if settings.mode == "dry_run":
        yield note("APPLY_MODE=dry_run: permits are consumed and no order leaves", "`APPLY_MODE=paper`, when ready")
    if settings.mode == "testnet":
        yield note("APPLY_MODE=testnet: orders go to the exchange's test network", "`APPLY_MODE=paper` to stop that")
    if settings.mode == "live":
        yield note("APPLY_MODE=live: orders are real", "`APPLY_MODE=paper` to stop that")
    if "governor" not in settings.issuers:
        yield note(
            "the Governor is not ours (APPLY_ISSUERS): GOV_* limits are not in force here",
            "`APPLY_ISSUERS=governor,p33`, or see to the limits of that service",
        )
