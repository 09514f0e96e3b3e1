"""The permit chain with real workers: any client's one message is enough, and each issuer scales on its own queue."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.helpers import hold, orders_of, record_of, results_of, texts, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, permit_texts, plan, site_on, start_worker, start_workers, wait_for_ends

SYMBOL, OTHER = SYMBOLS[0], SYMBOLS[1]
#: Our own issuers, without the pauses and limits that would stop a test's second plan; a wait for slow machines.
CHAIN = {
    "APPLY_ISSUERS": "governor,p33",
    "APPLY_PERMIT_WAIT_MS": "20000",
    "P33_COOLDOWN_SEC": "0",
    "GOV_MAX_EXEC_PER_HOUR": "1000",
    "GOV_MAX_EXEC_PER_5MIN": "1000",
    "GOV_MAX_REDUCE_NOTIONAL_PER_DAY_USD": "1000000000",
}


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a long and a short position."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "0.062", SYMBOL)
        hold(site.client, site.keys, "-1.000", OTHER)
        yield site


def reasons(site: Site) -> dict[str, str]:
    """Reason (or EXECUTE) of every plan in the result stream."""
    return {entry["plan_id"]: entry["reason"] or entry["decision"] for entry in results_of(site.client, site.keys)}


def ledger(site: Site, symbol: str) -> Decimal:
    """What our ledger says is held."""
    found = site.client.hget(site.keys.ledger(symbol), "last_known_amt")
    assert isinstance(found, bytes)

    return Decimal(found.decode())


def test_one_message_brings_both_permits_and_the_order(site: Site) -> None:
    """A worker that reads all queues asks both issuers once, executes, and moves the ledger with the position."""
    with start_worker(site.server, **CHAIN) as worker:
        first, again = site.send(plan("p1", SYMBOL), "p1"), site.send(plan("p1", SYMBOL), "again")
        outcomes = first.get(timeout=30), again.get(timeout=30)

        assert outcomes[0] == outcomes[1]
        assert ("EXECUTE", "0.046") == (outcomes[0]["decision"], outcomes[0]["safe_qty"])
        assert Decimal("0.016") == site.position(SYMBOL) == ledger(site, SYMBOL)
        assert [1, 1] == [len(worker.lines(f"[ISSUER] {issuer} plan=p1")) for issuer in ("governor", "p33")]


@pytest.mark.long
def test_each_issuer_runs_on_a_worker_of_its_own(site: Site) -> None:
    """Four workers, two of them Governors, each on one queue: every plan executes once, ledger and venue agree."""
    names = [f"p{number}" for number in range(12)]
    with (
        start_workers(2, site.server, "-Q", "governor", **CHAIN),
        start_worker(site.server, "-Q", "position", **CHAIN),
        start_worker(site.server, "-Q", "execute", **CHAIN),
    ):
        for number, name in enumerate(names):
            symbol = (SYMBOL, OTHER)[number % 2]
            site.send(plan(name, symbol, close_qty=0.004 if symbol == SYMBOL else 0.02), name)
            wait_for_ends(site, [name])

        assert dict.fromkeys(names, "EXECUTE") == reasons(site)
        assert len(names) == len(orders_of(site.client, site.keys))
        for symbol in (SYMBOL, OTHER):
            assert site.position(symbol) == ledger(site, symbol)
        assert Decimal("0.062") - 6 * Decimal("0.004") == site.position(SYMBOL)
        assert Decimal("-1.000") + 6 * Decimal("0.02") == site.position(OTHER)


@pytest.mark.long
def test_without_a_running_issuer_nothing_executes_and_nobody_beats(site: Site) -> None:
    """Nobody reads the issuers' queues: plans block as missing_both, and no issuer leaves a sign of life."""
    with start_worker(site.server, "-Q", "execute", **CHAIN | {"APPLY_PERMIT_WAIT_MS": "500"}):
        site.send(plan("p1", SYMBOL), "p1")
        wait_for_ends(site, ["p1"])
        silent = site.client.exists(site.keys.heartbeat("governor"), site.keys.heartbeat("p33"))
        with start_worker(site.server, "-Q", "governor", **CHAIN) as governor:
            wait_until(lambda: site.client.exists(site.keys.heartbeat("governor")), "the Governor's sign of life")
            beat = texts(site.client.hgetall(site.keys.heartbeat("governor")))  # type: ignore[arg-type] # bytes
            lives_s = site.client.ttl(site.keys.heartbeat("governor"))
            position_silent = site.client.exists(site.keys.heartbeat("p33"))

        assert {"p1": "missing_both"} == reasons(site)
        assert (0, 0) == (silent, position_silent)
        assert beat["host"].endswith(governor.id[:12])
        assert 0 < lives_s <= 16


def test_an_issuer_that_is_not_ours_is_not_asked(site: Site) -> None:
    """With APPLY_ISSUERS=governor the position permit comes from elsewhere, and our ledger is left alone."""
    with start_worker(site.server, **CHAIN | {"APPLY_ISSUERS": "governor"}) as worker:
        site.send(plan("p1", SYMBOL, action="FULL_CLOSE_PROPOSED"), "p1")
        wait_until(lambda: site.client.exists(site.keys.permit("governor", "p1")), "the Governor's permit")
        site.client.set(site.keys.permit("p33", "p1"), permit_texts(SYMBOL)[1], ex=60)
        wait_for_ends(site, ["p1"])

        assert {"p1": "EXECUTE"} == reasons(site)
        assert [] == worker.lines("[ISSUER] p33")
        assert 0 == site.client.exists(site.keys.ledger(SYMBOL))


def test_a_refusal_ends_the_plan_with_the_judges_reason(site: Site) -> None:
    """The seed's example plan, exchange 0.062 and ledger 0.002, is denied at once and says why."""
    site.client.hset(site.keys.ledger(SYMBOL), mapping={"last_known_amt": "0.002"})
    with start_worker(site.server, **CHAIN) as worker:
        example = plan("f1a8d7f48713d5cf", SYMBOL, kill_score=0.5390, R_net=7.0136, new_sl_proposed=100.2)
        outcome = site.send(example, "f1a8d7f48713d5cf").get(timeout=30)

        assert ("BLOCKED", "p33_denied", "p33_permit_denied") == tuple(
            outcome[name] for name in ("decision", "reason", "error")
        )
        assert worker.lines("[PERMIT_WAIT] BLOCK", "reconcile_required_qty_mismatch")
        assert "reconcile_required_qty_mismatch" in record_of(site.client, site.keys, "f1a8d7f48713d5cf")["detail"]
