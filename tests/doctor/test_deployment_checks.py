"""Checks of the broker, the gate, the settings and this machine: provoked for real, mended by their fixes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time

import pytest

from ops.doctor import queues
from ops.doctor.checks import ALL
from ops.doctor.finding import Severity
from ops.doctor.run import examine
from tasks.keys import Keys
from tests.doctor.bed import Patient

KEYS = Keys("quantum")


def test_a_backlog_that_nobody_reads(patient: Patient) -> None:
    """Messages in a queue without a worker are a danger; no worker and no message is only worth a warning."""
    assert Severity.WARNING == patient.finding("readers").severity

    patient.client.lpush("execute", "x", "y")
    patient.client.lpush("governor\x06\x163", "x")
    found = patient.findings("readers")

    assert [Severity.DANGER] * 2 == [one.severity for one in found]
    assert ["2 messages wait in queue execute", "1 messages wait in queue governor"] == [
        one.found.partition(",")[0] for one in found
    ]
    patient.readers["w@host"] = ("execute", "governor", "position")
    assert [] == patient.findings("readers")


def test_a_broker_that_does_not_answer(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another broker than the permits' Redis, and it is away."""
    patient.setting("APPLY_BROKER_URL", "redis+socket:///nonexistent/s.sock")

    assert "no answer" in patient.finding("reachable").found
    assert [] == patient.findings("readers"), "what was not seen is not judged"

    monkeypatch.setattr(queues, "readers_of", REAL_READERS)
    patient.setting("APPLY_BROKER_URL", "amqp://guest:guest@127.0.0.1:1//")
    assert "no answer" in patient.finding("reachable").found


REAL_READERS = queues.readers_of


def test_a_broker_of_its_own_is_looked_at_too(patient: Patient, admit: Callable[..., Patient]) -> None:
    """A broker on another server is checked like the permits' one, and named."""
    broker = admit(maxmemory_policy="allkeys-lru")
    patient.setting("APPLY_REDIS_URL", patient.server.url)
    patient.setting("APPLY_BROKER_URL", broker.server.url)

    assert patient.finding("eviction").found.startswith("broker: ")


def test_messages_that_come_back_too_early(patient: Patient) -> None:
    """A wait and a lease that together outlast the visibility timeout; the fix shortens the lease."""
    assert [] == patient.findings("visibility")
    patient.setting("APPLY_CLAIM_LEASE_MS", "60000")
    found = patient.finding("visibility")

    assert Severity.WARNING == found.severity
    assert "after 30 s, and a plan may need 61.2 s" in found.found
    patient.apply(found)
    assert [] == patient.findings("visibility")


def test_messages_that_never_come_back(patient: Patient) -> None:
    """Messages held far longer than the visibility timeout: no worker restores them."""
    patient.client.zadd("unacked_index", {"young": time() - 20})
    assert [] == patient.findings("unacknowledged")

    patient.client.zadd("unacked_index", {"old": time() - 300})
    found = patient.finding("unacknowledged")

    assert Severity.DANGER == found.severity
    assert "2 messages are held by workers, the oldest for 300 s" in found.found


def test_the_kill_switch(patient: Patient) -> None:
    """A set switch is told with who, why and when; an explicit off value is off."""
    patient.client.set(KEYS.kill_switch, "off")
    assert [] == patient.findings("kill_switch")

    patient.client.set(KEYS.kill_switch, "true")
    patient.client.hset(KEYS.kill_switch_info, mapping={"who": "ann", "why": "drill", "when": "1700000000"})
    found = patient.finding("kill_switch")

    assert Severity.WARNING == found.severity
    assert "by ann 2023-11-14T22:13:20+00:00: drill" in found.found


def test_plans_that_should_have_ended(patient: Patient) -> None:
    """A plan that is long overdue means that no sweep runs; one that is open in time does not."""
    patient.client.zadd(KEYS.open, {"young": (time() + 60) * 1000, "just due": (time() - 1) * 1000})
    assert [] == patient.findings("overdue")

    patient.client.zadd(KEYS.open, {"old": (time() - 90) * 1000})
    found = patient.finding("overdue")

    assert Severity.DANGER == found.severity
    assert "2 of 3 open plans should have ended, the oldest 90 s ago" in found.found
    patient.client.zrem(KEYS.open, "old", "just due")
    assert [] == patient.findings("overdue")


def test_issuers_that_are_silent(patient: Patient) -> None:
    """With workers but without a sign of life of an issuer, every plan would miss its permit."""
    assert [] == patient.findings("issuers"), "no worker at all is told once, by another check"
    patient.readers["w@host"] = ("execute",)
    patient.client.hset(KEYS.heartbeat("governor"), mapping={"host": "w@host", "at": f"{time():.3f}"})
    found = patient.finding("issuers")

    assert Severity.DANGER == found.severity
    assert "issuer p33 gives no sign of life: no worker reads queue position" in found.found
    patient.setting("APPLY_ISSUERS", "governor")
    assert [] == patient.findings("issuers")


