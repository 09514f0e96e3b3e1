"""Workers told to end, warm and cold, with plans parked, in an attempt, at the venue: nothing lost, nothing twice."""

import os
from collections.abc import Iterable
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import psutil
import pytest

from tests.crashes.arena import SYMBOL, Arena
from tests.crashes.points import Fate, Point, Step, let_go
from tests.crashes.promises import EXECUTED, Pool
from tests.helpers import grant, record_of, wait_until
from tests.worker.nodes import Site, permit_texts, plan, wait_for_ends


def park(arena: Arena, plan_ids: Iterable[str]) -> None:
    """Send plans without permits, and return when each is taken up."""
    site, names = arena.site, list(plan_ids)
    for name in names:
        site.send(plan(name, SYMBOL), name)
    wait_until(
        lambda: all(record_of(site.client, site.keys, name).get("state") == "waiting" for name in names), "waiting"
    )


def watches(site: Site) -> int:
    """How many workers watch the permits."""
    return sum("B" in client["flags"] for client in site.client.client_list())


def permit(arena: Arena, plan_ids: Iterable[str]) -> None:
    for name in plan_ids:
        grant(arena.site.client, arena.site.keys, name, *permit_texts(SYMBOL))


@pytest.mark.fault("F27")
@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.long)])
def test_a_worker_that_ends_keeps_no_plan_waiting_for_its_last_attempt(site: Site, tmp_path: Path, pool: Pool) -> None:
    """TERM, and an attempt that takes its time: parked plans execute elsewhere meanwhile, then the attempt finishes."""
    waiting = [f"waiting-{number}" for number in range(5)]
    last = Fate("hold", "self", Point("before", Step.FINISH)).plan_id()
    with Arena(site, tmp_path, "--pool", pool, "--concurrency", "2", wait_ms=60_000, lanes=1, lease_ms=60_000) as arena:
        [leaving] = arena.victims
        leaving.ready()
        park(arena, waiting)
        arena.send(last)
        arena.struck(last)
        os.kill(leaving.pid, SIGTERM)
        wait_until(lambda: site.server.queue.ready() == len(waiting), "parked messages given back")
        permit(arena, waiting)
        arena.let_heir_take()
        wait_for_ends(site, waiting)
        still = leaving.status
        let_go(tmp_path, last)
        leaving.wait()
        arena.settle([last])

        assert "running" == still
        assert 0 == leaving.exit_code
        arena.check(dict.fromkeys([*waiting, last], EXECUTED))


@pytest.mark.fault("F27")
def test_a_prefork_worker_ends_though_nobody_reads_a_last_result(site: Site, tmp_path: Path) -> None:
    """A child whose attempt began behind its parent's back ends in time, and so does the parent: by itself."""
    with Arena(site, tmp_path, "--pool", "prefork", "--concurrency", "1", wait_ms=60_000, lanes=1) as arena:
        [leaving] = arena.victims
        leaving.ready()
        both = wait_until(lambda: watches(site) == 2 and 2, "its watch and the sweeper's")
        [child] = psutil.Process(leaving.pid).children()
        child.send_signal(SIGSTOP)
        arena.send("unread")
        wait_until(lambda: record_of(site.client, site.keys, "unread").get("state") == "waiting", "taken up")
        for _ in range(2):
            # Turns of its event loop: the attempt is in the child's pipe after these.
            wait_until(lambda: site.producer.control.ping(destination=[leaving.node], timeout=5), "an answer")
        os.kill(leaving.pid, SIGTERM)
        wait_until(lambda: leaving.lines("Warm shutdown"), "told to end")
        wait_until(lambda: watches(site) < both, "its watch closed: its pool is next")
        child.send_signal(SIGCONT)
        leaving.wait()
        arena.settle(["unread"])

        assert 0 == leaving.exit_code
        arena.check({"unread": EXECUTED})
