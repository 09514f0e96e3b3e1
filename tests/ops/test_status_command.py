"""`permitwait status` on the real server: live figures, exit codes, and a cost that does not grow."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.places import server_dir
from ops.server import EmbeddedServer
from ops.status.facts import gather
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.settings import GovernorSettings, PositionSettings, Settings, in_force
from tasks.store import Store, connect
from tests.helpers import grant, hold, intent_of, run_to_outcome, wait_until
from tests.ops.command_call import Command, Terminal, any_command
from tests.ops.status_bed import WORKER, give_sign


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The tool on this test's server."""
    return any_command(settings, monkeypatch, capsys)


@pytest.fixture
def alive(client: redis.Redis, keys: Keys, settings: Settings) -> None:
    """A worker's sign of life with the settings of this test, long enough for a slow machine."""
    config = in_force(settings, GovernorSettings(_env_file=None), PositionSettings(_env_file=None))
    give_sign(client, keys, replace(WORKER, config=config), 60_000)


def execute(client: redis.Redis, keys: Keys, parts: Parts, number: int) -> None:
    """So many plans whose permits lie there."""
    hold(client, keys, "5")
    for name in (f"plan-{n}" for n in range(number)):
        grant(client, keys, name)
        assert run_to_outcome(parts, intent_of(name)).executed


def states(said: str) -> dict[str, str]:
    """Mark of every point in a JSON document."""
    return {check["name"]: check["mark"] for check in json.loads(said)["checklist"]}


def test_a_new_namespace_is_not_validated(command: Command) -> None:
    """Nothing ran yet: exit 1, every point is open and none has failed, on the page and in the document."""
    page, document = command("status"), command("status", "--json")

    assert (1, 1) == (page.code, document.code)
    assert "NOT VALIDATED: 0 ok, 10 not yet, 0 failed" in page.out
    assert {"not yet"} == set(states(document.out).values())


@pytest.mark.usefixtures("alive")
def test_five_cycles_validate(client: redis.Redis, keys: Keys, parts: Parts, command: Command) -> None:
    """Four executed plans are not enough, the fifth validates; a blocked one changes no mark."""
    execute(client, keys, parts, 4)
    four = command("status", "--json")
    execute(client, keys, parts, 5)
    run_to_outcome(parts, intent_of("denied", symbol="ETHUSDT"))
    five = command("status", "--json")
    read = json.loads(five.out)

    assert (1, {"5 or more cycles"}) == (four.code, {name for name, mark in states(four.out).items() if mark != "ok"})
    assert (0, {"ok"}) == (five.code, set(states(five.out).values()))
    assert (6, 5, 1) == tuple(read["decisions"][name] for name in ("taken_up", "executed", "blocked"))
    assert {"symbol_not_allowed": 1} == read["decisions"]["by_reason"]
    assert 4 == read["decisions"]["repeats"]
    assert (keys.namespace, 0, 0) == (read["namespace"], read["now"]["waiting"], read["now"]["overdue"])


@pytest.mark.usefixtures("alive")
def test_what_waits_now_is_told(client: redis.Redis, keys: Keys, parts: Parts, command: Command) -> None:
    """Plans without an outcome, the one that is here for longest, and those that should have ended."""
    for name in ("first", "second"):
        parts.gate.look(intent_of(name), name)
    client.hset(keys.record("first"), "taken_up_ms", "1000")
    client.zadd(keys.open, {"second": 1})
    now = json.loads(command("status", "--json").out)["now"]

    assert (2, 1, 2) == (now["waiting"], now["overdue"], now["parked"])
    assert {"plan_id": "first", "state": "waiting", "since_ms": 1000} == now["oldest"]


def test_a_halt_is_told(command: Command) -> None:
    """Who halted and why stands at the top, whatever the checklist says."""
    command("halt", "--reason", "exchange maintenance")
    page, document = command("status"), command("status", "--json")

    assert "exchange maintenance" in next(line for line in page.out.splitlines() if line.startswith("HALTED: "))
    assert json.loads(document.out)["kill_switch"]["is_set"]


def test_a_worker_that_is_gone_is_missed(client: redis.Redis, keys: Keys, command: Command) -> None:
    """Its sign has expired, the index remembers it: failed, with its name."""
    give_sign(client, keys, WORKER, 1)
    wait_until(lambda: not client.exists(keys.worker(WORKER.hostname)), "the end of the sign")
    document = command("status", "--json")

    assert "FAILED" == states(document.out)["worker and version seen"]
    assert ["celery@one"] == [gone["hostname"] for gone in json.loads(document.out)["gone"]]