@pytest.mark.parametrize(
    ("check", "setting", "severity", "said"),
    [
        ("permit_life", "APPLY_PERMIT_MAX_TTL_MS=50000", Severity.DANGER, "refuses what lives longer"),
        ("permit_life", "P33_PERMIT_TTL=1", Severity.WARNING, "p33 lives 1000 ms, the wait is 1200 ms"),
        ("governor_limits", "GOV_MAX_EXEC_PER_HOUR=0", Severity.DANGER, "every plan will be refused"),
        ("governor_limits", "GOV_MAX_EXEC_PER_5MIN=0", Severity.DANGER, "every plan will be refused"),
        ("governor_limits", "GOV_MAX_REDUCE_NOTIONAL_PER_DAY_USD=0", Severity.DANGER, "every plan will be refused"),
        ("governor_limits", "GOV_MAX_EXEC_PER_5MIN=9", Severity.WARNING, "a burst is never noticed"),
        ("governor_limits", "GOV_ENABLE_AUTO_DISARM=false", Severity.WARNING, "never sets the kill switch"),
        ("governor_limits", "GOV_DISARM_ON_BURST_BREACH=false", Severity.WARNING, "never stopped"),
        ("mode", "APPLY_MODE=dry_run", Severity.NOTE, "no order leaves"),
        ("mode", "APPLY_MODE=testnet", Severity.NOTE, "test network"),
        ("mode", "APPLY_ISSUERS=p33", Severity.NOTE, "GOV_* limits are not in force"),
    ],
)
def test_settings_that_do_not_fit_together(
    patient: Patient, check: str, setting: str, severity: Severity, said: str
) -> None:
    """The shipped values pass; one that does not fit is found, and its fix fits."""
    patient.setting("APPLY_MODE", "paper")
    assert [] == patient.findings(check)

    patient.setting(*setting.split("="))
    found = patient.findings(check)

    assert severity == found[0].severity
    assert said in found[0].found
    for _ in found:
        for one in patient.findings(check)[:1]:
            patient.apply(one)
    assert [] == patient.findings(check)


def test_live_is_told(patient: Patient) -> None:
    """Nobody trades real money without being told so."""
    patient.setting("APPLY_MODE", "live")
    patient.setting("APPLY_LIVE_CONFIRM", "yes-real-money")

    assert "orders are real" in patient.finding("mode").found


def test_passwords_that_others_can_read(patient: Patient) -> None:
    """A `.env` with a password is for its owner alone; the fix makes it so."""
    file = Path(".env")
    file.write_text(f"APPLY_REDIS_URL={patient.server.url.replace('://', '://default:secret@')}\n")
    file.chmod(0o644)
    assert [] == patient.findings("env_file"), "the environment's address has no password, and wins"

    patient.setting("APPLY_REDIS_URL", patient.server.url.replace("://", "://default:secret@"))
    patient.ask("ACL SETUSER default >secret")
    found = patient.finding("env_file")

    assert Severity.DANGER == found.severity
    mode = found.fix.strip("`").split()
    assert ["chmod", "600", str(file.absolute())] == mode
    Path(mode[2]).chmod(int(mode[1], 8))
    assert [] == patient.findings("env_file")


def test_what_this_process_is(patient: Patient) -> None:
    """A slow parser and a root user are warnings."""
    facts = patient.facts()
    worse = replace(facts, host=replace(facts.host, hiredis=False, root=True))
    better = replace(facts, host=replace(facts.host, hiredis=True, root=False))

    assert {"parser", "root"} == {one.check for one in examine(worse)} & {"parser", "root"}
    assert set() == {one.check for one in examine(better)} & {"parser", "root"}
    assert facts.host.hiredis


@contextmanager
def web_page(pages: dict[str, int]) -> Iterator[str]:
    """An HTTP server that answers these paths with these codes."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(pages.get(self.path, 404))
            self.end_headers()
            self.wfile.write(b"<title>Flower</title>")

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("pages", "severity"),
    [
        ({"/": 200, "/api/workers": 200}, Severity.DANGER),
        ({"/": 200, "/api/workers": 401}, Severity.WARNING),
        ({"/": 401, "/api/workers": 401}, None),
    ],
)
def test_an_open_flower(patient: Patient, pages: dict[str, int], severity: Severity | None) -> None:
    """A dashboard that asks nobody for a login is found; so much the worse where its API answers too."""
    with web_page(pages) as url:
        found = patient.findings("flower", flower_url=url)

    assert [severity] * bool(severity) == [one.severity for one in found]


def test_the_questions_are_documented_and_tested() -> None:
    """Each check has a name of its own, a question, and a test; no answer is worse than the documents say."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

    assert len({check.name for check in ALL}) == len(ALL)
    assert [] == [check.name for check in ALL if "?" not in check.question]
    assert [] == [check.name for check in ALL if f'"{check.name}"' not in tests]
