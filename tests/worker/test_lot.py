"""The parking lot on a real event loop and a real server: which plans are looked at when, and what is left of them."""

import gc
import weakref
from collections.abc import Callable, Iterator
from socket import socketpair
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from kombu.asynchronous import Hub

from tasks.keys import Keys
from tasks.parts import Parts
from tasks.settings import Settings
from tests.helpers import grant, intent_of, record_of, wait_until
from workers import park, watch

#: A turn in which nothing happens waits so long at most; kombu would wait a second.
EVERY_S = 0.01


class Message:
    """A message of `tasks.execute`, as far as the lot uses it."""

    def __init__(self, plan_id: str) -> None:
        self.args: tuple[Any, ...] = ()
        self.kwargs = {"intent": intent_of(plan_id).wire()}
        self.id = plan_id
        self.request_dict: dict[str, Any] = {}
        self._eta_timer_entry: Any = None

    def send_event(self, _: str) -> None:
        """Nobody listens."""


class Consumer:
    """Celery's consumer, as far as the lot uses it, on an event loop that is turned by hand."""

    initial_prefetch_count = 8

    def __init__(self) -> None:
        self.hub: Any = Hub()
        watch.fire_all_due(self.hub)
        # How long each turn was ready to wait for a socket.
        self.rests_s: list[float] = []
        poll = self.hub.poller.poll

        def rest(timeout_s: float) -> Any:
            self.rests_s.append(timeout_s)
            return poll(timeout_s)

        self.hub.poller.poll = rest
        # Without a socket to wait for, kombu does not poll.
        self._sockets = socketpair()
        self.hub.add_reader(self._sockets[0].fileno(), bool)
        self.timer, self.call_soon = self.hub.timer, self.hub.call_soon
        self._loop = self.hub.create_loop()
        self.hub.call_repeatedly(EVERY_S, bool)
        self.qos = self
        self.started: list[str] = []

    def close(self) -> None:
        """Nothing of it stays open."""
        self.hub.close()
        for end in self._sockets:
            end.close()

    def turn(self) -> None:
        """One turn of the event loop."""
        next(self._loop)

    def turn_until(self, started: str) -> None:
        """Turn until an attempt at this plan starts."""

        def there() -> bool:
            self.turn()
            return started in self.started

        wait_until(there, f"an attempt at {started}")

    def on_task_request(self, request: Message) -> None:
        """An attempt would start now."""
        self.started.append(request.id)

    def increment_eventually(self) -> None:
        """More may be taken."""

    def decrement_eventually(self) -> None:
        """Less may be taken."""


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    """A consumer without a broker."""
    monkeypatch.setattr(park.state, "task_scheduled", lambda _: None)
    monkeypatch.setattr(park.state, "task_reserved", lambda _: None)
    made = Consumer()
    yield made
    made.close()


@pytest.fixture
def lot(consumer: Consumer, make_parts: Callable[..., Parts], settings: Settings) -> park.Lot:
    """A lot of this consumer's; nobody of ours issues permits."""
    return park.Lot(consumer, make_parts(settings.model_copy(update={"issuers": ()})))


def looks(client: redis.Redis, keys: Keys, plan_id: str) -> int:
    """How often the plan was looked at."""
    return int(record_of(client, keys, plan_id).get("attempts", 0))


def test_a_permit_that_is_not_the_last_waits_for_company(
    consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys
) -> None:
    """A plan that can only wait on is looked at together with the next one that arrives."""
    lot.arrive(Message("p1"))
    consumer.turn()
    lot.heard({"p1": {"governor"}})
    at_first = looks(client, keys, "p1")
    lot.arrive(Message("p2"))
    consumer.turn()

    assert (1, 2, 1) == (at_first, looks(client, keys, "p1"), looks(client, keys, "p2"))
    assert [] == consumer.started


def test_without_company_it_waits_a_moment(consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys) -> None:
    """A refusal among the first permits ends its plan though nothing else happens, also a second time."""
    for plan_id in ("p1", "p2"):
        lot.arrive(Message(plan_id))
        consumer.turn()
        client.set(keys.permit("governor", plan_id), '{"granted": false, "symbol": "BTCUSDT"}', ex=60)
        lot.heard({plan_id: {"governor"}})
        before = list(consumer.started)

        assert plan_id not in before
        consumer.turn_until(plan_id)


@pytest.mark.parametrize("order", [("governor", "p33"), ("p33", "governor")])
def test_the_last_permit_is_looked_at_at_once(
    order: tuple[str, str], consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys
) -> None:
    """Not with the next turn of the event loop, and the one before it needs no look of its own."""
    lot.arrive(Message("p1"))
    consumer.turn()
    grant(client, keys, "p1")
    lot.heard({"p1": {order[0]}})
    before = list(consumer.started)
    lot.heard({"p1": {order[1]}})

    assert ([], ["p1"]) == (before, consumer.started)
    assert 2 == looks(client, keys, "p1")


def test_what_is_no_permit_is_looked_at_at_once(
    consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys
) -> None:
    """The Governor's block record, whatever is still missing."""
    lot.arrive(Message("p1"))
    consumer.turn()
    client.set(keys.governor_block("p1"), '{"reason": "no"}', ex=60)
    lot.heard({"p1": {""}})

    assert ["p1"] == consumer.started


def test_a_permit_that_went_again_is_missing_again(
    consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys
) -> None:
    """What was heard is a hint: a plan that was thought complete waits on, and the next permit wakes it at once."""
    lot.arrive(Message("p1"))
    consumer.turn()
    grant(client, keys, "p1")
    client.delete(keys.permit("governor", "p1"))
    lot.heard({"p1": {"governor", "p33"}})
    before = list(consumer.started)
    grant(client, keys, "p1")
    lot.heard({"p1": {"governor"}})

    assert ([], ["p1"]) == (before, consumer.started)


def test_the_loop_does_not_rest_while_plans_are_due(consumer: Consumer, lot: park.Lot) -> None:
    """More plans fall due together than upstream fires timers in a turn: it waits for the next one only."""
    names = [f"p{number}" for number in range(35)]
    for name in names:
        lot.arrive(Message(name))
    consumer.turn()
    consumer.turn_until(names[-1])

    assert sorted(names) == sorted(consumer.started)
    assert [] == [rest_s for rest_s in consumer.rests_s if rest_s > EVERY_S]


def test_the_watch_sees_to_that(
    consumer: Consumer, lot: park.Lot, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every worker, before its event loop is made, and again for each connection."""
    monkeypatch.setattr(watch, "parts_of_process", lambda: parts)
    hub: Any = Hub()
    parent = SimpleNamespace(hub=hub, timer=hub.timer, permit_lot=lot, call_soon=consumer.call_soon)
    for _ in range(2):
        watch.PermitWatch(parent).start(parent)

        assert {"min_delay": 0} == hub.fire_timers.keywords
    hub.close()


def test_of_a_plan_that_waits_no_longer_nothing_is_left(
    consumer: Consumer, lot: park.Lot, client: redis.Redis, keys: Keys
) -> None:
    """Its cancelled timer stays in the heap until its time, and holds nothing: no garbage, no `inspect scheduled`."""
    message = Message("p1")
    alive = weakref.ref(message)
    lot.arrive(message)
    consumer.turn()
    grant(client, keys, "p1")
    gc.collect()
    gc.disable()
    try:
        lot.heard({"p1": {"governor", "p33"}})
        del message
        left = [tuple(entry.args) for _, _, entry in consumer.timer.queue if entry.canceled]

        assert ["p1"] == consumer.started
        assert [()] == left
        assert alive() is None
    finally:
        gc.enable()
