"""Real workers in front of a real venue process: one outcome per plan, the right one, and at most one order."""

from collections import Counter
from collections.abc import Iterator
from signal import SIGCONT
from typing import Final

import psutil
import pytest

from tests.helpers import grant, results_of, wait_until
from tests.servers import RealServer
from tests.venue.behaviour import BEHAVIOURS, Behaviour
from tests.venue.process import VENUE_APP, VenueProcess
from tests.venue.remote import FREEZE
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, site_on, start_worker, wait_for_ends

SYMBOL: Final = SYMBOLS[0]

ENDS: Final = {
    "accept": ("EXECUTE", ""),
    "accept_slowly": ("EXECUTE", ""),
    "accept_and_hang": ("EXECUTE", ""),
    "accept_and_reset": ("EXECUTE", ""),
    "accept_and_fail": ("EXECUTE", ""),
    "accept_hang_and_hide": ("EXECUTE", ""),
    "hang": ("BLOCKED", "interrupted"),
    "reset": ("BLOCKED", "interrupted"),
    "fail": ("BLOCKED", "interrupted"),
    "refuse": ("REJECTED", "order_rejected"),
    "refuse_and_hang": ("BLOCKED", "interrupted"),
    "half_then_expired": ("EXECUTE", ""),
    "half_then_expired_and_hang": ("EXECUTE", ""),
    "expired": ("REJECTED", "order_rejected"),
    "acknowledge_first": ("EXECUTE", ""),
    "no_lookup_for_a_while": ("EXECUTE", ""),
}

POOLS: Final = ["threads", pytest.param("prefork", marks=pytest.mark.long)]

#: The shortest lease, and a venue that has to show its orders soon.
SHORT: Final = {"APPLY_CLAIM_LEASE_MS": "1000"}


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server of this test's own."""
    with RealServer() as running:
        yield running


@pytest.fixture
def site(server: RealServer) -> Iterator[Site]:
    """A producer that knows none of our code."""
    with site_on(server) as one:
        yield one


@pytest.fixture
def venue() -> Iterator[VenueProcess]:
    """A venue of this test's own."""
    with VenueProcess() as running:
        yield running


def send(site: Site, plan_id: str) -> None:
    """A plan whose permits lie there, sent twice."""
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
    for number in range(2):
        site.send(plan(plan_id, SYMBOL), f"{plan_id}-{number}")


def ends_of(site: Site) -> dict[str, tuple[str, str]]:
    """Every plan's one end."""
    results = results_of(site.client, site.keys)

    assert {1} == set(Counter(entry["plan_id"] for entry in results).values())
    return {entry["plan_id"]: (entry["decision"], entry["reason"]) for entry in results}


def accepted(venue: VenueProcess) -> Counter[str]:
    """Accepted orders per plan."""
    return Counter(order["plan_id"] for order in venue.accepted())


def all_answered(site: Site) -> bool:
    """Whether no message is left, waiting or in a worker."""
    return 0 == site.server.queue.ready() == site.server.queue.unacknowledged()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.fault("F28", "F31", "F35")
def test_every_behaviour_has_its_end(server: RealServer, site: Site, venue: VenueProcess, pool: str) -> None:
    """Sent twice each, to a worker with two slots: every plan ends once, as its order did, and no order is doubled."""
    assert set(ENDS) == set(BEHAVIOURS)
    options = ("--pool", pool, "--concurrency", "4")
    env = venue.env(timeout_ms=1_500, window_ms=2_500, shows_within_ms=1_500)
    with start_worker(server, *options, application=VENUE_APP, **env):
        for name in ENDS:
            venue.script(name, name)
            send(site, name)
        wait_for_ends(site, ENDS)
        wait_until(lambda: all_answered(site), "every message answered")

    assert ENDS == ends_of(site)
    assert set(accepted(venue).values()) == {1}
    executed = {name for name, (decision, _) in ENDS.items() if decision == "EXECUTE"}
    assert executed | {"expired"} == set(accepted(venue))


