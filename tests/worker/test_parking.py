"""Waiting plans are parked, unacknowledged, and woken by what they wait for; real workers, every pool."""

import inspect
from collections.abc import Iterator
from signal import SIGTERM

import pytest
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu.asynchronous.hub import Hub

from tests.helpers import grant, hold, orders_of, record_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, permit_texts, plan, site_on, start_worker, wait_for_ends

SYMBOL = SYMBOLS[0]
#: A wait that no test sits out: a plan that ends did so because something woke it.
LONG = {"APPLY_PERMIT_WAIT_MS": "60000"}


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


def park(site: Site, *plan_ids: str) -> None:
    """Send plans and return when each is taken up and waits."""
    for plan_id in plan_ids:
        site.send(plan(plan_id, SYMBOL), plan_id)
    wait_until(
        lambda: all(record_of(site.client, site.keys, plan_id).get("state") == "waiting" for plan_id in plan_ids),
        "every plan waiting",
    )


def permit(site: Site, *plan_ids: str) -> None:
    for plan_id in plan_ids:
        grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))


def ends(site: Site) -> dict[str, str]:
    """Reason (or EXECUTE) of every plan in the result stream; fails where one is there twice."""
    entries = results_of(site.client, site.keys)
    found = {entry["plan_id"]: entry["reason"] or entry["decision"] for entry in entries}

    assert len(entries) == len(found)
    return found


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
@pytest.mark.fault("F8")
def test_a_waiting_plan_stays_unacknowledged_and_is_woken_by_its_permits(site: Site, pool: str) -> None:
    """While it waits the one message is neither acknowledged nor published again; permits make it an order."""
    with start_worker(site.server, "--pool", pool, "--concurrency", "2", **LONG) as worker:
        park(site, "p1")
        inspect_worker = site.producer.control.inspect(timeout=1)
        worker_says = wait_until(inspect_worker.scheduled, "the worker's answer to inspect scheduled")
        held, queued = site.server.queue.unacknowledged(), site.server.queue.ready()
        permit(site, "p1")
        wait_for_ends(site, ["p1"])

        wait_until(lambda: site.server.queue.unacknowledged() == 0, "the message acknowledged")

        assert ["p1"] == [entry["request"]["id"] for entries in worker_says.values() for entry in entries]
        assert (1, 0) == (held, queued)
        assert {"p1": "EXECUTE"} == ends(site)
        assert 1 == len(orders_of(site.client, site.keys))
        assert [] == worker.lines("Traceback")


def test_whatever_ends_a_wait_ends_it_at_once(site: Site) -> None:
    """A denial, a malformed permit, a block record and then the kill switch end waiting plans, long before time."""
    with start_worker(site.server, **LONG):
        park(site, "denied", "malformed", "refused", "halted-1", "halted-2")
        site.client.set(site.keys.permit("p33", "denied"), '{"allow": false, "symbol": "x", "reason": "no"}', ex=60)
        site.client.set(site.keys.permit("governor", "malformed"), "{", ex=60)
        site.client.set(site.keys.governor_block("refused"), '{"reason": "hourly_limit_exceeded"}', ex=60)
        wait_for_ends(site, ["denied", "malformed", "refused"])
        waiting = [record_of(site.client, site.keys, name)["state"] for name in ("halted-1", "halted-2")]
        site.client.set(site.keys.kill_switch, "true")
        wait_for_ends(site, ["halted-1", "halted-2"])

        assert ["waiting", "waiting"] == waiting
        assert {
            "denied": "p33_denied",
            "malformed": "invalid_governor_permit",
            "refused": "governor_denied",
            "halted-1": "kill_switch",
            "halted-2": "kill_switch",
        } == ends(site)


@pytest.mark.fault("F11")
def test_parked_plans_starve_nobody(site: Site) -> None:
    """Far more waiting plans than the worker may prefetch, and a plan whose permits are there still executes."""
    waiting = [f"w{number}" for number in range(60)]
    with start_worker(site.server, "--concurrency", "1", "--prefetch-multiplier", "1", **LONG):
        park(site, *waiting)
        permit(site, "ready")
        site.send(plan("ready", SYMBOL), "ready")
        wait_for_ends(site, ["ready"])
        permit(site, *waiting)
        wait_for_ends(site, waiting)

        assert dict.fromkeys([*waiting, "ready"], "EXECUTE") == ends(site)
        assert 61 == len(orders_of(site.client, site.keys))


@pytest.mark.fault("F7", "F11")
def test_the_deadline_is_the_verdict(site: Site) -> None:
    """A plan whose permits never come ends as missing, also one that was sent twice, with one end."""
    with start_worker(site.server, APPLY_PERMIT_WAIT_MS="300") as worker:
        first, second = site.send(plan("p1", SYMBOL), "p1"), site.send(plan("p1", SYMBOL), "again")
        outcomes = [first.get(timeout=20), second.get(timeout=20)]

        assert outcomes[0] == outcomes[1]
        assert {"p1": "missing_both"} == ends(site)
        assert 1 == len(worker.lines("[PERMIT_WAIT] BLOCK plan=p1"))


