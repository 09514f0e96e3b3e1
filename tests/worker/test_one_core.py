"""`APPLY_ONE_CORE`: a worker keeps all its threads on one core, or says why not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import hold, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, plan, site_on, start_worker, wait_for_ends
from workers.core import usage

SYMBOL = SYMBOLS[0]
pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == 1, reason="no cores to choose from"
)


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


def bound(pid: int) -> set[frozenset[int]]:
    """The cores that each thread of a process may use."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads}


def test_all_threads_keep_to_one_core(site: Site) -> None:
    """Those of before and those that attempts start; the worker says which core."""
    with start_worker(site.server, APPLY_ONE_CORE="yes", APPLY_PERMIT_WAIT_MS="100") as worker:
        wait_until(lambda: worker.lines("[CORE] keeps to core"), "a core chosen")
        names = [f"p{number}" for number in range(20)]
        for name in names:
            site.send(plan(name, SYMBOL), name)
        wait_for_ends(site, names)
        found = wait_until(lambda: len(cores := bound(worker.pid)) == 1 and cores, "every thread on the same core")

        assert [1] == [len(cores) for cores in found]


@pytest.mark.long
def test_other_pools_and_other_workers_are_left_alone(site: Site) -> None:
    """Asked for in a pool without threads it says that it does nothing; without being asked it says nothing."""
    everywhere = {frozenset(os.sched_getaffinity(0))}
    with (
        start_worker(site.server, "--pool", "solo", APPLY_ONE_CORE="yes") as solo,
        start_worker(site.server) as unasked,
    ):
        wait_until(lambda: solo.lines("[CORE] keeps to none"), "why not")

        assert everywhere == bound(solo.pid) == bound(unasked.pid)
        assert [] == unasked.lines("[CORE]")


def test_the_system_tells_what_its_cores_are_used_for() -> None:
    """The figures of every core that was asked for, and they only grow."""
    cores = os.sched_getaffinity(0)
    before = usage(cores)
    after = usage(cores)

    assert cores == set(before.cores_s) == set(after.cores_s)
    assert all(after.cores_s[core] >= before.cores_s[core] for core in cores)
    assert after.own_s >= before.own_s
