"""A request or a reply is lost at each step, once or twice: asked again where that is harmless, else looked up."""

from pathlib import Path

import pytest

from tests.crashes.arena import Arena
from tests.crashes.points import POINTS, Fate, Point, Step
from tests.crashes.promises import Pool, promised
from tests.worker.nodes import Site

#: Steps that ask the server. What was taken before the worker reads it can be lost on its way only.
ASKING = (Step.LOOK, Step.CONSUME, Step.ORDER, Step.FINISH, Step.STORE, Step.ACK)
LOST = (Point("before", Step.TAKE), *(point for point in POINTS if point.step in ASKING))

#: An order is asked for once only, whatever comes of it, and an acknowledgement by the next who gets the message.
LOSSES = [
    Fate("lose", "self", point, times)
    for point in LOST
    for times in (1, 2)
    if times == 1 or point.step not in {Step.ORDER, Step.ACK}
]


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.fault("F17", "F21")
@pytest.mark.fault("F17")
def test_a_request_or_reply_lost_at_each_step(site: Site, tmp_path: Path, pool: Pool) -> None:
    """Whichever call of an execution is lost, and on which way: one outcome, and the order that it tells of."""
    with Arena(site, tmp_path, "--pool", pool, "--concurrency", "4", wait_ms=60_000, lanes=1) as arena:
        promises = {arena.strike(fate): promised(fate, pool, back_in_time=True) for fate in LOSSES}
        arena.settle(promises)
        arena.check(promises)
