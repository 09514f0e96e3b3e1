"""What a turn of the worker's event loop does to the broker: as little as there is to do, and nothing too late."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis
from kombu.asynchronous import Hub
from kombu.transport.redis import MultiChannelPoller

from tests.helpers import wait_until
from tests.servers import RealServer
from tests.transport.consuming import Consumer, consuming, marked, send


class Looped(Consumer):
    """A consumer on kombu's event loop, as in a worker."""

    def __init__(self, server: RealServer, prefetch: int = 0) -> None:
        super().__init__(server, prefetch)
        self.hub: Any = Hub()
        self.connection.register_with_event_loop(self.hub)
        self._loop = self.hub.create_loop()
        # Otherwise a turn in which nothing happens lasts a second.
        self.hub.call_repeatedly(0.01, bool)

    def turn(self, within_s: float = 0.05) -> None:
        """One turn of the event loop."""
        _ = within_s
        next(self._loop)

    def holds(self, number: int) -> bool:
        """Whether so many messages were delivered."""
        return len(self.messages) == number

    def at_rest(self) -> None:
        """Turn until the queues were asked, and the answer is there."""
        self.turn_until(lambda: self.channel._taker._socket and not self.channel._taker.waiting, "the first answer")
        self.turn()


@pytest.fixture
def looped(server: RealServer) -> Iterator[Callable[..., Looped]]:
    """Makes consumers on an event loop of their own."""
    made: list[Looped] = []

    def make(prefetch: int = 0) -> Looped:
        made.append(Looped(server, prefetch))
        return made[-1]

    yield make
    for consumer in made:
        consumer.connection.release()
        consumer.hub.close()


def commands(client: redis.Redis, name: str) -> int:
    """How often the server ran this."""
    stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))


def test_a_turn_without_news_prepares_nothing(
    looped: Callable[..., Looped], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither upstream's preparations nor the registration of the sockets are repeated; a message is seen, though."""
    consumer, upstream = looped(), MultiChannelPoller.on_poll_start
    consumer.at_rest()
    prepared: list[str] = []

    def prepare(poller: MultiChannelPoller) -> None:
        prepared.append("prepared")
        upstream(poller)

    monkeypatch.setattr(MultiChannelPoller, "on_poll_start", prepare)
    monkeypatch.setattr(consumer.hub, "add_reader", lambda *_: prepared.append("registered"))
    for _ in range(5):
        consumer.turn()
    idle = list(prepared)
    sent = send(client, 1)
    consumer.turn_until(lambda: consumer.messages, "the message")

    assert [] == idle
    assert sent == consumer.ids
    assert prepared


def test_a_lost_connection_is_registered_again(looped: Callable[..., Looped], client: redis.Redis) -> None:
    """A connection that ended between two turns is opened and watched again, and messages come over it."""
    consumer = looped()
    consumer.at_rest()
    sent: list[str] = []
    for number in range(1, 4):
        consumer.channel.client.connection.disconnect()
        sent += send(client, 1)
        consumer.turn_until(partial(consumer.holds, number), "the message")

    assert sent == consumer.ids


def test_a_full_worker_goes_on_when_there_is_room(looped: Callable[..., Looped], client: redis.Redis) -> None:
    """With room for two messages the others stay in the queue, and come one by one as room is made."""
    consumer = looped(prefetch=2)
    sent = send(client, 6)
    for number in range(2, 6):
        consumer.turn_until(partial(consumer.holds, number), "as many as there is room for")
        for _ in range(5):
            consumer.turn()
        assert number == len(consumer.messages)
        consumer.messages[number - 2].ack()
    consumer.turn_until(lambda: len(consumer.messages) == 6, "the last one")

    assert sent == consumer.ids


def test_an_acknowledgement_goes_with_the_next_call(
    looped: Callable[..., Looped], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent when messages are asked for anyway: its own reply then wakes nobody."""
    monkeypatch.setattr("workers.transport._ACKNOWLEDGE_AFTER_S", 3600.0)
    consumer = looped()
    send(client, 1)
    consumer.turn_until(lambda: consumer.messages, "the first message")
    consumer.at_rest()
    consumer.messages[0].ack()
    for _ in range(5):
        consumer.turn()
    kept = len(marked(client))
    send(client, 1)
    consumer.turn_until(lambda: len(consumer.messages) == 2, "the second message")

    assert 1 == kept
    assert 1 == len(marked(client)) == commands(client, "hdel")


def test_an_idle_worker_acknowledges_soon(looped: Callable[..., Looped], client: redis.Redis) -> None:
    """Where no message comes any more the last acknowledgements go alone, all in one."""
    consumer = looped()
    send(client, 5)
    consumer.turn_until(lambda: len(consumer.messages) == 5, "the messages")
    consumer.at_rest()
    for got in consumer.messages:
        got.ack()
    consumer.turn_until(lambda: not marked(client), "nothing left")

    assert 1 == commands(client, "hdel")


def test_without_an_event_loop_nothing_is_held_back(server: RealServer, client: redis.Redis) -> None:
    """Who drains events by hand comes back when he likes: acknowledgements go out in the next turn."""
    with consuming(server) as consumer:
        send(client, 1)
        consumer.turn_until(lambda: consumer.messages, "the message")
        consumer.messages[0].ack()
        consumer.turn()
        wait_until(lambda: not marked(client), "nothing left")
