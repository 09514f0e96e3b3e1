"""A worker is killed at every point of a plan's way: at most one order, one outcome, the right one."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crashes.arena import Arena
from tests.crashes.points import OF_MAIN, POINTS, Fate, Point, Step, Who
from tests.crashes.promises import Pool, Promise, promised
from tests.worker.nodes import Site

#: Every point of an attempt, in the pool.
OF_ATTEMPT = tuple(point for point in POINTS if point.step not in OF_MAIN)


def kill(who: Who, points: Iterable[Point]) -> list[Fate]:
    return [Fate("kill", who, point) for point in points]


def strike_all(arena: Arena, fates: Iterable[Fate], pool: Pool, *, back_in_time: bool) -> None:
    """Let each fate come to a worker that is all there, then count."""
    promises: dict[str, Promise] = {}
    for fate in fates:
        plan_id = arena.strike(fate)
        promises[plan_id] = promised(fate, pool, back_in_time=back_in_time)
        if pool == "threads" or fate.who != "self" or fate.point.step in OF_MAIN:
            arena.replace_lost()
    arena.settle(promises)
    arena.check(promises)


@pytest.mark.fault("F1", "F2", "F4")
@pytest.mark.fault("F1", "F2", "F4")
def test_a_worker_killed_at_chosen_points(site: Site, tmp_path: Path) -> None:
    """Killed before, at and after the consumption and the order: executed, adopted or interrupted, never twice."""
    points = [
        Point("after", Step.TAKE),
        Point("before", Step.CONSUME),
        Point("after", Step.CONSUME),
        Point("before", Step.ORDER),
        Point("after", Step.ORDER),
        Point("before", Step.ACK),
    ]
    with Arena(site, tmp_path, wait_ms=60_000) as arena:
        strike_all(arena, kill("self", points), "threads", back_in_time=True)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("wait_ms", "back_in_time"), [(4_000, False), (60_000, True)], ids=["late", "in_time"])
@pytest.mark.fault("F1", "F2", "F4", "F5")
@pytest.mark.fault("F1", "F2", "F4")
def test_a_threads_worker_killed_at_every_point(
    site: Site,
    tmp_path: Path,
    wait_ms: int,
    back_in_time: bool,  # noqa: FBT001 - a case
) -> None:
    """The whole worker is lost at each point; its message comes back after, or long before, the plan's deadline."""
    points = POINTS if not back_in_time else [point for point in POINTS if not point.is_after(Step.CONSUME)]
    with Arena(site, tmp_path, "--concurrency", "4", wait_ms=wait_ms, visibility_s=None) as arena:
        strike_all(arena, kill("self", points), "threads", back_in_time=back_in_time)


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.fault("F1", "F2", "F3")
@pytest.mark.fault("F1", "F2", "F3")
def test_a_pool_child_killed_at_every_point(site: Site, tmp_path: Path) -> None:
    """A child alone is lost at each point of an attempt: its message is delivered again at once."""
    options = ("--pool", "prefork", "--concurrency", "2")
    with Arena(site, tmp_path, *options, lanes=1, wait_ms=60_000) as arena:
        strike_all(arena, kill("self", OF_ATTEMPT), "prefork", back_in_time=True)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.fault("F1", "F2", "F4")
@pytest.mark.fault("F1", "F2", "F4")
def test_a_prefork_main_process_killed_at_every_point(site: Site, tmp_path: Path) -> None:
    """The main process is lost at each point, its own and its children's: they go with it."""
    with Arena(site, tmp_path, "--pool", "prefork", "--concurrency", "2", wait_ms=4_000) as arena:
        strike_all(arena, kill("main", POINTS), "prefork", back_in_time=False)
