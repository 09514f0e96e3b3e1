"""`permitwait watch`, as a process: decisions as they fall, filters, a server that goes and comes, a clean end."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from tempfile import TemporaryFile
from typing import IO, Any

import pytest
import redis

from ops.watch import Filters, since_ms
from tasks.errors import InvalidIntent
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.refuse import refuse
from tasks.settings import Settings
from tests.helpers import grant, hold, intent_of, run_to_outcome, wait_until
from tests.ops.command_call import Command, any_command
from tests.servers import RealServer
from tests.worker.nodes import ROOT, clean_environment


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The tool on this test's server."""
    return any_command(settings, monkeypatch, capsys)


class Watching:
    """One `permitwait watch`, and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: IO[bytes], err: IO[bytes]) -> None:
        self.process, self._out, self._err = process, out, err

    def lines(self) -> list[str]:
        """Of stdout, whole ones."""
        self._out.seek(0)
        return [line for line in self._out.read().decode().split("\n")[:-1] if line]

    def said(self) -> str:
        """On stderr."""
        self._err.seek(0)
        return self._err.read().decode()

    def wait_for(self, part: str, number: int = 1) -> list[str]:
        """The lines, once `number` of them hold `part`."""
        wait_until(lambda: sum(part in line for line in self.lines()) >= number, f"{number} x {part!r}, {self.said()}")
        return self.lines()

    def end(self, number: int = SIGINT) -> int:
        """Stop it, and tell its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def watching(settings: Settings, *arguments: str) -> Iterator[Watching]:
    """A watch that stands at its place in the streams; gone afterwards."""
    env = clean_environment(APPLY_REDIS_URL=settings.redis_url, APPLY_NAMESPACE=settings.namespace)
    with TemporaryFile() as out, TemporaryFile() as err:
        command = [sys.executable, "-m", "ops", "watch", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        watch = Watching(process, out, err)
        try:
            wait_until(lambda: "watching;" in watch.said() or process.poll() is not None, "the watch stands")
            yield watch
        finally:
            process.kill()
            process.wait()


def test_decisions_are_shown_as_they_fall(client: redis.Redis, keys: Keys, parts: Parts, settings: Settings) -> None:
    """Every kind of line on 80 columns, with the word in front; the switch too; Ctrl-C ends it with 0 and no noise."""
    hold(client, keys)
    run_to_outcome(parts, intent_of("before", symbol="ETHUSDT"))
    with watching(settings) as watch:
        grant(client, keys, "plan-1")
        run_to_outcome(parts, intent_of())
        run_to_outcome(parts, intent_of("plan-2", symbol="ETHUSDT"))
        run_to_outcome(parts, intent_of("x" * 64, action="UPDATE_SL"))
        refuse(parts, InvalidIntent("symbol: \x1b[31m", "plan-1"), "task-1", {})
        client.set(keys.kill_switch, "true")
        client.hset(keys.kill_switch_info, mapping={"who": "alice", "why": "drill", "when": "1"})
        watch.wait_for("SWITCH   set by alice: drill")
        client.delete(keys.kill_switch, keys.kill_switch_info)
        lines = watch.wait_for("SWITCH   cleared")
        code = watch.end()

        assert 0 == code
        assert "Traceback" not in watch.said()
        words = [line[9:17].rstrip() for line in lines]
        assert ["EXECUTE", "BLOCKED", "BLOCKED"] == [word for word in words if word in {"EXECUTE", "BLOCKED"}]
        assert "qty 0.008" in next(line for line in lines if "plan-1" in line and "EXECUTE" in line)
        assert "symbol_not_allowed" in next(line for line in lines if line.endswith("plan-2"))
        assert f"         plan={'x' * 64}" in lines
        assert "invalid_intent" in next(line for line in lines if "ASIDE" in line)
        assert [] == [line for line in lines if len(line) > 80 or not line.isprintable()]
        assert [] == [line for line in lines if "before" in line]


@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        (Filters(), {"one", "two", "three"}),
        (Filters(symbol="ETHUSDT"), {"two"}),
        (Filters(reason="kill_switch"), {"two", "three"}),
        (Filters(decision="EXECUTE"), {"one"}),
        (Filters(plan_id="three"), {"three"}),
        (Filters(symbol="BTCUSDT", reason="kill_switch"), {"three"}),
    ],
)
def test_filters(filters: Filters, passing: set[str]) -> None:
    """Every one that is given must fit."""
    entries = [
        {"plan_id": "one", "symbol": "BTCUSDT", "decision": "EXECUTE", "reason": ""},
        {"plan_id": "two", "symbol": "ETHUSDT", "decision": "BLOCKED", "reason": "kill_switch"},
        {"plan_id": "three", "symbol": "BTCUSDT", "decision": "BLOCKED", "reason": "kill_switch"},
    ]

    assert passing == {entry["plan_id"] for entry in entries if filters.passes(entry)}