@pytest.mark.fault("F27")
def test_a_stopping_worker_hands_its_parked_plans_back(site: Site) -> None:
    """TERM returns parked messages to the queue; the next worker ends them, each once, under the same deadline."""
    names = [f"p{number}" for number in range(10)]
    with start_worker(site.server, **LONG) as first:
        park(site, *names)
        deadlines = [record_of(site.client, site.keys, name)["deadline_ms"] for name in names]
        first.kill(SIGTERM)
        first.wait()
        wait_until(lambda: site.server.queue.unacknowledged() == 0, "no message held")
        given_back = site.server.queue.ready()
    with start_worker(site.server, **LONG):
        permit(site, *names)
        wait_for_ends(site, names)

        assert 10 == given_back
        assert dict.fromkeys(names, "EXECUTE") == ends(site)
        assert deadlines == [record_of(site.client, site.keys, name)["deadline_ms"] for name in names]


def test_a_watch_that_is_cut_off_misses_nothing(site: Site) -> None:
    """The watching connection is killed again and again while permits arrive: every plan executes."""
    names = [f"p{number}" for number in range(20)]
    with start_worker(site.server, **LONG) as worker:
        wait_until(lambda: worker.lines("[WATCH] alive"), "the watch alive")
        park(site, *names)
        for name in names:
            for watching in watchers(site):
                site.client.client_kill_filter(_id=watching)
            permit(site, name)
        wait_for_ends(site, names)
        wait_until(lambda: watchers(site), "the watch back")

        assert dict.fromkeys(names, "EXECUTE") == ends(site)
        assert worker.lines("[WATCH] blind")


def test_without_tracking_the_step_is_the_fallback(site: Site) -> None:
    """A server that refuses tracking is said so once, and plans are looked at every step."""
    site.client.acl_setuser(
        "default", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-client|tracking"]
    )
    with start_worker(site.server, **LONG) as worker:
        park(site, "p1", "p2")
        permit(site, "p1", "p2")
        wait_for_ends(site, ["p1", "p2"])

        assert {"p1": "EXECUTE", "p2": "EXECUTE"} == ends(site)
        assert 1 == len(worker.lines("[WATCH] blind"))


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.long)])
@pytest.mark.fault("F26")
def test_a_lost_connection_loses_no_plan(site: Site, pool: str) -> None:
    """Every connection of the worker is cut while plans wait: each ends once, none executes twice."""
    names = [f"p{number}" for number in range(10)]
    with start_worker(site.server, "--pool", pool, APPLY_PERMIT_WAIT_MS="3000"):
        park(site, *names)
        site.client.client_kill_filter(skipme=True, _type="normal")
        permit(site, *names)
        wait_for_ends(site, names, 60)

        assert set(names) == set(ends(site))
        assert len(orders_of(site.client, site.keys)) == list(ends(site).values()).count("EXECUTE")


def test_what_parking_relies_on_is_still_there() -> None:
    """Upstream's parts that parking builds on have the form it was written for (celery 5.7, kombu 5.7)."""
    assert ["task", "app", "consumer"] == list(inspect.signature(default).parameters)[:3]
    assert "handle = consumer.on_task_request" in inspect.getsource(default)
    assert "Request = symbol_by_name(task.Request)" in inspect.getsource(default)
    assert "task_reserved(req)" in inspect.getsource(default)
    assert ["self", "exc_info"] == list(inspect.signature(Request.on_retry).parameters)
    assert "return self.on_retry(exc_info)" in inspect.getsource(Request.on_failure)
    assert "_eta_timer_entry" in inspect.getsource(Consumer.on_close)
    assert {"request"} <= set(inspect.signature(state.task_scheduled).parameters)  # type: ignore[attr-defined] # stubs
    assert "qos.decrement_eventually()" in inspect.getsource(Consumer.apply_eta_task)
    assert hasattr(Hub, "_on_wakeup")
    assert "fire_timers = self.fire_timers" in inspect.getsource(Hub.create_loop)
    assert "poll_timeout = fire_timers(propagate=propagate) if scheduled else 1" in inspect.getsource(Hub.create_loop)
    assert "return min(delay or min_delay, max_delay)" in inspect.getsource(Hub.fire_timers)
    assert "self._on_ack(logger, self._connection_errors)" in inspect.getsource(Request.acknowledge)
    assert "return self.hub.call_soon(p)" in inspect.getsource(vars(Consumer)["call_soon_ack"])
    assert "for tick_callback in copy(self.on_tick)" in inspect.getsource(Hub.create_loop)


def watchers(site: Site) -> list[str]:
    """Ids of the connections that track in broadcast mode."""
    return [entry["id"] for entry in site.client.client_list() if "B" in entry["flags"]]
