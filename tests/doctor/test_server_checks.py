"""Every check of the server: silent on a healthy one, provoked on a real one, silent again after its fix."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from time import time

import pytest

from ops.doctor.finding import Severity
from ops.doctor.run import examine
from tasks.address import RedisAddress
from tasks.store import connect
from tests.doctor.bed import Patient
from tests.helpers import wait_until

#: Check, what provokes it, how bad that is, what the finding says.
PROVOCATIONS = [
    ("eviction", "CONFIG SET maxmemory-policy allkeys-lru", Severity.DANGER, "allkeys-lru"),
    ("eviction", "CONFIG SET maxmemory-policy volatile-ttl", Severity.DANGER, "volatile-ttl"),
    ("aof", "CONFIG SET appendonly no", Severity.DANGER, "forgets records"),
    ("fsync", "CONFIG SET appendfsync no", Severity.DANGER, "half minute"),
    ("fsync", "CONFIG SET appendfsync everysec", Severity.WARNING, "last second"),
    ("fsync", "CONFIG SET no-appendfsync-on-rewrite yes", Severity.WARNING, "while the file is rewritten"),
    ("memory", "CONFIG SET maxmemory 0", Severity.NOTE, "maxmemory is not set"),
    ("memory", "CONFIG SET maxmemory 1", Severity.DANGER, "of maxmemory is in use"),
    ("writable", "REPLICAOF 127.0.0.1 1", Severity.DANGER, "replica of 127.0.0.1"),
    ("writable", "CONFIG SET min-replicas-to-write 1", Severity.DANGER, "writes are refused"),
]


def test_a_healthy_server_is_safe(patient: Patient) -> None:
    """On the server that our documents recommend nothing is dangerous."""
    assert [] == [one for one in examine(patient.facts()) if one.severity == Severity.DANGER]


@pytest.mark.parametrize(("check", "command", "severity", "said"), PROVOCATIONS)
def test_a_provoked_finding_is_mended_by_its_fix(
    patient: Patient, check: str, command: str, severity: Severity, said: str
) -> None:
    """The check is silent, then finds what was done to the server, and is silent after the fix it named."""
    assert [] == patient.findings(check)

    patient.ask(command)
    found = patient.finding(check)

    assert severity == found.severity
    assert said in found.found
    patient.apply(found)
    wait_until(lambda: not patient.findings(check), f"{check} silent after {found.fix}")


def test_a_nearly_full_memory_is_a_warning(patient: Patient) -> None:
    """Between 80 and 95 % in use it still trades; above, it is about to stop."""
    facts = patient.facts()

    def at(part: float) -> list[Severity]:
        info = dict(facts.permits_server.info) | {"used_memory": int(1000 * part), "maxmemory": 1000}
        server = replace(facts.permits_server, info=info)
        return [one.severity for one in examine(replace(facts, servers=(server,))) if one.check == "memory"]

    assert [[], [], [Severity.WARNING], [Severity.WARNING], [Severity.DANGER]] == [
        at(part) for part in (0.1, 0.8, 0.81, 0.95, 0.96)
    ]


def test_connections_run_out(patient: Patient) -> None:
    """Four fifths of the allowed connections taken is a warning; more of them are the fix."""
    patient.ask("CONFIG SET maxclients 50")
    with ExitStack() as open_ones:
        for _ in range(42):
            client = connect(RedisAddress.parse(patient.server.url))
            client.ping()
            open_ones.enter_context(closing(client))
        found = patient.finding("clients")

        assert Severity.WARNING == found.severity
        assert "of 50 client connections" in found.found
        patient.apply(found)
        assert [] == patient.findings("clients")


def test_a_cluster_is_a_danger(admit: Callable[..., Patient]) -> None:
    """One plan's keys must not be spread."""
    assert "is a cluster" in admit(cluster_enabled="yes").finding("cluster").found


def test_everysec_is_a_danger_where_orders_are_real(patient: Patient) -> None:
    """With money, a second of forgotten consumptions is a danger; waiting for the disk before each order mends it."""
    patient.ask("CONFIG SET appendfsync everysec")
    patient.setting("APPLY_MODE", "live")
    patient.setting("APPLY_LIVE_CONFIRM", "yes-real-money")

    assert Severity.DANGER == patient.finding("fsync").severity
    patient.setting("APPLY_CONSUME_ACKS", "1")
    assert [] == patient.findings("fsync")


