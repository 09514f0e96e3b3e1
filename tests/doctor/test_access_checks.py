"""Every check of who reaches the server and what a login may do: provoked on a real one, mended by its fix."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from socket import getaddrinfo, gethostname

import pytest

from ops.doctor.facts import Address, Reach
from ops.doctor.finding import Severity
from ops.doctor.gather import CannotLook
from ops.doctor.here import addresses
from ops.doctor.run import examine
from tasks.settings import Settings
from tests.doctor.bed import Patient


def give_login(patient: Patient, name: str, rules: str) -> None:
    """A user on the server, and his login in our address."""
    patient.ask(f"ACL SETUSER {name} on >secret {rules}")
    patient.setting("APPLY_REDIS_URL", patient.server.url.replace("://", f"://{name}:secret@"))


EVERYTHING = "~* &* +@all"


def test_a_port_without_a_login(patient: Patient) -> None:
    """Open to this machine is a warning, open to others a danger; a server that asks for a login is neither."""
    assert [] == patient.findings("login")

    patient.open_port()
    assert Severity.WARNING == patient.finding("login").severity

    patient.ask("CONFIG SET bind '* -::*'")
    assert "only protected mode" in patient.finding("login").found

    patient.ask("CONFIG SET protected-mode no")
    found = patient.finding("login")
    assert Severity.DANGER == found.severity
    assert "without a login" in found.found

    give_login(patient, "operator", EVERYTHING)
    patient.apply(replace(found, fix=found.fix.partition("then ")[2]))
    assert [] == patient.findings("login")


def test_a_socket_for_everybody(admit: Callable[..., Patient]) -> None:
    """A socket that every user of the machine may open lets every user write permits."""
    found = admit(unixsocketperm="777").finding("login")

    assert Severity.WARNING == found.severity
    assert "through the socket" in found.found
    assert [] == admit(unixsocketperm="700").findings("login")


def test_listening_everywhere(patient: Patient) -> None:
    """A server on every interface without protected mode relies on its passwords alone."""
    patient.open_port()
    patient.ask("CONFIG SET protected-mode no")
    assert [] == patient.findings("listening")

    patient.ask("CONFIG SET bind '* -::*'")
    found = patient.finding("listening")

    assert Severity.WARNING == found.severity
    patient.apply(found)
    assert [] == patient.findings("listening")


def test_a_login_that_may_not_look(patient: Patient) -> None:
    """What could not be looked at is a danger, not a pass; an operator's login sees it."""
    give_login(patient, "worker", "~* &* +@all -config -client|list")
    found = patient.finding("visible")

    assert Severity.DANGER == found.severity
    assert "CONFIG GET, CLIENT LIST" in found.found
    give_login(patient, "operator", EVERYTHING)
    assert [] == patient.findings("visible")


def test_a_login_without_info(patient: Patient) -> None:
    """A worker would not start with it, and doctor says so instead of guessing."""
    give_login(patient, "worker", "~* &* +@all -info")

    with pytest.raises(CannotLook, match=r"\+info"):
        patient.facts()


def test_a_login_that_may_not_do_its_work(patient: Patient) -> None:
    """Every missing right is named, and granting what the fix says is enough."""
    give_login(patient, "worker", "~quantum:* &* +@all -xadd -script|load -psubscribe")
    found = patient.finding("permissions")

    assert Severity.DANGER == found.severity
    assert "SCRIPT LOAD" in found.found
    assert "XADD" in found.found
    assert "LPUSH" in found.found, "keys of the broker"
    assert "HGETALL" not in found.found
    patient.apply(found)
    assert [] == patient.findings("permissions")


def test_rights_of_the_connected_workers_are_what_counts(patient: Patient) -> None:
    """An operator looks at the rights of the login that a worker uses, told by the permits it watches."""
    patient.ask("ACL SETUSER worker on >secret ~* &* +@all -evalsha")
    worker = patient.client.client()  # type: ignore[no-untyped-call] # untyped in redis-py
    worker.execute_command("AUTH", "worker", "secret")
    worker.execute_command("HELLO", "3")
    worker.execute_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "quantum:permit:")
    try:
        assert "user worker may not run EVALSHA" in patient.finding("permissions").found
    finally:
        worker.close()


