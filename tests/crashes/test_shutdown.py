"""Workers told to end, warm and cold, with plans parked, in an attempt, at the venue: nothing lost, nothing twice."""

import os
from collections.abc import Iterable
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM

import psutil
import pytest

from tests.crashes.arena import SYMBOL, Arena
from tests.crashes.points import Fate, Point, Step, let_go
from tests.crashes.promises import EXECUTED, INTERRUPTED, Pool, Promise
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


@pytest.mark.long
@pytest.mark.fault("F27")
@pytest.mark.parametrize("pool", ["threads", "prefork"])
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


@pytest.mark.long
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


#: Where attempts are held when their worker is told to end.
HELD = {
    "attempting": Point("before", Step.CONSUME),
    "dispatching": Point("before", Step.ORDER),
    "dispatched": Point("after", Step.ORDER),
}

TERM, QUIT, TWICE, KILL = [SIGTERM], [SIGQUIT], [SIGQUIT, SIGQUIT], [SIGKILL]


class Leaving:
    """A worker with plans in every state, and what is sent to it."""

    def __init__(self, arena: Arena, serial: str, kinds: Iterable[str] = HELD) -> None:
        self.arena = arena
        self.worker = arena.join()
        self.parked = [f"parked-{serial}-{number}" for number in range(3)]
        park(arena, self.parked)
        self.held = {kind: Fate("hold", "self", HELD[kind]).plan_id(serial) for kind in kinds}
        for plan_id in self.held.values():
            arena.send(plan_id)
            arena.struck(plan_id)

    def tell(self, signals: Iterable[int]) -> None:
        """Send these signals to the main process, each when the one before is being obeyed."""
        for number in signals:
            os.kill(self.worker.pid, number)
            if number != SIGKILL:
                wait_until(lambda: self.worker.lines("shutdown") or self.worker.lines("Shutdown"), "obeyed")

    def let_go(self) -> None:
        """Let every held attempt go on."""
        for plan_id in self.held.values():
            let_go(self.arena.folder, plan_id)

    def ends(self, dispatching: Promise) -> dict[str, Promise]:
        """What the plans must come to, those that were about to be ordered to this."""
        promises = dict.fromkeys([*self.parked, *self.held.values()], EXECUTED)
        return promises | {plan_id: dispatching for kind, plan_id in self.held.items() if kind == "dispatching"}


def finish(arena: Arena, workers: list[Leaving], promises: dict[str, Promise]) -> None:
    arena.settle(promises)
    for leaving in workers:
        leaving.worker.wait()
    arena.check(promises)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F27")
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_attempts_that_end_in_time_are_finished(site: Site, tmp_path: Path, pool: Pool) -> None:
    """TERM and QUIT let attempts in hand finish; QUIT twice ends a pool's children, whose claims are then looked up."""
    with Arena(site, tmp_path, "--pool", pool, "--concurrency", "4", wait_ms=60_000, lease_ms=10_000, lanes=0) as arena:
        workers: list[Leaving] = []
        promises: dict[str, Promise] = {}
        for serial, signals in (("term", TERM), ("quit", QUIT), ("twice", TWICE)):
            leaving = Leaving(arena, serial)
            leaving.tell(signals)
            leaving.let_go()
            cut = pool == "prefork" and signals is TWICE
            promises |= leaving.ends(INTERRUPTED if cut else EXECUTED)
            workers.append(leaving)
        permit(arena, (plan_id for leaving in workers for plan_id in leaving.parked))
        finish(arena, workers, promises)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F1", "F4", "F27")
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_attempts_that_hang_are_ended_by_others(site: Site, tmp_path: Path, pool: Pool) -> None:
    """However a worker is told to end, or killed: what it still holds comes to its end elsewhere, and stays so."""
    with Arena(site, tmp_path, "--pool", pool, "--concurrency", "4", wait_ms=60_000, lanes=0) as arena:
        workers: list[Leaving] = []
        promises: dict[str, Promise] = {}
        for serial, signals in (("term", TERM), ("quit", QUIT), ("twice", TWICE), ("kill", KILL)):
            leaving = Leaving(arena, serial)
            leaving.tell(signals)
            promises |= leaving.ends(INTERRUPTED)
            workers.append(leaving)
        permit(arena, (plan_id for leaving in workers for plan_id in leaving.parked))
        arena.let_heir_take()
        wait_for_ends(site, promises, 60)
        for leaving in workers:
            leaving.let_go()
        finish(arena, workers, promises)

        assert [] == [line for leaving in workers for line in leaving.worker.lines("Unrecoverable error")]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F27")
@pytest.mark.parametrize("kind", HELD)
def test_a_solo_worker_finishes_its_one_attempt(site: Site, tmp_path: Path, kind: str) -> None:
    """The same for a worker that does everything in one thread, the obeying of signals included."""
    with Arena(site, tmp_path, "--pool", "solo", wait_ms=60_000, lease_ms=20_000, lanes=0) as arena:
        workers: list[Leaving] = []
        promises: dict[str, Promise] = {}
        for serial, signals in (("term", TERM), ("quit", QUIT), ("twice", TWICE)):
            leaving = Leaving(arena, serial, [kind])
            leaving.tell(signals)
            leaving.let_go()
            promises |= leaving.ends(EXECUTED)
            workers.append(leaving)
        permit(arena, (plan_id for leaving in workers for plan_id in leaving.parked))
        finish(arena, workers, promises)