def test_acknowledgements_that_nobody_gives(patient: Patient) -> None:
    """More acknowledgements than there are copies block every plan; the fix asks for those that there are."""
    patient.setting("APPLY_CONSUME_ACKS", "3")
    found = patient.finding("acknowledgements")

    assert Severity.DANGER == found.severity
    assert "0 replicas and 1 AOF" in found.found
    patient.apply(found)
    assert [] == patient.findings("acknowledgements")


def test_a_replica_that_nobody_waits_for(patient: Patient, admit: Callable[..., Patient]) -> None:
    """With a replica, a failover may forget a consumption unless the replica acknowledges it."""
    replica = admit(replica_announce_ip="127.0.0.1")
    replica.ask(f"REPLICAOF 127.0.0.1 {patient.open_port()}")
    wait_until(lambda: patient.client.info()["connected_slaves"], "a replica")
    patient.setting("APPLY_REDIS_URL", patient.server.url)

    found = patient.finding("acknowledgements")

    assert Severity.WARNING == found.severity
    assert "a failover can forget" in found.found
    patient.apply(found)
    assert "2" == str(patient.facts().settings.consume_acks)
    assert [] == patient.findings("acknowledgements")


def test_a_snapshot_that_could_not_be_written(patient: Patient) -> None:
    """A failing RDB snapshot makes the server refuse writes; once the disk takes it again, all is well."""
    blocked = patient.folder / "dump.rdb"
    blocked.mkdir()
    patient.client.bgsave()
    wait_until(lambda: "ok" != patient.client.info()["rdb_last_bgsave_status"], "a failed snapshot")
    found = patient.finding("disk")

    assert Severity.DANGER == found.severity
    assert "writes are refused" in found.found
    blocked.rmdir()
    patient.apply(found)
    wait_until(lambda: not patient.findings("disk"), "a snapshot that was written")


@pytest.mark.parametrize(
    ("field", "severity"),
    [("aof_last_write_status", Severity.DANGER), ("aof_last_bgrewrite_status", Severity.WARNING)],
)
def test_an_aof_that_could_not_be_written(patient: Patient, field: str, severity: Severity) -> None:
    """Writes that did not reach the file are a danger, a rewrite that failed is a warning."""
    facts = patient.facts()
    server = replace(facts.permits_server, info=dict(facts.permits_server.info) | {field: "err"})
    found = [one for one in examine(replace(facts, servers=(server,))) if one.check == "disk"]

    assert [severity] == [one.severity for one in found]
    assert f"{field} is err" in found[0].found


@pytest.mark.parametrize(("version", "worst"), [("6.0.16", Severity.DANGER), ("6.2.0", None), ("7.2.4", None)])
def test_an_old_server(patient: Patient, version: str, worst: Severity | None) -> None:
    """Below 6.2 kombu could not restore the messages of lost workers."""
    facts = patient.facts()
    server = replace(facts.permits_server, info=dict(facts.permits_server.info) | {"redis_version": version})
    found = [one for one in examine(replace(facts, servers=(server,))) if one.check == "server_version"]

    assert [worst] * bool(worst) == [one.severity for one in found]


def test_a_server_whose_aof_cannot_be_acknowledged(patient: Patient) -> None:
    """Redis 7.0 knows no WAITAOF: APPLY_CONSUME_ACKS then counts replicas only."""
    patient.setting("APPLY_CONSUME_ACKS", "1")
    facts = patient.facts()
    server = replace(facts.permits_server, info=dict(facts.permits_server.info) | {"redis_version": "7.0.15"})
    found = {one.check: one.severity for one in examine(replace(facts, servers=(server,)))}

    assert Severity.WARNING == found["server_version"]
    assert Severity.DANGER == found["acknowledgements"]


@pytest.mark.parametrize(
    ("offset_s", "severity"), [(0.0, None), (2.0, Severity.WARNING), (-2.0, Severity.WARNING), (7.0, Severity.DANGER)]
)
def test_clocks_that_differ(patient: Patient, offset_s: float, severity: Severity | None) -> None:
    """Seconds matter: a plan from 5 s in the future is refused."""
    found = patient.findings("clock", now=lambda: time() + offset_s)

    assert [severity] * bool(severity) == [one.severity for one in found]
    assert all(("ahead of" if offset_s > 0 else "behind") in one.found for one in found)