def test_one_document_per_line(client: redis.Redis, keys: Keys, parts: Parts, settings: Settings) -> None:
    """With JSON's own types; from the past on with --since, and only what passes the filters."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    for intent in (intent_of(), intent_of("eth", symbol="ETHUSDT"), intent_of("odd", action="UPDATE_SL")):
        run_to_outcome(parts, intent)
    with watching(settings, "--json", "--since", "10m", "--decision", "BLOCKED", "--symbol", "BTCUSDT") as watch:
        [line] = watch.wait_for('"kind": "result"')
        document: dict[str, Any] = json.loads(line)

        assert ("odd", False, 0) == (document["plan_id"], document["executed"], document["wait_ms"] // 10_000)
        assert 0 == watch.end(SIGTERM)


def test_a_server_that_goes_and_comes(tmp_path: Path, settings: Settings, make_parts: Callable[..., Parts]) -> None:
    """It says so once each, goes on where it was, and shows nothing twice."""
    with RealServer(tmp_path / "data", appendfsync="always") as own:
        parts = make_parts(settings.model_copy(update={"redis_url": own.url}))
        with watching(parts.settings) as watch:
            run_to_outcome(parts, intent_of("first", symbol="ETHUSDT"))
            watch.wait_for("first")
            own.kill()
            wait_until(lambda: "gives no answer" in watch.said(), "the watch has noticed")
            own.start()
            run_to_outcome(parts, intent_of("second", symbol="ETHUSDT"))
            lines = watch.wait_for("second")

            wait_until(lambda: "answers again" in watch.said(), "the watch has said so")
            assert ["first", "second"] == [line.split()[-1] for line in lines]
            assert (1, 1) == (watch.said().count("gives no answer"), watch.said().count("answers again"))
            assert 0 == watch.end()


def test_a_set_switch_is_told_at_the_start(client: redis.Redis, keys: Keys, settings: Settings) -> None:
    """Whoever begins to watch learns at once that nothing executes."""
    client.set(keys.kill_switch, "true")
    with watching(settings, "--json") as watch:
        [line] = watch.wait_for("switch")

        assert {"kind": "switch", "set": True, "value": "true"} == json.loads(line)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "yesterday"), "neither a length of time"),
        (("--decision", "MAYBE"), "is no decision"),
        (("--reason", "bad_luck"), "is no reason"),
    ],
)
def test_what_makes_no_sense(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """A usage error that names what is allowed."""
    done = command("watch", *arguments)

    assert 2 == done.code
    assert said in done.err


def test_without_a_server_it_does_not_begin(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3, in one line."""
    monkeypatch.setenv("APPLY_REDIS_URL", "redis+socket:///nowhere.sock")
    done = command("watch")

    assert (3, 1) == (done.code, len(done.err.splitlines()))


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30s", 970_000),
        ("10m", 400_000),
        ("1970-01-01T00:00:05", 5_000),
        ("1970-01-01T01:00:05+01:00", 5_000),
        ("1970-01-01", 0),
    ],
)
def test_moments(text: str, ms: int) -> None:
    """A length of time before now, or an ISO time, in UTC unless it says more."""
    assert ms == since_ms(text, 1_000_000)
