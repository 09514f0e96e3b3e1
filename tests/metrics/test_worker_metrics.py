"""What real workers show to Prometheus: exact in every pool, and each worker's own."""

import os
from collections.abc import Iterator
from signal import SIGKILL
from time import monotonic, sleep

import psutil
import pytest

from tests.helpers import POOLS, grant, hold, wait_until
from tests.metrics.scrape import Figures, free_port, scrape
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, site_on, start_workers, wait_for_ends
from workers.metrics import METRICS

PLANS = 12


@pytest.fixture
def own_server() -> Iterator[RealServer]:
    """A server whose worker is alone with it."""
    with RealServer() as running:
        yield running


def play(site: Site) -> list[str]:
    """Plans with every kind of end, each known beforehand."""
    symbol = SYMBOLS[0]
    hold(site.client, site.keys, "1", symbol)
    ids = [f"good{number}" for number in range(PLANS)]
    for plan_id in ids:
        grant(site.client, site.keys, plan_id, *permit_texts(symbol))
        site.send(plan(plan_id, symbol), plan_id)
    site.send(plan("late", symbol), "late")
    site.send(plan("elsewhere", "NOTALLOWED"), "elsewhere")
    hold(site.client, site.keys, "0.001", SYMBOLS[1])
    grant(site.client, site.keys, "toomuch", *permit_texts(SYMBOLS[1]))
    site.send(plan("toomuch", SYMBOLS[1]), "toomuch")
    site.send({"plan_id": "nonsense"}, "nonsense")
    site.client.lpush("execute", "junk")
    return [*ids, "late", "elsewhere", "toomuch"]


def counted(figures: Figures) -> dict[str, float]:
    """The figures that `play` decides."""
    return {
        "taken_up": figures.sum("taken_up_total"),
        "executed": figures.sum("decisions_total", decision="EXECUTE", reason="-"),
        "missing": figures.sum("decisions_total", decision="BLOCKED", reason="missing_both"),
        "not allowed": figures.sum("decisions_total", reason="symbol_not_allowed"),
        "rejected": figures.sum("decisions_total", decision="REJECTED", reason="order_rejected"),
        "invalid": figures.sum("decisions_total", reason="invalid_intent"),
        "waits": figures.sum("wait_seconds_count"),
        "submits": figures.sum("venue_seconds_count", venue="paper", call="submit", answer="accepted"),
        "refused submits": figures.sum("venue_seconds_count", venue="paper", call="submit", answer="rejected"),
        "junk": figures.sum("set_aside_total", reason="undecodable"),
        "set aside": figures.sum("set_aside_total", reason="invalid_intent"),
        "dropped": figures.sum("metrics_dropped_total"),
    }


EXPECTED = {
    "taken_up": PLANS + 3,
    "executed": PLANS,
    "missing": 1,
    "not allowed": 1,
    "rejected": 1,
    "invalid": 1,
    "waits": PLANS + 3,
    "submits": PLANS,
    "refused submits": 1,
    "junk": 1,
    "set aside": 1,
    "dropped": 0,
}


def check_counts(ports: list[int]) -> Figures:
    """Wait until the workers together show exactly what was played."""
    give_up = monotonic() + 15
    while counted(scrape(*ports)) != EXPECTED and monotonic() < give_up:
        sleep(0.05)
    figures = scrape(*ports)
    assert counted(figures) == EXPECTED

    return figures


