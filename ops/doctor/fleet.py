"""Checks of the live workers, by what each says of itself every two seconds."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from ops.doctor.facts import Facts
from ops.doctor.finding import Said, Severity, check, danger, note, warning
from ops.doctor.server import NEAR, SKEW_S
from tasks.settings import in_force
from workers.park import MOST_PARKED

#: Whichever worker takes a plan up, the same must become of it.
DECISIVE: Final = ("APPLY_MODE", "APPLY_ALLOWLIST", "APPLY_PERMITS")

#: May differ from worker to worker.
_OWN: Final = ("APPLY_REDIS_URL", "APPLY_BROKER_URL", "APPLY_RESULT_BACKEND", "APPLY_METRICS_ADDRESS")

#: A watch is opened again after a second.
_BLIND_MS: Final = 5_000


@check(Severity.WARNING)
def versions(facts: Facts) -> Iterator[Said]:
    """Do all workers run the same code?"""
    here = facts.host.versions
    packages = {"permitwait": "version", "celery": "celery", "kombu": "kombu", "redis": "redis_py"}
    for name, field in packages.items():
        found = {str(getattr(life, field)) for life in facts.state.lives} - {""}
        if len(found | {here.get(name, "")} - {""}) > 1:
            listed = ", ".join(sorted(found))
            yield warning(
                f"workers run {name} {listed}; here it is {here.get(name)}",
                "upgrade the others (docs/deploy.md), one after the other: `systemctl restart permitwait-worker@1`",
            )
    unread = [name for name, life in facts.state.workers.items() if life is None]
    if unread:
        yield warning(
            f"what these workers say of themselves cannot be read by this version: {', '.join(unread)}",
            "upgrade them, or this command",
        )


@check(Severity.DANGER)
def settings_differ(facts: Facts) -> Iterator[Said]:
    """Would the same become of a plan, whichever worker takes it up?"""
    here = in_force(facts.settings, facts.governor, facts.position)
    for name in here:
        if name in _OWN:
            continue
        values: dict[str, list[str]] = defaultdict(list)
        for life in facts.state.lives:
            values[life.config.get(name, here[name])].append(life.hostname)
        if len(values) > 1:
            bad = danger if name in DECISIVE else warning
            said = "; ".join(f"{value or 'empty'} on {', '.join(hosts)}" for value, hosts in values.items())
            yield bad(f"workers differ in {name}: {said}", f"one environment file for all; here `{name}={here[name]}`")
        elif values and here[name] not in values:
            value = next(iter(values))
            yield warning(
                f"the workers run with {name}={value}, this command with {here[name] or 'nothing'}: it judges settings "
                "that are not in force",
                f"`{name}={value}` here, or restart the workers",
            )


@check(Severity.WARNING)
def worker_clocks(facts: Facts) -> Iterator[Said]:
    """Do the workers' machines and Redis agree on the time?"""
    for life in facts.state.lives:
        if abs(life.clock_offset_ms) > SKEW_S * 1000:
            ahead = "behind" if life.clock_offset_ms > 0 else "ahead of"
            yield warning(
                f"the machine of {life.hostname} is {abs(life.clock_offset_ms) / 1000:.1f} s {ahead} Redis",
                "`timedatectl set-ntp true` there",
            )


@check(Severity.WARNING)
def watches(facts: Facts) -> Iterator[Said]:
    """Do arriving permits wake their plans in every worker?"""
    for life in facts.state.lives:
        blind_ms = life.at_ms - life.clock_offset_ms - life.watch_since_ms
        if life.watch == "blind" and blind_ms > _BLIND_MS:
            yield warning(
                f"{life.hostname} has been blind for {blind_ms / 1000:.0f} s: it finds permits by looking",
                "its log says why ([WATCH] blind); often a login without `+client|tracking`",
            )


@check(Severity.WARNING)
def parked(facts: Facts) -> Iterator[Said]:
    """Is there room for more waiting plans?"""
    for life in facts.state.lives:
        if life.parked > NEAR * MOST_PARKED:
            yield warning(
                f"{life.hostname} holds {life.parked} waiting plans of {MOST_PARKED} that it will",
                "`celery -A workers worker` once more, and find out why permits come late",
            )


@check(Severity.NOTE)
def events(facts: Facts) -> Iterator[Said]:
    """Do the workers send events? They cost a fifth of a waiting plan's CPU while somebody watches."""
    named = [life.hostname for life in facts.state.lives if life.events == "yes"]
    if named:
        yield note(
            f"workers send events, to Flower or celery events: {', '.join(named)}",
            "where speed matters: `celery -A workers control disable_events`, and figures by APPLY_METRICS_ADDRESS",
        )
