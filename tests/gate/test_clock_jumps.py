"""The clock of Redis jumps while plans wait and permits stand: what waits may end early or late, never wrongly."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, wait_until
from tests.packages import need
from tests.servers import RealServer

pytestmark = pytest.mark.long

WAIT_MS, MAX_TTL_MS = 60_000, 120_000

Jump = Callable[[int], None]


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RealServer, Jump]]:
    """A server whose clock is as many seconds off as was said last."""
    library = subprocess.run(
        [need("faketime"), "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    monkeypatch.setenv("LD_PRELOAD", library.stdout.strip())
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    # What measures spans of time keeps running evenly, as it does on a machine whose clock is set.
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with RealServer() as running:
        for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC"):
            monkeypatch.delenv(name)
        with redis.Redis(unix_socket_path=str(running.socket_path)) as clock:

            def jump(by_s: int) -> None:
                before_s = clock.time()[0]
                offset.write_text(f"{by_s:+d}\n")
                wait_until(lambda: abs(clock.time()[0] - before_s - by_s) < abs(by_s) / 2, "the clock moved")

            yield running, jump


@pytest.fixture
def jump(moved: tuple[RealServer, Jump]) -> Jump:
    """Move the server's clock."""
    return moved[1]


@pytest.fixture
def server(moved: tuple[RealServer, Jump]) -> RealServer:
    """The server of these tests' settings and clients."""
    return moved[0]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Waits and lives that a jump can be compared with."""
    return settings.model_copy(update={"permit_wait_ms": WAIT_MS, "permit_max_ttl_ms": MAX_TTL_MS})


def end_of(parts: Parts) -> Outcome:
    step = execute_once(parts, intent_of())
    assert isinstance(step, Outcome)

    return step


@pytest.mark.parametrize(("then", "reason"), [("before", "missing_both"), ("after", "deadline_passed")])
@pytest.mark.fault("F13")
def test_a_jump_forward_ends_the_wait(
    client: redis.Redis, keys: Keys, parts: Parts, jump: Jump, then: str, reason: str
) -> None:
    """Permits from before have run out with the wait, permits from after come too late: blocked, nothing consumed."""
    hold(client, keys)
    assert isinstance(execute_once(parts, intent_of()), Again)
    if then == "before":
        grant(client, keys, "plan-1")
    jump(90)
    if then == "after":
        grant(client, keys, "plan-1")

    assert ("BLOCKED", reason) == (end_of(parts).decision, end_of(parts).reason)
    assert [] == orders_of(client, keys)
    assert 1 == len(results_of(client, keys))


@pytest.mark.parametrize(("back_s", "reason"), [(30, ""), (90, "permit_ttl")])
@pytest.mark.fault("F13")
def test_a_jump_back_prolongs_no_permit_beyond_the_maximum(
    client: redis.Redis, keys: Keys, parts: Parts, jump: Jump, back_s: int, reason: str
) -> None:
    """A permit that would now live for longer than allowed is refused; within that the plan executes, once."""
    hold(client, keys)
    assert isinstance(execute_once(parts, intent_of()), Again)
    grant(client, keys, "plan-1")
    jump(-back_s)
    first = end_of(parts)

    assert (reason, first) == (first.reason, end_of(parts))
    assert int(not reason) == len(orders_of(client, keys))
    assert 1 == len(results_of(client, keys))


@pytest.mark.parametrize("by_s", [-90, 90])
@pytest.mark.fault("F13")
def test_a_finished_plan_stays_finished(client: redis.Redis, keys: Keys, parts: Parts, jump: Jump, by_s: int) -> None:
    """Whichever way the clock went, a repeat with fresh permits gets the stored outcome."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    first = end_of(parts)
    jump(by_s)
    grant(client, keys, "plan-1")

    assert first.executed
    assert first == end_of(parts)
    assert "done" == record_of(client, keys, "plan-1")["state"]
    assert 1 == len(orders_of(client, keys))