@pytest.mark.parametrize("pool", POOLS)
def test_every_end_is_counted_once(own_server: RealServer, pool: str) -> None:
    """Threads, prefork and solo show the same exact figures for the same plans."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with (
        start_workers(1, own_server, "--pool", pool, "-c", "3", APPLY_METRICS_ADDRESS=address),
        site_on(own_server) as site,
    ):
        wait_for_ends(site, play(site))

        figures = check_counts([port])

        gauges = {metric.exported for metric in METRICS if metric.kind == "gauge"}
        # No issuer of ours is configured here.
        assert {"permitwait_issuer_alive"} == gauges - figures.names()
        assert 1 == figures.sum("build_info", pool=pool, mode="paper")
        assert 1 == figures.sum("redis_up") == figures.sum("watch_alive")
        assert 0 == figures.sum("parked_plans") == figures.sum("open_plans") == figures.sum("kill_switch")
        assert PLANS + 3 < figures.sum("attempts_total")
        assert 1.2 <= figures.sum("wait_seconds_sum") < 20


@pytest.mark.long
def test_workers_of_a_machine_add_up(own_server: RealServer) -> None:
    """Two prefork workers, one port each: every figure is one worker's own, so that their sum is the truth."""
    ports = [free_port(), free_port()]
    workers = [
        Worker(own_server, "--pool", "prefork", "-c", "2", APPLY_METRICS_ADDRESS=f"127.0.0.1:{port}") for port in ports
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.ready()
        with site_on(own_server) as site:
            wait_for_ends(site, play(site))

            check_counts(ports)
    finally:
        for worker in workers:
            worker.teardown()


@pytest.mark.long
def test_a_killed_child_spoils_nothing(own_server: RealServer) -> None:
    """A pool child that is killed leaves no lock and no stale figures: its successor's plans are counted on."""
    port = free_port()
    with (
        start_workers(
            1,
            own_server,
            "--pool",
            "prefork",
            "-c",
            "1",
            APPLY_METRICS_ADDRESS=f"127.0.0.1:{port}",
            APPLY_PERMIT_WAIT_MS="30000",
        ) as started,
        site_on(own_server) as site,
    ):
        hold(site.client, site.keys, "1", SYMBOLS[0])
        for plan_id in ("before", "after"):
            grant(site.client, site.keys, plan_id, *permit_texts(SYMBOLS[0]))
            site.send(plan(plan_id, SYMBOLS[0]), plan_id)
            wait_for_ends(site, [plan_id])
            if plan_id == "before":
                wait_until(lambda: scrape(port).sum("decisions_total") == 1, "the first plan counted")
                for child in psutil.Process(started[0].pid).children():
                    os.kill(child.pid, SIGKILL)

        wait_until(lambda: scrape(port).sum("decisions_total", decision="EXECUTE") == 2, "both plans counted")


@pytest.mark.long
def test_what_waits_is_shown_while_it_waits(own_server: RealServer) -> None:
    """Parked plans, open plans, the kill switch and a lost watch show as they are at the moment of the scrape."""
    port = free_port()
    with (
        start_workers(
            1, own_server, APPLY_METRICS_ADDRESS=f"127.0.0.1:{port}", APPLY_PERMIT_WAIT_MS="30000", APPLY_ISSUERS=""
        ),
        site_on(own_server) as site,
    ):
        for number in range(3):
            site.send(plan(f"p{number}", SYMBOLS[0]), f"p{number}")
        wait_until(lambda: scrape(port).sum("parked_plans") == 3, "three parked plans")
        assert 3 == scrape(port).sum("open_plans")
        assert 30 == scrape(port).sum("wait_limit_seconds")

        site.client.execute_command("ACL", "SETUSER", "default", "-client|tracking")  # type: ignore[no-untyped-call]
        blind_s = scrape(port).sum("watch_blind_seconds_total")
        site.client.client_kill_filter(skipme=True)  # every connection of the worker
        wait_until(lambda: scrape(port).sum("watch_alive") == 0, "a blind watch")
        wait_until(lambda: scrape(port).sum("watch_blind_seconds_total") > blind_s + 0.2, "blind seconds that grow")

        site.client.set(site.keys.kill_switch, "true")
        wait_until(lambda: scrape(port).sum("kill_switch") == 1, "the kill switch")
        wait_until(lambda: scrape(port).sum("decisions_total", reason="kill_switch") == 3, "three blocked plans")


@pytest.mark.long
def test_the_judges_answers_are_counted(own_server: RealServer) -> None:
    """Grants and refusals of our own Governor and Position, and their signs of life."""
    port = free_port()
    with (
        start_workers(
            1,
            own_server,
            "--pool",
            "prefork",
            APPLY_METRICS_ADDRESS=f"127.0.0.1:{port}",
            APPLY_ISSUERS="governor,p33",
            APPLY_PERMIT_WAIT_MS="30000",
        ),
        site_on(own_server) as site,
    ):
        hold(site.client, site.keys, "0.062", SYMBOLS[0])
        hold(site.client, site.keys, "0", SYMBOLS[1])
        for plan_id, symbol in (("yes", SYMBOLS[0]), ("no", SYMBOLS[1])):
            site.send(plan(plan_id, symbol), plan_id)
        wait_for_ends(site, ["yes", "no"])
        wait_until(lambda: scrape(port).sum("issuer_verdicts_total") == 4, "four answers")
        figures = scrape(port)

        assert 1 == figures.sum("issuer_verdicts_total", issuer="governor", verdict="granted", reason="-")
        assert 1 == figures.sum("issuer_verdicts_total", issuer="p33", verdict="granted")
        assert 1 == figures.sum("issuer_verdicts_total", issuer="governor", verdict="refused")
        assert 1 == figures.sum("issuer_verdicts_total", issuer="p33", verdict="refused", reason="no_position")
        assert 2 == figures.sum("issuer_alive")
        assert 1 > abs(figures.sum("clock_offset_seconds"))


@pytest.mark.long
def test_a_lost_redis_is_shown(own_server: RealServer) -> None:
    """Without Redis the page still answers, says so, and counts the calls that failed."""
    port = free_port()
    with start_workers(1, own_server, APPLY_METRICS_ADDRESS=f"127.0.0.1:{port}"):
        assert 1 == scrape(port).sum("redis_up")
        own_server.kill()

        wait_until(lambda: scrape(port).sum("redis_up") == 0, "redis_up 0")
        wait_until(lambda: scrape(port).sum("redis_errors_total", kind="connection") > 0, "counted errors")
        assert 0 == scrape(port).sum("overdue_plans")