@pytest.mark.parametrize("key", ["stats", "open", "workers", "results", "kill_switch", "kill_switch_info"])
def test_a_key_of_another_type_is_told(client: redis.Redis, keys: Keys, command: Command, key: str) -> None:
    """Nothing that somebody wrote there breaks the status; and nothing is validated on it."""
    name = getattr(keys, key)
    client.lpush(name, "junk")
    document = command("status", "--json")
    told = json.loads(document.out)
    client.delete(name)

    assert 1 == document.code
    if key == "kill_switch":
        assert told["kill_switch"]["is_set"]
    elif key != "kill_switch_info":
        assert [True] == [name in problem for problem in told["unreadable"]]
        assert "FAILED" == states(document.out)["figures readable"]


@pytest.mark.usefixtures("alive")
def test_counting_can_begin_anew(client: redis.Redis, keys: Keys, parts: Parts, command: Command) -> None:
    """After a race error nothing validates until an operator, asked, sets the counters aside; they are kept."""
    execute(client, keys, parts, 5)
    parts.gate.look(intent_of("waiting"), "first")
    client.hincrby(keys.stats, "set_aside:plan_conflict")
    broken = command("status")
    declined = command("status", "--reset", stdin=Terminal("n\n"))
    still = command("status", "--json")
    done = command("status", "--reset", "--yes", "--json")
    kept = json.loads(done.out)["kept"]
    anew = command("status", "--json")
    twice = command("status", "--reset", "--yes")

    assert (1, 1, 1, 0, 1) == tuple(one.code for one in (broken, declined, still, done, twice))
    assert "FAILED" == states(still.out)["no race error"]
    assert "not yet" == states(anew.out)["no race error"]
    assert b"6" == client.hget(kept, "taken_up")
    assert 0 < client.ttl(kept) <= 30 * 86_400
    assert 1 == json.loads(anew.out)["now"]["waiting"]


def test_the_report_is_written(command: Command, tmp_path: Path) -> None:
    """A dated Markdown file, replaced as a whole; nothing is left beside it."""
    file = tmp_path / "STATUS.md"
    file.write_text("old")
    done = command("status", "--report", str(file))

    assert (1, "") == (done.code, done.out)
    assert file.read_text().startswith("# Permit Wait: status of namespace")
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [("--report", "/nonexistent/STATUS.md"), ("--every", "0"), ("--reset", "--watch"), ("--watch", "--every", "x")],
)
def test_what_cannot_be_done_is_bad_input(command: Command, arguments: tuple[str, ...]) -> None:
    """Exit 2, and one sentence instead of a traceback."""
    done = command("status", *arguments)

    assert 2 == done.code
    assert "Traceback" not in done.err


