"""`permitwait ready`: one line and one exit code for whatever starts and watches our processes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis

import lua
from ops.server import EmbeddedServer
from tasks.keys import Keys
from tasks.life import Life
from tasks.settings import Settings
from tests.helpers import wait_until
from tests.ops.command_call import Command, any_command
from tests.ops.status_bed import WORKER, give_sign

LONG_MS = 60_000
BLIND = replace(WORKER, hostname="celery@blind", watch="blind")
STARTING = replace(WORKER, hostname="celery@starting", watch="starting")
ISSUER = replace(WORKER, hostname="celery@issuer", queues=("governor",), watch="starting")


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The tool on this test's server."""
    return any_command(settings, monkeypatch, capsys)


CASES: Mapping[str, tuple[tuple[Life, ...], tuple[str, ...], int, str]] = {
    "nobody": ((), (), 1, "not ready: no sign of life of any worker"),
    "one": ((WORKER,), (), 0, "ready: 1 worker alive, permits wake their plans"),
    "one blind": ((BLIND,), (), 1, "not ready: celery@blind does not see permits arrive: watch blind"),
    "one starts": ((STARTING,), (), 1, "not ready: celery@starting does not see permits arrive: watch starting"),
    "one of two is enough": ((BLIND, WORKER), (), 0, "ready: 2 workers alive, permits wake their plans"),
    "only an issuer": ((ISSUER,), (), 1, "not ready: no worker reads the queue execute; celery@issuer does not"),
    "that one": ((BLIND, WORKER), ("--worker", "celery@one"), 0, "ready: celery@one alive, permits wake their plans"),
    "not that one": (
        (BLIND, WORKER),
        ("--worker", "celery@blind"),
        1,
        "not ready: celery@blind does not see permits arrive: watch blind",
    ),
    "an unknown one": ((WORKER,), ("--worker", "celery@two"), 1, "not ready: no sign of life of celery@two"),
    "that issuer": ((ISSUER,), ("--worker", "celery@issuer"), 0, "ready: celery@issuer alive"),
}


@pytest.mark.parametrize(("lives", "arguments", "code", "said"), CASES.values(), ids=CASES)
def test_who_is_ready(
    client: redis.Redis,
    keys: Keys,
    command: Command,
    lives: tuple[Life, ...],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """Ready is whoever is alive and sees permits arrive; an issuer's worker alone decides no plan."""
    for life in lives:
        give_sign(client, keys, life, LONG_MS)
    done = command("ready", *arguments)
    document = command("ready", *arguments, "--json")

    assert (code, said) == (done.code, done.out.strip())
    assert (code, {"ready": code == 0, "why": said.partition(": ")[2]}) == (document.code, json.loads(document.out))


def test_a_worker_that_is_gone_is_not_ready(client: redis.Redis, keys: Keys, command: Command) -> None:
    """The line says whose sign of life is how old."""
    give_sign(client, keys, WORKER, 1)
    wait_until(lambda: not client.exists(keys.worker(WORKER.hostname)), "the end of the sign")
    anybody, that_one = command("ready"), command("ready", "--worker", "celery@one")

    assert (1, 1) == (anybody.code, that_one.code)
    assert anybody.out.startswith("not ready: the last sign of life of celery@one is ")


def test_halted_is_ready(client: redis.Redis, keys: Keys, command: Command) -> None:
    """A set kill switch is an answer for every plan, not a fault: a restart would not help. It is told."""
    give_sign(client, keys, WORKER, LONG_MS)
    client.set(keys.kill_switch, "true")
    done = command("ready")

    assert 0 == done.code
    assert "the kill switch is set: every plan ends blocked" in done.out


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (["+@all", "-script|load"], "Redis refuses "),
        (["+@all", "-get"], "the kill switch cannot be"),
    ],
)
def test_a_redis_that_refuses_what_the_gate_needs(
    settings: Settings, keys: Keys, command: Command, monkeypatch: pytest.MonkeyPatch, commands: list[str], said: str
) -> None:
    """A user without a right that every plan needs is not ready, whoever is alive."""
    with EmbeddedServer() as server, redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        give_sign(client, keys, WORKER, LONG_MS)
        client.acl_setuser("probe", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=commands)
        monkeypatch.setenv("APPLY_REDIS_URL", server.url.replace("redis+socket://", "redis+socket://probe:x@"))
        done = command("ready")

    assert settings.namespace == keys.namespace
    assert 1 == done.code
    assert done.out.startswith(f"not ready: {said}")


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("APPLY_REDIS_URL", "redis+socket:///nonexistent/s.sock"),
        ("APPLY_BROKER_URL", "redis+socket:///nonexistent/s.sock"),
        ("APPLY_BROKER_URL", "amqp://guest:hunter2@127.0.0.1:1//"),
    ],
)
def test_unreachable_is_not_the_same_as_not_ready(
    command: Command, monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    """Redis or the broker gives no answer: exit 3, one line, no password in it."""
    monkeypatch.setenv(variable, address)
    done = command("ready")

    assert (3, "") == (done.code, done.out)
    assert 1 == len(done.err.splitlines())
    assert "hunter2" not in done.err


def test_every_script_is_loaded(client: redis.Redis, keys: Keys, command: Command) -> None:
    """Afterwards the server knows each of them: nothing is left that could fail at the first plan."""
    give_sign(client, keys, WORKER, LONG_MS)
    client.script_flush()
    done = command("ready")
    loaded: Callable[[str], Any] = client.register_script
    known = client.script_exists(*(loaded(lua.source(name)).sha for name in lua.names()))

    assert 0 == done.code
    assert {"consume_permits", "finish_plan", "sign_of_life"} <= set(lua.names())
    assert all(known)
