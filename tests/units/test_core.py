"""Which core a worker keeps to, and that all of its threads go there together."""

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from workers.core import Usage, freest, others

MANY = len(os.sched_getaffinity(0)) > 1 if hasattr(os, "sched_getaffinity") else False


@pytest.mark.parametrize(
    ("used", "here", "chosen"),
    [
        ({0: 0.0, 1: 0.0}, None, [0, 1]),
        ({0: 0.02, 1: 0.0, 2: 0.3}, None, [0, 1]),
        ({0: 0.9, 1: 0.1}, None, [1]),
        ({0: 0.2, 1: 0.0}, 0, [0]),
        ({0: 0.3, 1: 0.0}, 0, [1]),
        ({0: 1.0, 1: 1.0}, 1, [1]),
        ({0: 0.0, 1: 0.0}, 7, [0, 1]),
    ],
    ids=["idle", "alike", "one free", "not clearly worse", "clearly worse", "all busy", "taken away"],
)
def test_it_stays_unless_another_core_is_clearly_freer(
    used: dict[int, float], here: int | None, chosen: list[int]
) -> None:
    """Shares are of others' use; cores that are alike are all offered."""
    assert chosen == freest(used, here)


def test_its_own_use_does_not_drive_it_away() -> None:
    """What it used itself is taken off the core that it was bound to, and off no other."""
    before, after = Usage(10.0, {0: 5.0, 1: 1.0}, 2.0), Usage(12.0, {0: 6.8, 1: 1.5, 2: 9.0}, 3.6)

    assert {0: 0.1, 1: 0.25} == {core: round(share, 6) for core, share in others(before, after, 0).items()}
    assert {0: 0.9, 1: 0.25} == {core: round(share, 6) for core, share in others(before, after, None).items()}


@pytest.mark.skipif(not MANY, reason="one core, or a system that binds no threads: nothing to choose from")
def test_all_threads_move_together_and_somebody_elses_word_is_final() -> None:
    """In a process of its own, with figures that are given: bound, moved off a busy core, then left alone.

    And let go where the system refuses the core that was chosen.
    """
    script = dedent("""
        import os, threading
        from workers import core
        first, second = sorted(os.sched_getaffinity(0))[:2]
        os.sched_setaffinity(0, {first, second})
        done = threading.Event()
        threads = [threading.Thread(target=done.wait) for _ in range(3)]
        for thread in threads: thread.start()
        at_s, cores_s = 0.0, {first: 0.0, second: 0.0}
        def usage(cores):
            return core.Usage(at_s, dict(cores_s), 0.0)
        core.usage = usage
        keeper = core.Keeper()
        def until(wanted, busy):
            global at_s
            for _ in range(100):
                keeper.look()
                if bound() == wanted: return print("bound")
                at_s += 1.0
                cores_s[busy] += 0.9
            print("never", bound())
        def bound():
            found = {frozenset(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")}
            return set(found.pop()) if len(found) == 1 else found
        until({second}, busy=first)
        until({first}, busy=second)
        for task in os.listdir("/proc/self/task"): os.sched_setaffinity(int(task), {second})
        for _ in range(5):
            at_s += 1.0
            cores_s[second] += 0.9
            keeper.look()
        print("left alone" if bound() == {second} else bound())
        keeper, gone = core.Keeper(), 4000
        keeper._allowed, cores_s[gone] = {first, second, gone}, 0.0
        for _ in range(3):
            keeper.look()
            at_s += 1.0
            cores_s[first] += 0.9
            cores_s[second] += 0.9
        print("let go" if bound() == {first, second} else bound())
        done.set()
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert ["bound", "bound", "left alone", "let go"] == done.stdout.split("\n")[:4], done.stderr
