"""Messages that the broker or Celery handles by a time of their own: dropped, or delivered twice, and still one end."""

from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, permit_texts, plan, site_on, start_worker, wait_for_ends

SYMBOL = SYMBOLS[0]


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


def ends(site: Site) -> list[tuple[str, str]]:
    """Plan and reason (or EXECUTE) of every entry in the result stream."""
    return [(entry["plan_id"], entry["reason"] or entry["decision"]) for entry in results_of(site.client, site.keys)]


@pytest.mark.long
@pytest.mark.fault("F10")
def test_a_message_that_expires_in_mid_wait_orders_nothing(site: Site) -> None:
    """Celery drops the message when its permits come at last: the plan ends once, too late, and they are not used."""
    with start_worker(site.server, APPLY_PERMIT_WAIT_MS="5000") as worker:
        site.producer.send_task(
            "tasks.execute", kwargs={"intent": plan("p1", SYMBOL)}, task_id="p1", queue="execute", expires=2
        )
        wait_until(lambda: record_of(site.client, site.keys, "p1").get("state") == "waiting", "the plan waiting")
        taken_up_ms = int(record_of(site.client, site.keys, "p1")["taken_up_ms"])
        wait_until(lambda: now_ms(site) > taken_up_ms + 3_000, "the message expired")
        grant(site.client, site.keys, "p1", *permit_texts(SYMBOL))
        wait_for_ends(site, ["p1"])
        wait_until(lambda: worker.lines("Discarding revoked task"), "Celery's word for it")

        assert [("p1", "deadline_passed")] == ends(site)
        assert [] == orders_of(site.client, site.keys)
        assert 2 == site.client.exists(*(site.keys.permit(name, "p1") for name in ("governor", "p33")))


def now_ms(site: Site) -> int:
    seconds, micros = site.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.long
@pytest.mark.broker("redis")
@pytest.mark.fault("F5", "F6")
def test_another_applications_shorter_timeout_doubles_no_order(site: Site) -> None:
    """A stock application gives out again what our worker still holds: two messages of one plan, one order, one end."""
    impatient = {"visibility_timeout": 0, "unacked_restore_throttle": 1}
    with (
        start_worker(site.server, APPLY_PERMIT_WAIT_MS="60000") as worker,
        kombu.Connection(site.server.broker_url, transport_options=impatient) as other,
    ):
        site.send(plan("p1", SYMBOL), "p1")
        wait_until(lambda: record_of(site.client, site.keys, "p1").get("state") == "waiting", "the plan waiting")
        channel: Any = other.default_channel
        channel.qos.restore_visible()
        wait_until(lambda: len(worker.lines("tasks.execute[p1] received")) == 2, "the message taken twice")
        grant(site.client, site.keys, "p1", *permit_texts(SYMBOL))
        wait_for_ends(site, ["p1"])
        wait_until(lambda: 0 == site.server.queue.ready() == site.server.queue.unacknowledged(), "both messages done")

        assert [("p1", "EXECUTE")] == ends(site)
        assert ["p1"] == [order["plan_id"] for order in orders_of(site.client, site.keys)]
        assert 1 == len(worker.lines("[PERMIT_WAIT] OK plan=p1"))
