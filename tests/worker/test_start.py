"""A worker that must not start says why in one line; the other commands need no Redis."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.helpers import grant, hold, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    ROOT,
    SYMBOLS,
    Worker,
    celery_command,
    clean_environment,
    permit_texts,
    plan,
    site_on,
    wait_for_ends,
)

NOWHERE = "redis+socket:///nonexistent/s.sock"


def start(folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        celery_command(*arguments),
        cwd=folder,
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return ended(start(folder, *arguments, **settings))


def check_refused(done: "subprocess.CompletedProcess[str]", *said: str) -> None:
    """Non-zero, and one line for the operator: nothing before it, no traceback after it."""
    lines = done.stderr.splitlines()

    assert 0 != done.returncode
    assert 1 == len(lines), done.stderr
    assert lines[0].startswith("permitwait: ")
    assert [] == [part for part in said if part not in lines[0]]
    assert "ready." not in done.stdout


@pytest.fixture
def own_server() -> Iterator[RealServer]:
    """A server that a test may bend."""
    with RealServer() as running:
        yield running


#: Settings that no worker starts with, and what it says.
BAD: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({}, ("APPLY_REDIS_URL is not set", "permitwait demo")),
    ({"APPLY_REDIS_URL": "http://x"}, ("APPLY_REDIS_URL=http://x", "redis://", "sentinel://")),
    ({"APPLY_REDIS_URL": "redis://u:secret@h:0/x"}, ("APPLY_REDIS_URL=redis://u:***@h:0/x", "whole number")),
    ({"APPLY_MODE": "yolo"}, ("APPLY_MODE=yolo", "dry_run", "paper", "testnet", "live")),
    ({"APPLY_PERMIT_WAIT_MS": "soon"}, ("APPLY_PERMIT_WAIT_MS=soon", "integer")),
    ({"APPLY_PERMIT_STEP_MS": "5"}, ("APPLY_PERMIT_STEP_MS=5", "10")),
    ({"APPLY_PERMIT_STEP_MS": "1300"}, ("APPLY_PERMIT_STEP_MS", "APPLY_PERMIT_WAIT_MS")),
    ({"APPLY_PERMITS": "governor,p33,p99"}, ("APPLY_PERMITS=governor,p33,p99", "p99", "governor, p33, p26")),
    ({"APPLY_ALLOWLIST": "BTC/USDT"}, ("APPLY_ALLOWLIST=BTC/USDT", "A-Z and 0-9")),
    ({"APPLY_MODE": "live"}, ("APPLY_MODE=live", "APPLY_LIVE_CONFIRM=yes-real-money")),
    ({"GOV_MAX_EXEC_PER_HOUR": "-1"}, ("GOV_MAX_EXEC_PER_HOUR=-1", "0")),
    ({"P33_COOLDOWN_SEC": "soon"}, ("P33_COOLDOWN_SEC=soon", "decimal")),
    ({"P33_PERMIT_TTL": "200"}, ("P33_PERMIT_TTL=200", "APPLY_PERMIT_MAX_TTL_MS=120000")),
    ({"APPLY_MODE": "testnet"}, ("APPLY_MODE=testnet", "dry_run or paper")),
    ({"APPLY_MODE": "live", "APPLY_LIVE_CONFIRM": "yes-real-money"}, ("APPLY_MODE=live", "dry_run or paper")),
]


@pytest.mark.parametrize(
    ("settings", "said"),
    [pytest.param(*bad, marks=() if number % 4 == 0 else pytest.mark.long) for number, bad in enumerate(BAD)],
)
def test_a_bad_setting_is_one_line(tmp_path: Path, settings: dict[str, str], said: tuple[str, ...]) -> None:
    """A missing or wrong setting stops the start with one line that names it, its value and what is allowed."""
    unless_tested = {} if not settings else {"APPLY_REDIS_URL": NOWHERE}

    done = run(tmp_path, "worker", **unless_tested | settings)

    check_refused(done, *said)
    assert "secret" not in done.stderr


@pytest.mark.long
def test_without_a_redis_only_the_worker_refuses(tmp_path: Path) -> None:
    """A Redis that is not there: the worker waits, then says so in one line; `report` and `inspect` are loaded."""
    worker = start(tmp_path, "worker", APPLY_REDIS_URL=NOWHERE)
    inspect = start(tmp_path, "inspect", "ping", APPLY_REDIS_URL=NOWHERE)
    report = ended(start(tmp_path, "report", APPLY_REDIS_URL=NOWHERE))

    assert (0, "") == (report.returncode, report.stderr)
    assert "worker_pool: 'threads'" in report.stdout
    inspected = ended(inspect)
    assert 69 == inspected.returncode
    assert inspected.stderr.startswith("Error: Could not connect to the message broker.")
    check_refused(ended(worker), "APPLY_REDIS_URL", "could not be reached for 10 s")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("maxmemory-policy", "allkeys-lru", ("allkeys-lru", "set maxmemory-policy noeviction")),
        ("cluster-enabled", "yes", ("is a cluster", "APPLY_NAMESPACE")),
    ],
)
@pytest.mark.fault("F18", "F20")
def test_an_unsafe_server_is_one_line(tmp_path: Path, option: str, value: str, said: tuple[str, ...]) -> None:
    """A Redis that may forget a record, or spread a plan's keys, is refused with the remedy."""
    with RealServer(config={option: value}) as server:
        check_refused(run(tmp_path, "worker", APPLY_REDIS_URL=server.url), *said)


