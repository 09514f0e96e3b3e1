"""A process is stopped at a point, and goes on after its plan has come to an end without it: it changes nothing."""

import os
from collections.abc import Iterable
from pathlib import Path
from signal import SIGCONT

import pytest

from tests.crashes.arena import Arena
from tests.crashes.points import OF_MAIN, POINTS, Fate, Point, Step
from tests.crashes.promises import Pool, Promise, promised
from tests.worker.nodes import Site, wait_for_ends

FROZEN = Fate("stop", "self", Point("after", Step.CONSUME))


def stop_together(arena: Arena, fates: Iterable[Fate]) -> None:
    """Stop a process per fate; when all their plans have outcomes, let all go on and end their work, then count."""
    promises: dict[str, Promise] = {}
    stopped = []
    for fate in fates:
        plan_id = arena.strike(fate)
        promises[plan_id] = promised(fate, "prefork", back_in_time=False)
        stopped.append(arena.struck(plan_id))
    wait_for_ends(arena.site, promises, 60)
    for pid in stopped:
        os.kill(pid, SIGCONT)
    arena.retire()
    arena.settle(promises)
    arena.check(promises)


def stop_in_turn(arena: Arena, fates: Iterable[Fate], pool: Pool) -> None:
    """Stop a worker at each fate's point in turn, and let it go on when the plan has its outcome; then count."""
    promises: dict[str, Promise] = {}
    for fate in fates:
        plan_id = arena.strike(fate)
        promises[plan_id] = promised(fate, pool, back_in_time=False)
        # A plan that no worker took up is nobody's until its message is delivered again.
        not_taken_up = not fate.point.is_after(Step.LOOK)
        if not_taken_up:
            arena.let_heir_take()
        wait_for_ends(arena.site, [plan_id], 60)
        if not_taken_up:
            arena.let_heir_take(messages=False)
        os.kill(arena.victims[0].pid, SIGCONT)
    arena.retire()
    arena.settle(promises)
    arena.check(promises)


@pytest.mark.fault("F1", promise="a claimant that was stopped and goes on after its plan's end orders nothing")
@pytest.mark.fault("F1")
def test_a_worker_stopped_right_after_consuming_orders_nothing(site: Site, tmp_path: Path) -> None:
    """Stopped with the permits consumed, it wakes up after the sweep has ended its plan: no order, one outcome."""
    with Arena(site, tmp_path, wait_ms=60_000, lanes=1) as arena:
        stop_in_turn(arena, [FROZEN], "threads")


@pytest.mark.long
@pytest.mark.fault("F1")
def test_a_child_stopped_right_after_consuming_orders_nothing(site: Site, tmp_path: Path) -> None:
    """The same where only a child of the pool is stopped, and its main process works on."""
    options = ("--pool", "prefork", "--concurrency", "1")
    with Arena(site, tmp_path, *options, wait_ms=60_000, lanes=1) as arena:
        stop_together(arena, [FROZEN])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F1", "F2", "F5")
@pytest.mark.fault("F1", "F2", "F4")
def test_a_worker_stopped_after_every_step(site: Site, tmp_path: Path) -> None:
    """A whole worker stands still after each step until its plan has come to an end, and then finds it ended."""
    points = [point for point in POINTS if point.when == "after"]
    with Arena(site, tmp_path, "--concurrency", "4", wait_ms=2_000, lanes=1) as arena:
        stop_in_turn(arena, [Fate("stop", "self", point) for point in points], "threads")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F5")
@pytest.mark.fault("F4", "F5")
def test_a_main_process_stopped_after_every_step(site: Site, tmp_path: Path) -> None:
    """The main process alone stands still: an attempt in hand goes on, a message in hand comes to another worker."""
    points = [point for point in POINTS if point.when == "after"]
    options = ("--pool", "prefork", "--concurrency", "2")
    with Arena(site, tmp_path, *options, wait_ms=2_000, lanes=1) as arena:
        stop_in_turn(arena, [Fate("stop", "main", point) for point in points], "prefork")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F1", "F2")
@pytest.mark.fault("F1", "F2", "F3")
def test_children_stopped_at_every_point(site: Site, tmp_path: Path) -> None:
    """Each of many children stands still at another point of an attempt, and none of them changes anything later."""
    points = [point for point in POINTS if point.step not in OF_MAIN]
    options = ("--pool", "prefork", "--concurrency", str(len(points) + 2))
    with Arena(site, tmp_path, *options, wait_ms=4_000, lanes=1) as arena:
        stop_together(arena, [Fate("stop", "self", point) for point in points])
