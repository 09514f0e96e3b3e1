"""The Redis configuration and the logins we ship: doctor passes, programs can work, and no role can do another's."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from celery import Celery

from ops.doctor.rights import USEFUL, broker_commands, gate_commands
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.submit import submit
from tests.deploy.configured import DEPLOY, ROLES, Configured, configured
from tests.helpers import intent_of, wait_until
from tests.metrics.scrape import free_port
from tests.worker.nodes import Worker, celery_command, clean_environment

KEYS = Keys("quantum")
PLAN = "67e6da21fa9fe506"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """One server with the shipped files for all tests here."""
    with configured(tmp_path_factory.mktemp("r")) as running:
        yield running


def permitwait(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """One call of the tool, as an operator does it."""
    return subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        cwd=folder,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_doctor_passes_and_every_role_can_work(server: Configured, tmp_path: Path) -> None:
    """With the shipped files doctor says safe, a worker executes, a producer submits, and nothing of it is refused."""

    class Address:
        url = broker_url = server.url("worker")

    doctor = permitwait(tmp_path, "doctor", APPLY_REDIS_URL=server.url("operator"))
    assert 0 == doctor.returncode, doctor.stdout + doctor.stderr
    assert "SAFE to trade" in doctor.stdout

    server.client("operator").hset(
        KEYS.paper_position("BTCUSDT"), mapping={"position_amt": "0.062", "mark_price": "50000"}
    )
    worker: Any = Worker(Address(), APPLY_ALLOWLIST="BTCUSDT", APPLY_ISSUERS="governor,p33")  # type: ignore[arg-type] # only the address is used
    worker.start()
    try:
        worker.ready()
        settings = Settings(redis_url=server.url("producer"), mode="paper", _env_file=None)
        done = [submit(intent_of(f"{number:016x}"), settings=settings).result(20) for number in range(2)]
        assert [("EXECUTE", ""), ("BLOCKED", "p33_denied")] == [(one.decision, one.reason) for one in done]

        inspector = Celery(broker=server.url("flower"), set_as_current=False)
        assert inspector.control.inspect(timeout=2.0).ping()
        inspector.close()

        for role, *seen in (("viewer", "status"), ("viewer", "explain", f"{0:016x}"), ("worker", "ready")):
            looked = permitwait(tmp_path, *seen, APPLY_REDIS_URL=server.url(role), APPLY_MODE="paper")
            assert looked.returncode in {0, 1}, (seen, looked.stderr)
            assert "" != looked.stdout, seen
        listed = permitwait(tmp_path, "open", APPLY_REDIS_URL=server.url("operator"))
        assert 0 == listed.returncode, listed.stderr

        running = permitwait(tmp_path, "doctor", APPLY_REDIS_URL=server.url("operator"), APPLY_MODE="paper")
        assert 0 == running.returncode, running.stdout + running.stderr
        halted = permitwait(tmp_path, "halt", "--reason", "drill", APPLY_REDIS_URL=server.url("operator"))
        assert 0 == halted.returncode, halted.stderr
    finally:
        worker.teardown()
    permitwait(tmp_path, "resume", "--yes", APPLY_REDIS_URL=server.url("operator"))

    refused = [line for line in server.denials() if not line.startswith("default")]
    assert [] == refused, worker.logs()


@pytest.mark.long
def test_flower_lives_with_its_login(tmp_path: Path) -> None:
    """The dashboard sees plans and workers with a login that can read neither permits nor records."""
    port, login = free_port(), "desk:of-this-test-only"

    def shown(path: str) -> Any:
        header = f"Basic {b64encode(login.encode()).decode()}"
        asked = Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": header})
        try:
            with urlopen(asked, timeout=10) as answer:  # noqa: S310 - of our own page, as above
                return json.load(answer)
        except OSError:
            return None

    with configured(tmp_path) as server, flower(tmp_path, server, port, login):

        class Address:
            url = broker_url = server.url("worker")

        worker = Worker(Address(), APPLY_ALLOWLIST="BTCUSDT")  # type: ignore[arg-type] # only the addresses are used
        worker.start()
        try:
            worker.ready()
            producer = Settings(redis_url=server.url("producer"), _env_file=None)

            def sends_until_seen() -> Any:
                submit(intent_of(uuid4().hex[:16]), settings=producer)
                return shown("/api/tasks")

            wait_until(sends_until_seen, "a plan on the dashboard", 60)
            assert shown("/api/workers?refresh=1")
        finally:
            worker.teardown()
        # Flower asks for queue lengths without the login's name where the address is a socket.
        assert [] == [line for line in server.denials() if not line.startswith("default: auth")]


@contextmanager
def flower(folder: Path, server: Configured, port: int, login: str) -> Iterator[None]:
    """Our Flower with its own login of Redis; gone afterwards."""
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            celery_command("flower", "--address=127.0.0.1", f"--port={port}"),
            cwd=folder,
            env=clean_environment(APPLY_REDIS_URL=server.url("flower"), FLOWER_BASIC_AUTH=login),
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_the_list_of_rights_is_the_file(server: Configured) -> None:
    """Doctor demands of a worker's login exactly what the file grants it, and what is useful."""
    granted = server.rules_of("worker")["commands"]
    demanded = {name for name, *_ in gate_commands(KEYS) + broker_commands()} | set(USEFUL)

    assert {f"+{name.lower().replace(' ', '|')}" for name in demanded} == set(granted) - {"-@all"}


