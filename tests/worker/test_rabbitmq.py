"""RabbitMQ cut off, killed, frozen or impatient while plans wait: each ends once, and what can execute does."""

import os
from collections import Counter
from collections.abc import Iterator
from signal import SIGCONT, SIGKILL, SIGSTOP

import psutil
import pytest

from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tasks.submit import submit
from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.rabbitmq import RabbitNode
from tests.servers import RabbitQueue, RealServer
from tests.worker.nodes import (
    SYMBOLS,
    Site,
    permit_texts,
    plan,
    site_on,
    start_worker,
    start_workers,
    wait_for_ends,
)

pytestmark = pytest.mark.broker("rabbitmq")

SYMBOL = SYMBOLS[0]
PLANS = [f"plan-{number}" for number in range(20)]
#: A wait that no test sits out: a plan that ends did so because its message came back.
LONG = {"APPLY_PERMIT_WAIT_MS": "60000"}


@pytest.fixture
def site() -> Iterator[Site]:
    """A server and a virtual host of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


@pytest.fixture
def rabbit() -> Iterator[RabbitNode]:
    """A node that a test may end."""
    with RabbitNode() as node:
        yield node


@pytest.fixture
def fragile(rabbit: RabbitNode) -> Iterator[Site]:
    """As `site`, on that node."""
    with RealServer(rabbit=rabbit) as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


def park(site: Site) -> dict[str, str]:
    """Submit every plan, wait until each is taken up, and return their deadlines.

    `submit` returns when the broker has the message on its disk: other clients' may be lost when it crashes.
    """
    for plan_id in PLANS:
        submit(plan(plan_id, SYMBOL), settings=settings_of(site))
    wait_until(
        lambda: all(record_of(site.client, site.keys, plan_id).get("state") == "waiting" for plan_id in PLANS),
        "every plan waiting",
    )
    return deadlines(site)


def settings_of(site: Site) -> Settings:
    """What a producer is configured with."""
    return Settings(redis_url=site.server.url, broker_url=site.server.broker_url, _env_file=None)


def deadlines(site: Site) -> dict[str, str]:
    return {plan_id: record_of(site.client, site.keys, plan_id)["deadline_ms"] for plan_id in PLANS}


def check_all_execute_once(site: Site, under: dict[str, str]) -> None:
    """Grant every plan, and see each become one order and one outcome, under the deadline it had."""
    for plan_id in PLANS:
        grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
    wait_for_ends(site, PLANS)
    wait_until(lambda: 0 == site.server.queue.ready() == site.server.queue.unacknowledged(), "every message done")

    once = dict.fromkeys(PLANS, 1)
    assert once == Counter(order["plan_id"] for order in orders_of(site.client, site.keys))
    assert [("EXECUTE", plan_id) for plan_id in sorted(PLANS)] == sorted(
        (entry["decision"], entry["plan_id"]) for entry in results_of(site.client, site.keys)
    )
    assert under == deadlines(site)


def check_none_lost(site: Site) -> None:
    """All plans are held again, or wait in the queue."""
    queue = site.server.queue
    wait_until(lambda: len(PLANS) == queue.ready() + queue.unacknowledged(), "every message there")


@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.fault("F26")
def test_a_connection_that_the_broker_closes_brings_the_messages_back(site: Site, pool: str) -> None:
    """Every connection is closed by the broker while plans wait: the worker connects again and takes them again."""
    queue = site.server.queue
    assert isinstance(queue, RabbitQueue)

    with start_worker(site.server, "--pool", pool, "--concurrency", "2", **LONG) as worker:
        under = park(site)
        wait_until(queue.cut, "the broker's list of connections")
        wait_until(lambda: worker.lines("Connection to broker lost"), "the connection lost")
        wait_until(lambda: len(PLANS) == queue.unacknowledged(), "every message held again")

        check_all_execute_once(site, under)
        assert "running" == worker.status


@pytest.mark.fault("F4", promise="the broker gives them out again at once")
def test_a_killed_workers_messages_are_back_at_once(site: Site) -> None:
    """A worker is killed while plans wait: the broker gives its messages to the next one, which executes them."""
    with start_workers(2, site.server, **LONG) as (victim, survivor):
        under = park(site)
        victim.kill(SIGKILL)
        wait_until(lambda: len(PLANS) == site.server.queue.unacknowledged(), "every message held by the other one")

        check_all_execute_once(site, under)
        assert "running" == survivor.status


@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.fault("F26")
def test_a_broker_that_crashes_loses_no_plan(fragile: Site, rabbit: RabbitNode, pool: str) -> None:
    """The broker is killed while plans wait and comes back: the same worker takes its messages again."""
    with start_worker(fragile.server, "--pool", pool, "--concurrency", "2", **LONG) as worker:
        under = park(fragile)
        rabbit.kill()
        wait_until(lambda: worker.lines("Connection to broker lost"), "the connection lost")
        rabbit.start()
        wait_until(lambda: len(PLANS) == fragile.server.queue.unacknowledged(), "every message held again", 60)

        check_all_execute_once(fragile, under)
        assert "running" == worker.status


@pytest.mark.fault("F9")
def test_without_the_broker_every_plan_still_ends(fragile: Site, rabbit: RabbitNode) -> None:
    """The broker is killed while plans wait and stays away: the sweep ends them all, and nothing is ordered."""
    with start_worker(fragile.server, APPLY_PERMIT_WAIT_MS="5000") as worker:
        park(fragile)
        rabbit.kill()
        wait_for_ends(fragile, PLANS)

        assert [] == orders_of(fragile.client, fragile.keys)
        assert dict.fromkeys(PLANS, "missing_both") == {
            entry["plan_id"]: entry["reason"] for entry in results_of(fragile.client, fragile.keys)
        }
        assert len(PLANS) == len(results_of(fragile.client, fragile.keys))
        assert "running" == worker.status
        # For the site's own connections to be closed in good order.
        rabbit.start()


@pytest.mark.fault("F5", "F26")
def test_a_broker_that_takes_held_messages_back_ends_no_worker() -> None:
    """RabbitMQ's `consumer_timeout` passes while plans wait: they come again, and the same worker executes them."""
    impatient = RabbitNode("consumer_timeout = 2000", "-rabbit channel_tick_interval 500")
    with impatient, RealServer(rabbit=impatient) as server, site_on(server) as site, start_worker(server, **LONG) as w:
        hold(site.client, site.keys, "100", SYMBOL)
        under = park(site)
        wait_until(lambda: w.lines("delivery acknowledgement", "timed out"), "the messages taken back")
        check_none_lost(site)

        check_all_execute_once(site, under)
        assert "running" == w.status