def frozen(worker: Worker) -> psutil.Process | None:
    """The process of this worker that has stopped itself."""
    main = psutil.Process(worker.pid)
    stopped = [one for one in (main, *main.children()) if one.status() == psutil.STATUS_STOPPED]
    return stopped[0] if stopped else None


@pytest.mark.long
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.fault(
    "F1", promise="a claimant that wakes up after its lease sends a request that the venue refuses as late"
)
def test_a_frozen_claimant_orders_nothing(server: RealServer, site: Site, venue: VenueProcess, pool: str) -> None:
    """Stopped right before its request leaves, continued after others have ended its plan: no order, one outcome."""
    plan_id = f"{FREEZE}-1"
    env = SHORT | venue.env(window_ms=5_000, shows_within_ms=300)
    with start_worker(server, "--pool", pool, "--concurrency", "2", application=VENUE_APP, **env) as victim:
        send(site, plan_id)
        stopped = wait_until(lambda: frozen(victim), "a claimant stopped on its last step")
        with start_worker(server, "--pool", pool, "--concurrency", "2", application=VENUE_APP, **env):
            wait_for_ends(site, [plan_id])
            before = ends_of(site)
            stopped.send_signal(SIGCONT)
            refused = wait_until(venue.refused, "the late request at the venue")
            wait_until(lambda: all_answered(site), "every message answered")

    assert {plan_id: ("BLOCKED", "interrupted")} == before == ends_of(site)
    assert [] == venue.accepted()
    assert ["-1021"] == [request["code"] for request in refused]


@pytest.mark.long
@pytest.mark.fault("F2", "F28")
def test_an_answer_that_outlasts_the_lease(server: RealServer, site: Site, venue: VenueProcess) -> None:
    """The claimant hears of its order long after its lease: others have adopted it by then, and nothing is doubled."""
    venue.script("plan-1", Behaviour(after_ms=8_000))
    env = SHORT | venue.env(timeout_ms=20_000)
    with start_worker(server, application=VENUE_APP, **env) as worker:
        send(site, "plan-1")
        wait_for_ends(site, ["plan-1"])
        still_waiting = not worker.lines("succeeded", "plan-1-0") or not worker.lines("succeeded", "plan-1-1")
        wait_until(lambda: all_answered(site), "every message answered")

    assert still_waiting
    assert {"plan-1": ("EXECUTE", "")} == ends_of(site)
    assert {"plan-1": 1} == accepted(venue)


@pytest.mark.long
@pytest.mark.fault("F2", "F4")
def test_an_order_of_a_killed_worker_is_adopted(server: RealServer, site: Site, venue: VenueProcess) -> None:
    """The worker is killed while the venue keeps its answer: the sweep of another one finds the order."""
    venue.script("plan-1", "accept_and_hang")
    env = SHORT | venue.env(timeout_ms=20_000)
    with start_worker(server, application=VENUE_APP, **env) as victim:
        send(site, "plan-1")
        wait_until(venue.accepted, "the order at the venue")
        victim.kill()
        with start_worker(server, application=VENUE_APP, **env):
            wait_for_ends(site, ["plan-1"])

    assert {"plan-1": ("EXECUTE", "")} == ends_of(site)
    assert {"plan-1": 1} == accepted(venue)


@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.fault("F28")
def test_a_venue_that_stays_silent(server: RealServer, site: Site, venue: VenueProcess, *, killed: bool) -> None:
    """Lookups fail beyond the bound: unknown, by the worker that sent the order or by another one's sweep."""
    venue.script("plan-1", Behaviour(then="hang", lookup="reset"))
    env = SHORT | venue.env()
    with start_worker(server, application=VENUE_APP, **env) as first:
        send(site, "plan-1")
        wait_until(venue.accepted, "the order at the venue")
        if killed:
            first.kill()
        with start_worker(server, application=VENUE_APP, **env):
            wait_for_ends(site, ["plan-1"], within_s=100)
            wait_until(lambda: all_answered(site), "every message answered", within_s=60)

    assert {"plan-1": ("UNKNOWN", "order_unknown")} == ends_of(site)
    assert {"plan-1": 1} == accepted(venue)