#: What each role must not do; `None` stands for everybody.
FORBIDDEN: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (ROLES, ("FLUSHALL",)),
    (ROLES, ("FLUSHDB",)),
    (ROLES, ("CONFIG", "SET", "appendonly", "no")),
    (ROLES, ("SHUTDOWN",)),
    (ROLES, ("DEBUG", "SLEEP", "1")),
    (ROLES, ("REPLICAOF", "NO", "ONE")),
    (ROLES, ("ACL", "SETUSER", "x")),
    (ROLES, ("SCRIPT", "FLUSH")),
    (ROLES, ("MONITOR",)),
    (ROLES, ("CLIENT", "KILL", "TYPE", "normal")),
    (("producer", "position", "viewer", "flower"), ("SETEX", KEYS.permit("governor", PLAN), "60", "{}")),
    (("producer", "governor", "viewer", "flower"), ("SETEX", KEYS.permit("p33", PLAN), "60", "{}")),
    (("governor", "position"), ("GET", KEYS.permit("governor", PLAN))),
    (("governor", "position", "producer", "viewer", "flower"), ("DEL", KEYS.permit("p33", PLAN))),
    (("governor", "position", "producer", "viewer", "flower"), ("SET", KEYS.kill_switch, "false")),
    (("governor", "position", "producer", "viewer", "flower"), ("XADD", KEYS.paper_orders, "*", "a", "b")),
    (("governor", "position", "viewer", "flower"), ("HSET", KEYS.record(PLAN), "state", "done")),
    (("governor", "position", "viewer", "flower"), ("LPUSH", "execute", "x")),
    (("worker", "producer", "governor", "position", "flower"), ("SET", "elsewhere:permit", "x")),
]


@pytest.mark.parametrize(("role", "command"), [(role, command) for roles, command in FORBIDDEN for role in roles])
def test_a_role_cannot(server: Configured, role: str, command: tuple[str, ...]) -> None:
    """A login can do its own work and nobody else's."""
    answer = server.admin.execute_command("ACL", "DRYRUN", role, *command)  # type: ignore[no-untyped-call] # untyped

    assert b"no permissions" in answer


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("governor", ("SETEX", KEYS.permit("governor", PLAN), "60", "{}")),
        ("governor", ("SET", KEYS.governor_block(PLAN), "{}", "EX", "3600")),
        ("position", ("SETEX", KEYS.permit("p33", PLAN), "60", "{}")),
        ("viewer", ("HGETALL", KEYS.record(PLAN))),
        ("viewer", ("XRANGE", KEYS.results, "-", "+")),
        ("operator", ("SET", KEYS.kill_switch, "true")),
    ],
)
def test_a_role_can(server: Configured, role: str, command: tuple[str, ...]) -> None:
    """What a login is for."""
    assert b"OK" == server.admin.execute_command("ACL", "DRYRUN", role, *command)  # type: ignore[no-untyped-call] # untyped


def test_nobody_gets_in_without_a_password(server: Configured) -> None:
    """The default user is off, and the file holds no password."""
    text = (DEPLOY / "redis" / "users.acl").read_text()

    assert b"off" in server.rules_of("default")["flags"] or "off" in server.rules_of("default")["flags"]
    assert not {">", "#", "nopass"} & {word[:1] if word[0] in ">#" else word for word in text.split()}