@pytest.mark.fault("F9", promise="`submit` says that nothing was sent; sent again it is the same plan")
def test_a_broker_that_confirms_nothing_has_taken_nothing(fragile: Site, rabbit: RabbitNode) -> None:
    """A frozen broker: `submit` says that no message was taken; submitted again it is the same plan, once."""
    settings = settings_of(fragile)
    submit(plan("before", SYMBOL), settings=settings)
    machine = virtual_machine_of(rabbit)
    os.kill(machine, SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="the broker took no message"):
            submit(plan("plan-0", SYMBOL), settings=settings)
    finally:
        os.kill(machine, SIGCONT)
    handle = submit(plan("plan-0", SYMBOL), settings=settings)
    grant(fragile.client, fragile.keys, "plan-0", *permit_texts(SYMBOL))
    with start_worker(fragile.server):
        outcome = handle.result(timeout=30)

    assert ("EXECUTE", "plan-0") == (outcome.decision, outcome.plan_id)
    assert ["plan-0"] == [order["plan_id"] for order in orders_of(fragile.client, fragile.keys)]


def virtual_machine_of(rabbit: RabbitNode) -> int:
    """Process id of the Erlang machine that runs a node."""
    (found,) = [child.pid for child in psutil.Process(rabbit.pid).children(recursive=True) if "beam" in child.name()]
    return found


def test_a_node_is_really_gone_afterwards() -> None:
    """No process of a node is left when it was stopped, epmd included."""
    with RabbitNode() as node:
        processes = psutil.Process(node.pid).children(recursive=True)
        names = {process.name() for process in processes}
    psutil.wait_procs(processes, timeout=10)

    assert {"epmd", "beam.smp"} <= names
    assert [] == [process for process in processes if process.is_running() and process.status() != "zombie"]