def test_a_replica_is_one_line(tmp_path: Path, own_server: RealServer) -> None:
    """A read-only replica is refused."""
    with site_on(own_server) as site:
        site.client.replicaof("127.0.0.1", "1")

        check_refused(run(tmp_path, "worker", APPLY_REDIS_URL=own_server.url), "replica", "master")


def test_a_refused_login_is_one_line(tmp_path: Path, own_server: RealServer) -> None:
    """A Redis that wants a password which is not there is refused at once."""
    with site_on(own_server) as site:
        site.client.config_set("requirepass", "other")

        check_refused(run(tmp_path, "worker", APPLY_REDIS_URL=own_server.url), "refused the login")


def test_a_pool_without_an_event_loop_is_one_line(tmp_path: Path, own_server: RealServer) -> None:
    """A pool on which waiting plans could not rely is refused with those that work."""
    (tmp_path / "fibers.py").write_text(
        "from celery.concurrency.solo import TaskPool as Solo\nclass TaskPool(Solo): pass\n"
    )

    done = run(
        tmp_path,
        "worker",
        "--pool",
        "custom",
        APPLY_REDIS_URL=own_server.url,
        CELERY_CUSTOM_WORKER_POOL="fibers:TaskPool",
        PYTHONPATH=f"{ROOT}:{tmp_path}",
    )

    check_refused(done, "pool fibers is not supported", "threads, prefork, solo")


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_green_threads_never_run(tmp_path: Path, own_server: RealServer, pool: str) -> None:
    """Where these packages are absent Celery itself ends first; its last line names what is missing."""
    done = run(tmp_path, "worker", "--pool", pool, APPLY_REDIS_URL=own_server.url)

    assert 0 != done.returncode
    assert f"No module named '{pool}'" in done.stderr.splitlines()[-1]


def test_decisions_are_shown_at_the_default_level(own_server: RealServer) -> None:
    """A worker started without a log level shows OK and BLOCK lines: operators count one against the other."""
    worker = Worker(own_server, "--loglevel", "WARNING")
    worker.start()
    try:
        with site_on(own_server) as site:
            hold(site.client, site.keys, "1", SYMBOLS[0])
            grant(site.client, site.keys, "good", *permit_texts(SYMBOLS[0]))
            site.send(plan("good", SYMBOLS[0]), "good")
            site.send(plan("bad", "NOTALLOWED"), "bad")
            wait_for_ends(site, ["good", "bad"])

            wait_until(lambda: worker.lines("[PERMIT_WAIT] OK plan=good wait_ms="), "an OK line")
            wait_until(lambda: worker.lines("[PERMIT_WAIT] BLOCK plan=bad reason=symbol_not_allowed"), "a BLOCK line")
    finally:
        worker.teardown()