def test_no_redis_is_unreachable(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3, which is neither validated nor not."""
    monkeypatch.setenv("APPLY_REDIS_URL", "redis+socket:///nonexistent/s.sock")
    done = command("status")

    assert (3, "") == (done.code, done.out)


def test_what_an_embedded_server_left_is_read(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parts: Parts
) -> None:
    """Without an address the figures of the last `up` are shown, said so, and its data stays for the next one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("APPLY_REDIS_URL")
    with EmbeddedServer(server_dir("up")) as server, closing(connect(RedisAddress.parse(server.url))) as client:
        client.hset(Keys(parts.settings.namespace).stats, "taken_up", "7")
    document, again = command("status", "--json"), command("status", "--json")
    watching = command("status", "--watch")

    assert [7, 7] == [json.loads(one.out)["decisions"]["taken_up"] for one in (document, again)]
    assert "`permitwait up` left" in document.err
    assert 2 == watching.code


def commands_of(client: redis.Redis, look: Callable[[], Any]) -> dict[str, int]:
    """How often each command ran on the server while something was looked at."""
    client.config_resetstat()
    look()
    found: dict[str, dict[str, int]] = client.info("commandstats")
    ours = {"config", "info", "hello", "client", "select"}
    counts = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
    return {name: calls for name, calls in counts.items() if name.partition("|")[0] not in ours}


#: Made on the server: sending them one by one takes longer than everything else here.
MANY_PLANS = """
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('HSET', KEYS[1] .. 'plan-' .. n, 'state', 'waiting', 'taken_up_ms', n)
  redis.call('ZADD', KEYS[2], n, 'plan-' .. n)
  redis.call('XADD', KEYS[3], '*', 'plan_id', 'plan-' .. n)
  redis.call('HINCRBY', KEYS[4], 'wait_ok:' .. n % 1200, 1)
end
"""


def test_the_cost_does_not_depend_on_the_number_of_plans(parts: Parts) -> None:
    """With 100 000 records the same few commands are sent as with none, and none of them walks over records."""
    with EmbeddedServer() as server, closing(connect(RedisAddress.parse(server.url), timeout_ms=30_000)) as client:
        settings = parts.settings.model_copy(update={"redis_url": server.url})
        keys, store = Keys(settings.namespace), Store(client)
        give_sign(client, keys, WORKER, 600_000)
        empty = commands_of(client, lambda: gather(store, settings))
        for first in range(0, 100_000, 10_000):
            client.eval(MANY_PLANS, 4, keys.record(""), keys.open, keys.results, keys.stats, first, first + 9_999)
        full = commands_of(client, lambda: gather(store, settings))
        facts = gather(store, settings)

    assert 100_000 == facts.stats.ok_waits.total == facts.waiting == facts.overdue
    assert facts.oldest
    assert "plan-0" == facts.oldest.plan_id
    reads = {"time", "hgetall", "hmget", "zcard", "zcount", "zrange", "get", "xrevrange"}
    assert reads - {"hmget"} == empty.keys()
    assert reads == full.keys()
    assert {name: full[name] for name in empty} == empty
    assert 10 == full["hmget"]


def started(settings: Settings, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    """`permitwait status …` as a process, with the address of this test."""
    ours = {"APPLY_REDIS_URL": settings.redis_url, "APPLY_NAMESPACE": settings.namespace, "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "-m", "ops", "status", *arguments],
        env=os.environ | ours | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("alive")
def test_watching_follows_and_ends_with_the_last_state(
    client: redis.Redis, keys: Keys, parts: Parts, settings: Settings
) -> None:
    """One JSON line per look; Ctrl-C ends it without a word, and the exit code is that of the last look."""
    process = started(settings, "--watch", "--every", "0.2", "--json")
    assert process.stdout
    first = json.loads(process.stdout.readline())
    execute(client, keys, parts, 5)
    give_up = time.monotonic() + 30
    while not (last := json.loads(process.stdout.readline()))["validated"] and time.monotonic() < give_up:
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert (False, True) == (first["validated"], last["validated"])
    assert (0, "") == (process.returncode, errors)


@pytest.mark.usefixtures("alive")
def test_watching_refreshes_in_place(settings: Settings) -> None:
    """On a terminal of 80x24 the page is drawn over itself, without colour where NO_COLOR asks; Ctrl-C leaves it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    env |= {"APPLY_REDIS_URL": settings.redis_url, "APPLY_NAMESPACE": settings.namespace}
    command = [sys.executable, "-m", "ops", "status", "--watch", "--every", "0.2"]
    process = subprocess.Popen(
        command, env=env | {"TERM": "xterm", "NO_COLOR": "1"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = ""
    while shown.count("NOT VALIDATED") < 3:
        shown += os.read(ours, 65_536).decode()
    process.send_signal(signal.SIGINT)
    assert 1 == process.wait(30)
    os.close(ours)

    # Cursor up and erase line, as often as the page has lines; a colour would be an `m` with a number of 30 or more.
    assert "\x1b[1A\x1b[2K" in shown
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9)[0-9]m", shown)
    frame = shown.split("NOT VALIDATED")[2]
    assert all(line in frame for line in ("no race error", "kill switch  off"))
    assert frame.count("\n") <= 24


def test_watching_outlasts_an_outage(tmp_path: Path, settings: Settings) -> None:
    """While the server is away it says so and asks again; interrupted then, it ends as unreachable."""
    with EmbeddedServer(tmp_path / "data") as server:
        process = started(settings.model_copy(update={"redis_url": server.url}), "--watch", "--every", "0.2")
        assert process.stdout
        assert process.stderr
        assert "namespace" in process.stdout.readline()
    # The second one says that the first has become the exit code.
    line, _ = process.stderr.readline(), process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert "Redis gave no answer, asking again" in line
    assert 3 == process.returncode
    assert "Traceback" not in errors
