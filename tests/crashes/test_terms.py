"""A process is told to end (SIGTERM) at a point: what is in hand is finished or handed over, once."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crashes.arena import Arena
from tests.crashes.points import OF_MAIN, POINTS, Fate
from tests.crashes.promises import Pool, Promise, promised
from tests.worker.nodes import Site

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

#: One in each gap between two steps.
AFTER = [point for point in POINTS if point.when == "after"]


def end_all(arena: Arena, fates: Iterable[Fate], pool: Pool) -> None:
    """Tell a process to end at each fate's point, then count."""
    promises: dict[str, Promise] = {}
    for fate in fates:
        plan_id = arena.strike(fate)
        promises[plan_id] = promised(fate, pool, back_in_time=True)
        if fate.who == "main":
            arena.replace_lost()
    arena.settle(promises)
    arena.check(promises)


@pytest.mark.fault("F27")
@pytest.mark.fault("F27")
def test_a_threads_worker_told_to_end_after_every_step(site: Site, tmp_path: Path) -> None:
    """Whatever it does when it is told to end, every plan executes: there, or by whoever takes the message next."""
    with Arena(site, tmp_path, "--concurrency", "4", wait_ms=60_000) as arena:
        end_all(arena, [Fate("term", "main", point) for point in AFTER], "threads")


@pytest.mark.fault("F27")
def test_a_prefork_worker_told_to_end_after_every_step(site: Site, tmp_path: Path) -> None:
    """The same where the main process of a prefork pool is told to end."""
    with Arena(site, tmp_path, "--pool", "prefork", "--concurrency", "2", wait_ms=60_000) as arena:
        end_all(arena, [Fate("term", "main", point) for point in AFTER], "prefork")


@pytest.mark.fault("F3", "F27")
@pytest.mark.fault("F1", "F2", "F3")
def test_a_pool_child_told_to_end_after_every_step(site: Site, tmp_path: Path) -> None:
    """A child that is told to end stops where it is: its plan is taken up again, or its order looked up."""
    fates = [Fate("term", "self", point) for point in AFTER if point.step not in OF_MAIN]
    with Arena(site, tmp_path, "--pool", "prefork", "--concurrency", "2", lanes=1, wait_ms=60_000) as arena:
        end_all(arena, fates, "prefork")
