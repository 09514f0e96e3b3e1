"""A result backend that fails: no plan is lost for it, and its outcome is stored when the backend is back."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

import pytest
from celery import Celery

from tasks.address import RedisAddress
from tasks.store import connect
from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, start_worker, wait_for_ends

pytestmark = pytest.mark.broker("redis")

SYMBOL = SYMBOLS[0]
PLANS = [f"plan-{number}" for number in range(40)]  # more than a worker may hold unacknowledged
POOLS = [
    pytest.param(("--pool", "threads"), id="threads"),
    pytest.param(("--pool", "prefork", "--concurrency", "2"), id="prefork", marks=pytest.mark.long),
]


@contextmanager
def producing(store: RealServer, broker: RealServer) -> Iterator[Site]:
    """A producer on a broker of its own."""
    app = Celery("any-producer", broker=broker.broker_url, set_as_current=False)
    with closing(Site(store, app)) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site
        app.pool.force_close_all()  # type: ignore[attr-defined] # typed as the pool of producers
        app.close()


@pytest.fixture
def store() -> Iterator[RealServer]:
    """Permits and records."""
    with RealServer() as running:
        yield running


@pytest.fixture
def broker() -> Iterator[RealServer]:
    """Messages: they arrive whatever happens to the other servers."""
    with RealServer() as running:
        yield running


def everything_acknowledged(broker: RealServer) -> bool:
    return 0 == broker.queue.unacknowledged() == broker.queue.ready()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.fault("F19")
def test_a_full_store_loses_no_plan(store: RealServer, broker: RealServer, pool: tuple[str, ...]) -> None:
    """While the store takes no writes a plan can be neither taken up nor its retry noted; afterwards it executes."""
    with (
        start_worker(store, *pool, APPLY_BROKER_URL=broker.broker_url) as worker,
        producing(store, broker) as site,
    ):
        site.client.config_set("maxmemory", "1")
        site.send(plan("plan-1", SYMBOL), "plan-1")
        wait_until(lambda: 2 <= len(worker.lines("[UNAVAILABLE]", "plan-1")), "two attempts in vain")
        site.client.config_set("maxmemory", "0")
        grant(site.client, site.keys, "plan-1", *permit_texts(SYMBOL))
        wait_for_ends(site, ["plan-1"])
        wait_until(lambda: everything_acknowledged(broker), "the message is acknowledged")

        assert "EXECUTE" == record_of(site.client, site.keys, "plan-1")["decision"]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.fault("F21", promise="a result backend that is away loses no outcome")
def test_an_outcome_is_stored_when_the_backend_is_back(
    store: RealServer, broker: RealServer, pool: tuple[str, ...]
) -> None:
    """The backend is away while plans execute: each executes once, and its sender has the outcome afterwards."""
    results = RealServer()
    with (
        results,
        start_worker(store, *pool, APPLY_BROKER_URL=broker.broker_url, APPLY_RESULT_BACKEND=results.url) as worker,
        producing(store, broker) as site,
    ):
        results.kill()
        for plan_id in PLANS:
            grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
        for plan_id in PLANS:
            site.send(plan(plan_id, SYMBOL), plan_id)
        wait_until(lambda: worker.lines("ResultNotStored"), "an outcome that could not be stored")
        results.start()
        wait_for_ends(site, PLANS)
        wait_until(lambda: everything_acknowledged(broker), "every message is acknowledged", within_s=40)

        assert dict.fromkeys(PLANS, "EXECUTE") == {plan_id: told_decision(results, plan_id) for plan_id in PLANS}
        assert len(PLANS) == len(orders_of(site.client, site.keys)) == len(results_of(site.client, site.keys))
        check_warm_stop(worker)


@pytest.mark.long
def test_a_backend_that_stays_away_is_not_waited_for_for_ever(store: RealServer, broker: RealServer) -> None:
    """After a while the message is acknowledged without a result, and said so; the record has the outcome."""
    nowhere = "redis+socket:///nonexistent/pw.sock"
    with (
        start_worker(store, APPLY_BROKER_URL=broker.broker_url, APPLY_RESULT_BACKEND=nowhere) as worker,
        producing(store, broker) as site,
    ):
        grant(site.client, site.keys, "plan-1", *permit_texts(SYMBOL))
        site.send(plan("plan-1", SYMBOL), "plan-1")
        wait_until(lambda: worker.lines("[UNTOLD]", "plan-1"), "given up", within_s=60)
        wait_until(lambda: everything_acknowledged(broker), "the message is acknowledged")

        assert "EXECUTE" == record_of(site.client, site.keys, "plan-1")["decision"]
        assert 1 == len(orders_of(site.client, site.keys)) == len(results_of(site.client, site.keys))


def told_decision(results: RealServer, task_id: str) -> str:
    """What Celery tells the sender of a task."""
    with closing(connect(RedisAddress.parse(results.url))) as client:
        document = json.loads(cast("bytes", client.get(f"celery-task-meta-{task_id}")))
    return str(document["result"]["decision"])


def check_warm_stop(worker: Worker) -> None:
    """No slot of the pool is held by what is over."""
    worker.kill("SIGTERM")
    wait_until(lambda: "exited" == worker.status, "the worker stopped warmly")
