"""Redis frozen or killed, workers killed or stopped, all in mid-wait: one end per plan, and never a late order."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from threading import Thread

import pytest

from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    SYMBOLS,
    Site,
    Worker,
    of_plans,
    permit_texts,
    plan,
    site_on,
    start_worker,
    start_workers,
    wait_for_ends,
)

SYMBOL = SYMBOLS[0]
PLANS = [f"plan-{number}" for number in range(20)]
HELD = Decimal(100)
QUANTITY = Decimal("0.008")

#: The sweep ends what is lost within seconds of its deadline; a message comes back after `visibility_timeout`, 30 s.
ENDED_WITHIN_S = 55.0

#: Of tests in which a worker is lost: a wait long enough to lose it in, and the shortest lease.
LOSSES = {"APPLY_PERMIT_WAIT_MS": "5000", "APPLY_CLAIM_LEASE_MS": "1000"}


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server that a test may freeze."""
    with RealServer() as running:
        yield running


def send_all(site: Site) -> None:
    """Send every plan and wait until a worker has taken each of them up."""
    hold(site.client, site.keys, str(HELD), SYMBOL)
    for plan_id in PLANS:
        site.send(plan(plan_id, SYMBOL), plan_id)
    wait_until(
        lambda: all(site.client.hexists(site.keys.record(plan_id), "taken_up_ms") for plan_id in PLANS),
        "every plan taken up",
    )


def grant_all(site: Site) -> None:
    for plan_id in PLANS:
        grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))


def permits_left(site: Site) -> int:
    keys = [site.keys.permit(name, plan_id) for name in ("governor", "p33") for plan_id in PLANS]
    return int(site.client.exists(*keys))


def check_every_plan_ended_once(site: Site) -> dict[str, dict[str, str]]:
    """One result entry per plan, an order exactly where it says so, the position reduced by exactly those."""
    results = of_plans(results_of(site.client, site.keys), PLANS)
    ends = {entry["plan_id"]: entry for entry in results}
    orders = Counter(order["plan_id"] for order in orders_of(site.client, site.keys))

    assert dict.fromkeys(PLANS, 1) == Counter(entry["plan_id"] for entry in results)
    assert orders == {plan_id: 1 for plan_id, end in ends.items() if end["executed"] == "True"}
    assert HELD - QUANTITY * len(orders) == site.position(SYMBOL)
    assert 0 == site.client.zcard(site.keys.open)
    return ends


def check_all_blocked_without_permits_used(site: Site) -> None:
    ends = check_every_plan_ended_once(site)

    assert {"BLOCKED"} == {end["decision"] for end in ends.values()}
    named = {"redis_unavailable", "missing_both", "deadline_passed", "server_changed"}
    assert named >= {end["reason"] for end in ends.values()}
    assert 2 * len(PLANS) == permits_left(site)


@pytest.mark.long
@pytest.mark.fault("F21")
def test_a_redis_that_freezes_over_the_deadline_dispatches_nothing(server: RealServer) -> None:
    """Redis stands still from mid-wait until after the deadline: permits that came meanwhile are not used."""
    with start_worker(server) as worker, site_on(server) as site:
        send_all(site)
        site.client.client_pause(1500, all=True)
        grant_all(site)
        wait_for_ends(site, PLANS)

        check_all_blocked_without_permits_used(site)
        assert "running" == worker.status


@pytest.mark.fault("F9", "F15", "F21")
def test_a_redis_that_dies_in_mid_wait_dispatches_nothing(tmp_path: Path) -> None:
    """Redis is killed in mid-wait and comes back after the deadline, its data kept: every plan ends blocked."""
    with (
        RealServer(tmp_path / "data", appendfsync="always") as server,
        start_worker(server) as worker,
        site_on(server) as site,
    ):
        send_all(site)
        deadlines = [int(record_of(site.client, site.keys, plan_id)["deadline_ms"]) for plan_id in PLANS]
        server.kill()
        server.start()
        wait_until(lambda: now_ms(site) > max(deadlines), "the deadlines have passed")
        grant_all(site)
        wait_for_ends(site, PLANS, ENDED_WITHIN_S)

        check_all_blocked_without_permits_used(site)
        assert "running" == worker.status


def now_ms(site: Site) -> int:
    seconds, micros = site.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def lose_in_mid_execution(site: Site, victim: Worker, number: Signals) -> None:
    """Have both workers wait, write permits one after the other, and stop the victim while it executes."""
    send_all(site)
    issuer = Thread(target=grant_all, args=(site,))
    issuer.start()
    wait_until(lambda: victim.lines("[PERMIT_WAIT] OK"), "the first plans of the victim")
    victim.kill(number)
    issuer.join()
    wait_for_ends(site, PLANS, ENDED_WITHIN_S)


def check_nothing_half_done(site: Site, ends: dict[str, dict[str, str]]) -> None:
    """Executed, or lost after its permits were consumed, or never consumed: permits go together or not at all."""
    never_consumed = [plan_id for plan_id, end in ends.items() if end["reason"] == "deadline_passed"]

    assert {("EXECUTE", ""), ("BLOCKED", "interrupted"), ("BLOCKED", "deadline_passed")} >= {
        (end["decision"], end["reason"]) for end in ends.values()
    }
    assert 2 * len(never_consumed) == permits_left(site)


@pytest.mark.long
@pytest.mark.fault("F1", "F2", "F4")
def test_a_killed_worker_leaves_every_plan_one_end(server: RealServer) -> None:
    """A worker is killed while plans wait and execute: each of them comes to one end, by whichever way."""
    with start_workers(2, server, **LOSSES) as (victim, survivor), site_on(server) as site:
        lose_in_mid_execution(site, victim, SIGKILL)

        check_nothing_half_done(site, check_every_plan_ended_once(site))
        assert "running" == survivor.status


@pytest.mark.long
@pytest.mark.fault("F1", "F5")
def test_a_frozen_worker_wakes_up_to_nothing(server: RealServer) -> None:
    """A worker is frozen while plans execute; when it wakes up after their end, it orders nothing more."""
    with start_workers(2, server, **LOSSES) as (victim, survivor), site_on(server) as site:
        lose_in_mid_execution(site, victim, SIGSTOP)
        ends = check_every_plan_ended_once(site)
        victim.kill(SIGCONT)
        wait_until(lambda: 2 == len(site.producer.control.ping(timeout=2) or ()), "both workers answer again")
        wait_until(lambda: 0 == server.queue.ready() == server.queue.unacknowledged(), "every message done")

        assert ends == check_every_plan_ended_once(site)
        check_nothing_half_done(site, ends)
        assert ("running", "running") == (victim.status, survivor.status)


@pytest.mark.fault("F27")
def test_a_stopped_worker_hands_its_plans_over(server: RealServer) -> None:
    """A worker is stopped in good order while plans wait: the other one takes them over within their wait."""
    with start_workers(2, server, APPLY_PERMIT_WAIT_MS="20000") as (leaving, staying), site_on(server) as site:
        send_all(site)
        leaving.kill(SIGTERM)
        wait_until(lambda: "exited" == leaving.status, "the worker stopped")
        grant_all(site)
        wait_for_ends(site, PLANS)

        ends = check_every_plan_ended_once(site)
        assert {"EXECUTE"} == {end["decision"] for end in ends.values()}
        assert "running" == staying.status
