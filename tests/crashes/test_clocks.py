"""Workers whose clocks are wrong by half a minute, either way: no decision asks them."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.crashes.arena import ROLES, SYMBOL, Arena, CrashingWorker
from tests.crashes.points import CLOCK, Fate, Point, Step
from tests.crashes.promises import Promise, promised
from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.packages import need
from tests.worker.nodes import SYMBOLS, Site, permit_texts, plan, stop_all, wait_for_ends

OFF_S: Final = 30
WAIT_MS: Final = 6_000

Clock = Callable[[int], dict[str, str]]


def injected(seconds: int) -> dict[str, str]:
    """Settings of a worker whose Python code is told another time."""
    return {CLOCK: str(seconds)}


def faked(seconds: int) -> dict[str, str]:
    """Settings of a worker whose C library tells another time."""
    library = subprocess.run(
        [need("faketime"), "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    # What measures spans of time keeps running evenly, as it does on a machine whose clock is wrong.
    return {"LD_PRELOAD": library.stdout.strip(), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


CLOCKS: Final = [injected, pytest.param(faked, marks=pytest.mark.long)]


def off_by_s(worker: CrashingWorker) -> float:
    """How far the times in a worker's log are ahead of ours."""
    ready = worker.lines(" ready.")[-1]
    told = re.match(r"\[(\S+ \S+),\d+:", ready)
    assert told

    return datetime.fromisoformat(told.group(1)).timestamp() - worker.log_path.stat().st_mtime


@contextmanager
def skewed_workers(site: Site, clock: Clock, **settings: str) -> Iterator[list[CrashingWorker]]:
    """Three workers, ready: one with a fast clock, one with a slow one, one that is right."""
    options = ("--concurrency", "2")
    workers = [CrashingWorker(site.server, *options, **settings, **clock(seconds)) for seconds in (OFF_S, -OFF_S)] + [
        CrashingWorker(site.server, *options, **settings)
    ]
    with ExitStack() as at_end:
        at_end.callback(stop_all, workers)
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.ready()

        assert [OFF_S, -OFF_S, 0] == [round(off_by_s(worker), -1) for worker in workers]
        yield workers


#: For each kind of plan: when it was created, in seconds from now; whether permits come, and its end.
KINDS: Final[dict[str, tuple[int | None, str, str]]] = {
    "early": (None, "before", "EXECUTE"),
    "late": (None, "after", "EXECUTE"),
    "recent": (-40, "before", "EXECUTE"),
    "aged": (-75, "before", "plan_expired"),
    "ahead": (20, "before", "plan_expired"),
    "never": (None, "", "missing_both"),
}
EACH: Final = 10


@pytest.mark.long
@pytest.mark.fault("F12")
@pytest.mark.parametrize("clock", CLOCKS)
def test_no_decision_asks_a_workers_clock(site: Site, clock: Clock) -> None:
    """60 plans to three workers, one fast, one slow, one right: waits, ages and deadlines are those of Redis' clock."""
    hold(site.client, site.keys, "1000", SYMBOL)
    now_s = int(site.client.time()[0])
    with skewed_workers(site, clock, APPLY_PERMIT_WAIT_MS=str(WAIT_MS)) as workers:
        named = {f"{kind}-{number}": kind for number in range(EACH) for kind in KINDS}
        for name, kind in named.items():
            created, permits, _ = KINDS[kind]
            if permits == "before":
                grant(site.client, site.keys, name, *permit_texts(SYMBOL))
            more: dict[str, Any] = {} if created is None else {"created_at": now_s + created}
            site.send(plan(name, SYMBOL, **more), name)
        late = [name for name, kind in named.items() if KINDS[kind][1] == "after"]
        wait_until(lambda: all(record_of(site.client, site.keys, name) for name in late), "taken up")
        scheduled = site.producer.control.inspect(timeout=2).scheduled() or {}
        for name in late:
            grant(site.client, site.keys, name, *permit_texts(SYMBOL))
        wait_for_ends(site, named)
        results = results_of(site.client, site.keys)

        assert {worker.node for worker in workers} == set(scheduled)
        assert all(worker.lines("tasks.execute[", "received") for worker in workers)
        assert len(named) == len(results)
        assert {name: KINDS[kind][2] for name, kind in named.items()} == {
            entry["plan_id"]: entry["reason"] or entry["decision"] for entry in results
        }
        assert all(int(entry["wait_ms"]) >= WAIT_MS for entry in results if entry["reason"] == "missing_both")
        assert 3 * EACH == len(orders_of(site.client, site.keys))


@pytest.mark.long
@pytest.mark.fault("F12")
@pytest.mark.parametrize("clock", CLOCKS)
def test_the_judges_ask_no_workers_clock(site: Site, clock: Clock) -> None:
    """Our Governor and Position on skewed workers: snapshots are no older, limits no nearer, for a wrong clock."""
    for symbol in SYMBOLS:
        hold(site.client, site.keys, "0.01", symbol)
    with skewed_workers(site, clock, APPLY_ISSUERS="governor,p33", APPLY_PERMIT_WAIT_MS="30000") as workers:
        for symbol in SYMBOLS:
            site.send(plan(f"judged-{symbol}", symbol), f"judged-{symbol}")
        wait_for_ends(site, [f"judged-{symbol}" for symbol in SYMBOLS])
        for symbol in SYMBOLS[:3]:
            site.send(plan(f"again-{symbol}", symbol), f"again-{symbol}")
        wait_for_ends(site, [f"again-{symbol}" for symbol in SYMBOLS[:3]])
        ends = {entry["plan_id"]: entry["reason"] or entry["decision"] for entry in results_of(site.client, site.keys)}

        assert {f"judged-{symbol}": "EXECUTE" for symbol in SYMBOLS} | {
            # The cooldown of 15 s after an order of the symbol is over for none of them.
            f"again-{symbol}": "p33_denied"
            for symbol in SYMBOLS[:3]
        } == ends
        assert all(worker.status == "running" for worker in workers)


@pytest.mark.long
@pytest.mark.fault("F1", "F2", "F4", "F12")
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("skews", [(OFF_S, -OFF_S, 0), (-OFF_S, 0, OFF_S), (0, OFF_S, -OFF_S)])
def test_leases_and_sweeps_ask_no_workers_clock(
    site: Site, tmp_path: Path, clock: Clock, skews: tuple[int, int, int]
) -> None:
    """Killed, swept and inherited from under three different clocks: the ends are those of workers that are right."""
    roles = {role: clock(seconds) if seconds else {} for role, seconds in zip(ROLES, skews, strict=True)}
    points = [Point("after", step) for step in (Step.TAKE, Step.LOOK, Step.CONSUME, Step.ORDER, Step.FINISH)]
    promises: dict[str, Promise] = {}
    with Arena(site, tmp_path, wait_ms=4_000, roles=roles) as arena:
        for point in points:
            fate = Fate("kill", "self", point)
            promises[arena.strike(fate)] = promised(fate, "threads", back_in_time=False)
            arena.replace_lost()
        arena.settle(promises)
        arena.check(promises)