def test_rights_that_cannot_be_asked(patient: Patient) -> None:
    """A server or a login without ACL DRYRUN is told as not known."""
    give_login(patient, "worker", "~* &* +@all -acl|dryrun")

    assert Severity.NOTE == patient.finding("permissions").severity


def test_refused_tracking(patient: Patient) -> None:
    """Without pushes permits are found by looking; the fix lets them through."""
    give_login(patient, "worker", "~* &* +@all -client|tracking")
    found = patient.finding("tracking")

    assert Severity.WARNING == found.severity
    assert "100 ms late" in found.found
    patient.apply(found)
    assert [] == patient.findings("tracking")


@pytest.mark.parametrize(
    ("reach", "encrypted", "verified", "severity"),
    [
        ("local", False, True, None),
        ("private", False, True, Severity.WARNING),
        ("unresolved", False, True, Severity.WARNING),
        ("public", False, True, Severity.DANGER),
        ("public", True, True, None),
        ("public", True, False, Severity.DANGER),
        ("private", True, False, Severity.WARNING),
    ],
)
def test_ways_to_other_machines(
    patient: Patient, *, reach: Reach, encrypted: bool, verified: bool, severity: Severity | None
) -> None:
    """What leaves this machine is encrypted, and the other end proves who it is."""
    way = Address("APPLY_REDIS_URL", "redis://h:6379", reach, encrypted, verified)
    found = [one for one in examine(replace(patient.facts(), addresses=(way,))) if one.check == "encryption"]

    assert [severity] * bool(severity) == [one.severity for one in found]


@pytest.mark.parametrize(
    ("url", "reach", "encrypted", "verified"),
    [
        ("redis+socket:///run/redis/s.sock", "local", False, True),
        ("redis://localhost:6379/0", "local", False, True),
        ("redis://[::1]:6379/0", "local", False, True),
        ("redis://10.1.2.3/0", "private", False, True),
        ("rediss://u:p@8.8.8.8/0", "public", True, True),
        ("rediss://8.8.8.8/0?ssl_cert_reqs=none", "public", True, False),
        ("redis://no-such-host.invalid/0", "unresolved", False, True),
        ("sentinel://127.0.0.1:26379,10.0.0.2:26379/mymaster/0", "private", False, True),
    ],
)
def test_where_an_address_leads(url: str, reach: Reach, *, encrypted: bool, verified: bool) -> None:
    """An address is as far as the farthest machine in it."""
    (found,) = addresses(Settings(redis_url=url, _env_file=None))

    assert (reach, encrypted, verified) == (found.reach, found.encrypted, found.verified)
    assert ":p@" not in found.shown


def test_a_broker_has_an_address_of_its_own() -> None:
    """Each configured address is looked at once, by the setting that named it first."""
    settings = Settings(redis_url="redis://localhost/0", broker_url="amqps://10.9.9.9//", _env_file=None)

    assert [("APPLY_REDIS_URL", "local", False), ("APPLY_BROKER_URL", "private", True)] == [
        (one.setting, one.reach, one.encrypted) for one in addresses(settings)
    ]


def test_a_server_on_an_address_of_this_machine_is_not_local(patient: Patient) -> None:
    """What is reached by the machine's own name goes through its network interface."""
    own = {entry[4][0] for entry in getaddrinfo(gethostname(), None)}
    outward = [host for host in own if not ip_address(host).is_loopback and ":" not in str(host)]
    if not outward:
        pytest.skip("this machine has no address beside the loopback")
    port = patient.open_port()
    patient.ask(f"CONFIG SET bind {outward[0]}")
    patient.ask("CONFIG SET protected-mode no")
    patient.setting("APPLY_REDIS_URL", f"redis://{outward[0]}:{port}/0")

    assert "in clear" in patient.finding("encryption").found
    assert Severity.DANGER == patient.finding("login").severity
