"""A worker is killed around an order to a venue that cannot check its claim: at most one order, the right outcome."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crashes.arena import ROLES, Arena
from tests.crashes.points import FAR_POINTS, Fate
from tests.crashes.promises import Pool, Promise, promised
from tests.venue.process import VenueProcess
from tests.worker.nodes import Site


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.fault("F1", "F2", "F31")
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_killed_around_an_order_to_a_venue_outside(site: Site, tmp_path: Path, pool: Pool) -> None:
    """Before the claim is confirmed, before the request leaves, after the answer: found, or surely absent."""
    promises: dict[str, Promise] = {}
    with VenueProcess() as venue:
        roles = dict.fromkeys(ROLES, venue.env(window_ms=500, shows_within_ms=500))
        with Arena(site, tmp_path, "--pool", pool, "--concurrency", "2", wait_ms=60_000, roles=roles) as arena:
            arena.ordered = lambda: plans(venue)
            for point in FAR_POINTS:
                fate = Fate("kill", "main", point)
                promises[arena.strike(fate)] = promised(fate, pool, back_in_time=False)
                arena.replace_lost()
            arena.settle(promises)
            arena.check(promises)


def plans(venue: VenueProcess) -> Iterable[str]:
    """Whose orders the venue has accepted."""
    return [order["plan_id"] for order in venue.accepted()]
