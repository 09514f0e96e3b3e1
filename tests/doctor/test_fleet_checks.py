"""What the live workers say of themselves, held against each other: by real workers, and by what one could say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ops.doctor import queues
from ops.doctor.finding import Finding, Severity
from ops.doctor.run import examine
from tasks.life import Life
from tests.doctor.bed import Patient
from tests.doctor.test_deployment_checks import REAL_READERS
from tests.helpers import wait_until
from tests.worker.nodes import Worker, stop_all
from workers.park import MOST_PARKED

LIFE = Life(
    hostname="a@host",
    pid=1,
    version="0.1.0",
    celery="5.7.0",
    pool="threads",
    concurrency=16,
    queues=("execute", "governor", "position"),
    config={},
    parked=0,
    running=0,
    watch="alive",
    watch_since_ms=1_000_000,
    started_ms=1_000_000,
    kombu="5.7.0",
    redis_py="8.1.0",
    root="no",
    events="no",
    at_ms=2_000_000,
    clock_offset_ms=-3,
)


@pytest.fixture
def found(patient: Patient) -> Callable[..., list[Finding]]:
    """What a check finds where the live workers are these."""
    facts = patient.facts()
    here = {"permitwait": "0.1.0", "celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1.0"}

    def find(check: str, *lives: Life | None) -> list[Finding]:
        workers = {life.hostname if life else "unread@host": life for life in lives}
        host = replace(facts.host, versions=here, root=False)
        seen = replace(facts, state=replace(facts.state, workers=workers), host=host)
        return [one for one in examine(seen) if one.check == check]

    return find


OTHER = replace(LIFE, hostname="b@host")


@pytest.mark.parametrize(
    ("check", "change", "severity", "said"),
    [
        ("versions", {"version": "0.2.0"}, Severity.WARNING, "permitwait 0.1.0, 0.2.0; here it is 0.1.0"),
        ("versions", {"celery": "5.6.0"}, Severity.WARNING, "celery 5.6.0, 5.7.0"),
        ("versions", {"kombu": "5.6.0"}, Severity.WARNING, "kombu"),
        ("versions", {"redis_py": "7.0.0"}, Severity.WARNING, "redis 7.0.0, 8.1.0"),
        ("settings_differ", {"config": {"APPLY_MODE": "paper"}}, Severity.DANGER, "dry_run on a@host; paper on b@host"),
        ("settings_differ", {"config": {"APPLY_ALLOWLIST": "X"}}, Severity.DANGER, "APPLY_ALLOWLIST"),
        ("settings_differ", {"config": {"APPLY_PERMITS": "governor,p33,p26"}}, Severity.DANGER, "APPLY_PERMITS"),
        ("settings_differ", {"config": {"GOV_MAX_EXEC_PER_HOUR": "99"}}, Severity.WARNING, "GOV_MAX_EXEC_PER_HOUR"),
        ("worker_clocks", {"clock_offset_ms": 2_500}, Severity.WARNING, "b@host is 2.5 s behind Redis"),
        ("worker_clocks", {"clock_offset_ms": -2_500}, Severity.WARNING, "b@host is 2.5 s ahead of Redis"),
        ("watches", {"watch": "blind"}, Severity.WARNING, "b@host has been blind for 1000 s"),
        ("parked", {"parked": int(MOST_PARKED * 0.9)}, Severity.WARNING, "b@host holds 18000"),
        ("events", {"events": "yes"}, Severity.NOTE, "b@host"),
        ("root", {"root": "yes"}, Severity.WARNING, "workers run as root: b@host"),
    ],
)
def test_one_worker_is_unlike_the_others(
    found: Callable[..., list[Finding]], check: str, change: dict[str, Any], severity: Severity, said: str
) -> None:
    """Two healthy workers are silent; one that differs is named, with what differs."""
    assert [] == found(check, LIFE, OTHER)

    (finding,) = found(check, LIFE, replace(OTHER, **change))

    assert severity == finding.severity
    assert said in finding.found


def test_a_watch_that_was_just_lost_is_no_finding(found: Callable[..., list[Finding]]) -> None:
    """A connection that is opened again within seconds needs nobody."""
    just_lost = replace(LIFE, watch="blind", watch_since_ms=LIFE.at_ms - LIFE.clock_offset_ms - 1_000)

    assert [] == found("watches", just_lost)


def test_this_command_sees_other_settings(found: Callable[..., list[Finding]]) -> None:
    """Where all workers agree and this shell does not, its settings are not the ones in force."""
    (finding,) = found("settings_differ", replace(LIFE, config={"APPLY_MODE": "paper"}))

    assert Severity.WARNING == finding.severity
    assert "`APPLY_MODE=paper` here, or restart the workers" == finding.fix


def test_addresses_may_differ(found: Callable[..., list[Finding]]) -> None:
    """One worker may reach Redis by a socket and another by name; each has a port of its own."""
    own = {"APPLY_REDIS_URL": "redis://elsewhere/0", "APPLY_METRICS_ADDRESS": "127.0.0.1:19102"}

    assert [] == found("settings_differ", LIFE, replace(OTHER, config=own))


def test_a_worker_of_another_time(found: Callable[..., list[Finding]]) -> None:
    """What this version cannot read is told, and taken for nothing else."""
    (finding,) = found("versions", LIFE, None)

    assert "unread@host" in finding.found
    assert [] == found("settings_differ", LIFE, None)


@pytest.mark.long
def test_real_workers(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two live workers, one of them in another namespace on the same broker: found as a stranger that takes our plans.

    And nothing else is dangerous about the healthy one, whose queues, versions and settings are seen.
    """
    monkeypatch.setattr(queues, "readers_of", REAL_READERS)
    patient.setting("APPLY_MODE", "paper")
    shared = {"APPLY_ALLOWLIST": "BTCUSDT", "APPLY_ISSUERS": "governor,p33"}
    ours, stranger = Worker(patient.server, **shared), Worker(patient.server, APPLY_NAMESPACE="other", **shared)
    try:
        ours.start()
        ours.ready()
        dangers = [one for one in examine(patient.facts()) if one.severity == Severity.DANGER]
        warnings = {one.check for one in examine(patient.facts()) if one.severity == Severity.WARNING}

        assert [] == dangers
        assert warnings <= {"root"}, "every machine but this one"
        stranger.start()
        stranger.ready()
        finding = patient.finding("strangers")

        assert Severity.DANGER == finding.severity
        assert stranger.id[:12] in finding.found
        assert "reads execute, governor, position here and is none of namespace quantum" in finding.found
    finally:
        stop_all([ours, stranger])
    wait_until(lambda: not patient.findings("strangers"), "no stranger")


@pytest.mark.long
def test_events_are_seen(patient: Patient) -> None:
    """A worker says so while somebody has it send events."""
    worker = Worker(patient.server, "-E", APPLY_ALLOWLIST="BTCUSDT")
    try:
        worker.start()
        worker.ready()
        wait_until(lambda: patient.findings("events"), "events that are seen")
    finally:
        stop_all([worker])
